"""Results of the worker as layers on images of any reader, without a window and a worker."""

import numpy as np
import pytest
from layer_cases import CHANGES, FOREIGN, SHAPE, opened, scan, shift
from napari.components import ViewerModel
from napari.layers import Image

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.layers import image_volume, labels_volume
from napari_graphflow.plugin.viewer.placement import mask_placement, same_place
from napari_graphflow.plugin.worker.segmentation import Task, add_mask, slab_around

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
CLASSES = {"background": 0, "bright": 1}
CARD = ModelCard(
    name="threshold",
    role="student",
    network="enet",
    dims=3,
    in_channels=1,
    classes=CLASSES,
    patch_size=(4, 4, 4),
    preprocessing=Preprocessing(intensity="zscore"),
    parameters=1,
)
LYING = {
    "turned by a quarter": {"affine": [[0, 0, 2, 5], [0, -1, 0, 6], [3, 0, 0, 7], [0, 0, 0, 1]]},
    "flipped": {"scale": (2.5, -0.8, 0.8), "translate": (1, 2, 3)},
    "oblique": {"scale": (2.5, 0.8, 0.8), "affine": np.linalg.inv(shift(1, 2, 3))},
}


def threshold(task: Task):
    """Segment as the worker does: on the voxels of the file."""
    sent = task.sent()
    return sent.with_array((sent.array > 0).astype(np.uint8))


@pytest.mark.parametrize("kind", [*FOREIGN, *LYING])
def test_a_result_lies_on_the_image_of_another_reader(kind: str) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(scan().array, name="foreign", **(FOREIGN | LYING)[kind])
    task = Task(image, CARD, image_volume(image))
    mask = add_mask(viewer, task, threshold(task), CLASSES)
    assert same_place(mask, image)
    np.testing.assert_allclose(mask.extent.world, image.extent.world)
    np.testing.assert_array_equal(mask.data, image.data > 0)
    assert mask.units == image.units


@pytest.mark.parametrize("kind", ["translated", "dragged", "turned", "flipped"])
def test_a_result_on_a_moved_image_lies_on_it_and_is_saved_where_the_file_is(kind: str) -> None:
    viewer = ViewerModel()
    image = opened(viewer, scan())
    for name, value in CHANGES[kind].items():
        setattr(image, name, value)
    task = Task(image, CARD, image_volume(image))
    mask = add_mask(viewer, task, threshold(task), CLASSES)
    assert same_place(mask, image)
    for state in ("with its image", "alone"):
        volume = labels_volume(mask)
        assert volume.same_grid(scan()), state
        np.testing.assert_array_equal(volume.array, scan().array > 0)
        if state == "with its image":
            viewer.layers.remove(image)


@pytest.mark.parametrize("code", ["LPS", "RAS", "PIR", "LAI"])
def test_a_result_has_the_orientation_of_the_window_whatever_that_of_the_file(code: str) -> None:
    viewer = ViewerModel()
    volume = scan().oriented(code)
    image = opened(viewer, volume)
    task = Task(image, CARD, image_volume(image))
    mask = add_mask(viewer, task, threshold(task), CLASSES)
    np.testing.assert_array_equal(mask.data, image.data > 0)
    saved = labels_volume(mask)
    assert saved.orientation == code
    np.testing.assert_array_equal(saved.array, volume.array > 0)


@pytest.mark.parametrize("kind", [*FOREIGN, *LYING])
def test_one_slice_of_any_image_is_the_slice_in_the_window(kind: str) -> None:
    image = Image(scan().array, **(FOREIGN | LYING)[kind])
    task = Task(image, CARD, image_volume(image))
    slab = slab_around(3, task.volume, CARD, task.place)
    assert slab.start <= 3 < slab.stop
    part = Task(image, CARD, task.volume, slab=slab, index=3)
    shown = part.place.shown(part.sent())
    np.testing.assert_array_equal(shown.array, image.data[slab])


def test_an_image_of_unknown_position_is_segmented_but_its_mask_not_saved() -> None:
    viewer = ViewerModel()
    opened(viewer, scan())
    image = viewer.add_image(scan(seed=1).array[:4], name="other", scale=(3, 1, 1))
    task = Task(image, CARD, image_volume(image))
    mask = add_mask(viewer, task, threshold(task), CLASSES)
    assert same_place(mask, image)
    with pytest.raises(UserError, match="unknown whether its position"):
        mask_placement(mask)


def test_a_multiscale_image_is_segmented_at_full_resolution() -> None:
    viewer = ViewerModel()
    array = scan().array
    image = viewer.add_image([array, array[::2, ::2, ::2]], multiscale=True, scale=(2, 1, 1))
    task = Task(image, CARD, image_volume(image))
    mask = add_mask(viewer, task, threshold(task), CLASSES)
    assert mask.data.shape == SHAPE
    assert same_place(mask, image)
