"""Where layers lie: derived from their full transform, without a window."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from layer_cases import (
    CHANGES,
    FOREIGN,
    OBLIQUE,
    SHAPE,
    TURN,
    opened,
    opened_mask,
    painted,
    scan,
    shift,
)
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.layers import image_volume
from napari_graphflow.plugin.viewer.overlay import overlay_warning
from napari_graphflow.plugin.viewer.placement import (
    image_placement,
    mask_placement,
    same_place,
    viewer_of,
)
from napari_graphflow.plugin.viewer.record import (
    Placement,
    recorded,
)
from napari_graphflow.plugin.viewer.world import transform_keywords, world_matrix

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
MOVES_IN_2D = {
    "translated": {"translate": (3, 0)},
    "dragged": {"affine": shift(0, 5)},
    "turned": {"rotate": 30.0},
    "stretched": {"scale": (1.0, 0.8)},
}


def change(layer: Layer, changes: dict) -> None:
    for name, value in changes.items():
        setattr(layer, name, value)


def assert_at(place: Placement, volume: Volume) -> None:
    found = place.volume(np.zeros(place.shape, np.uint8))
    assert found.same_grid(volume.with_array(np.zeros(volume.shape, np.uint8)), 1e-6)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def test_an_opened_image_and_mask_lie_where_their_files_say(viewer: ViewerModel) -> None:
    volume = scan()
    assert_at(image_placement(opened(viewer, volume)), volume)
    assert_at(mask_placement(opened_mask(viewer, volume)), volume)


@pytest.mark.parametrize("kind", CHANGES)
def test_an_image_that_was_changed_since_it_was_opened_has_no_place(
    viewer: ViewerModel, kind: str
) -> None:
    image = opened(viewer, scan())
    change(image, CHANGES[kind])
    with pytest.raises(UserError, match="scan was moved"):
        image_placement(image)


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("mask", [opened_mask, painted])
def test_a_mask_that_was_changed_alone_has_no_place(viewer: ViewerModel, kind: str, mask) -> None:
    image = opened(viewer, scan())
    layer = mask(viewer, scan() if mask is opened_mask else image)
    assert same_place(layer, image)
    change(layer, CHANGES[kind])
    assert not same_place(layer, image)
    with pytest.raises(UserError, match="was moved"):
        mask_placement(layer)


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("mask", [opened_mask, painted])
def test_a_mask_changed_together_with_its_image_keeps_the_place_of_the_file(
    viewer: ViewerModel, kind: str, mask
) -> None:
    image = opened(viewer, scan())
    layer = mask(viewer, scan() if mask is opened_mask else image)
    for one in (image, layer):
        change(one, CHANGES[kind])
    assert same_place(layer, image)
    assert_at(mask_placement(layer), scan())


@pytest.mark.parametrize("kind", MOVES_IN_2D)
def test_2d_masks_are_placed_as_volumes_are(viewer: ViewerModel, kind: str) -> None:
    image = opened(viewer, scan((7, 9)))
    mask = opened_mask(viewer, scan((7, 9)))
    change(mask, MOVES_IN_2D[kind])
    with pytest.raises(UserError, match="was moved"):
        mask_placement(mask)
    change(image, MOVES_IN_2D[kind])
    assert_at(mask_placement(mask), scan((7, 9)))


@pytest.mark.parametrize("kind", ["translated", "dragged", "turned", "flipped"])
def test_a_moved_image_is_segmented_as_its_file(viewer: ViewerModel, kind: str) -> None:
    image = opened(viewer, scan())
    change(image, CHANGES[kind])
    volume = image_volume(image)
    assert volume.same_grid(scan())
    np.testing.assert_array_equal(volume.array, scan().array)


@pytest.mark.parametrize("kind", ["stretched", "sheared", "in other units"])
def test_a_stretched_image_is_not_segmented(viewer: ViewerModel, kind: str) -> None:
    image = opened(viewer, scan())
    change(image, CHANGES[kind])
    with pytest.raises(UserError, match="stretched or sheared"):
        image_volume(image)


@pytest.mark.parametrize(
    "part", [np.s_[2:, 3:, 4:], np.s_[::2], np.s_[:4], np.s_[:, ::2, ::2], np.s_[1:2]]
)
def test_voxels_replaced_by_another_shape_have_no_place(viewer: ViewerModel, part) -> None:
    image, mask = opened(viewer, scan()), opened_mask(viewer, scan())
    for layer in (image, mask):
        layer.data = layer.data[part]
    with pytest.raises(UserError, match=r"voxels of scan were replaced .* another shape"):
        image_placement(image)
    with pytest.raises(UserError, match=r"voxels of seg were replaced .* another shape"):
        mask_placement(mask)
    with pytest.raises(UserError, match="voxels of scan were replaced"):
        mask_placement(painted(viewer, image))


def test_voxels_replaced_by_the_same_shape_keep_their_place(viewer: ViewerModel) -> None:
    image = opened(viewer, scan())
    image.data = np.zeros_like(image.data)
    assert_at(image_placement(image), scan())


@pytest.mark.parametrize("metadata", ["without", "with"])
@pytest.mark.parametrize("moved", ["at its place", "moved with its scan"])
def test_a_crop_of_an_oblique_scan_lies_in_that_scan(
    viewer: ViewerModel, metadata: str, moved: str
) -> None:
    whole = opened(viewer, scan())
    if moved == "moved with its scan":
        whole.affine = shift(3, 12, 0)
    start, box = (2, 3, 4), np.s_[2:, 3:, 4:]
    keywords = transform_keywords(whole) | {"translate": np.array(start) * whole.scale}
    if metadata == "with":
        keywords["metadata"] = whole.metadata
    crop = viewer.add_image(whole.data[box], name="crop", **keywords)
    mask = viewer.add_labels(np.ones(crop.data.shape, np.uint8), **keywords)
    expected = sitk_crop(scan(), start)
    for place in (image_placement(crop), mask_placement(mask)):
        np.testing.assert_allclose(place.origin, expected.GetOrigin(), atol=1e-6)
        np.testing.assert_allclose(place.direction, OBLIQUE, atol=1e-9)
        assert place.spacing == (2.5, 0.8, 0.8)
    viewer.layers.remove(crop)
    np.testing.assert_allclose(mask_placement(mask).origin, expected.GetOrigin(), atol=1e-6)


def sitk_crop(volume: Volume, start: tuple[int, ...]) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction)
    z, y, x = start
    return image[x:, y:, z:]


def test_a_crop_that_copied_the_record_is_placed_without_its_scan(viewer: ViewerModel) -> None:
    whole = opened(viewer, scan())
    keywords = {"scale": whole.scale, "units": whole.units, "metadata": whole.metadata}
    crop = viewer.add_image(whole.data[2:], translate=(5, 0, 0), **keywords)
    viewer.layers.remove(whole)
    place = image_placement(crop)
    np.testing.assert_allclose(place.origin, sitk_crop(scan(), (2, 0, 0)).GetOrigin(), atol=1e-6)


def test_a_crop_shifted_by_part_of_a_voxel_has_no_place(viewer: ViewerModel) -> None:
    whole = opened(viewer, scan())
    keywords = {"scale": whole.scale, "units": whole.units, "translate": (3.0, 0, 0)}
    crop = viewer.add_image(whole.data[1:4], name="crop", **keywords)
    mask = viewer.add_labels(np.ones((3, 7, 9), np.uint8), name="mine", **keywords)
    with pytest.raises(UserError, match="crop does not lie on the voxels of any image"):
        image_placement(crop)
    with pytest.raises(UserError, match="crop does not lie on the voxels of any image"):
        mask_placement(mask)


def test_a_crop_that_fits_into_two_scans_at_different_places_is_refused(
    viewer: ViewerModel,
) -> None:
    one = opened(viewer, scan(), "a")
    opened(viewer, scan(origin=(0.0, 0.0, 7.0)), "b")
    crop = viewer.add_image(one.data[1:], name="crop", translate=(2.5, 0, 0), scale=one.scale)
    with pytest.raises(UserError, match="crop could be a part of several open images"):
        image_placement(crop)


def test_a_filtered_image_of_another_tool_lies_where_its_source_does(viewer: ViewerModel) -> None:
    source = opened(viewer, scan())
    filtered = viewer.add_image(source.data * 0.5, scale=source.scale, units=source.units)
    assert_at(image_placement(filtered), scan())


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_image_of_another_reader_lies_where_its_transform_puts_it(
    viewer: ViewerModel, kind: str
) -> None:
    image = viewer.add_image(scan().array, name="foreign", **FOREIGN[kind])
    mask = painted(viewer, image)
    for place in (image_placement(image), mask_placement(mask)):
        np.testing.assert_allclose(place.spacing, (2.5, 0.8, 0.7))
        np.testing.assert_allclose(place.origin, (30, 20, 10))
        np.testing.assert_allclose(place.direction, np.eye(3).ravel(), atol=1e-9)
    assert image_volume(image).sized
    assert same_place(mask, image)


@pytest.mark.parametrize(
    "keywords",
    [
        {"shear": (0.0, 0.0, 0.2)},
        {"affine": [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
        {"rotate": TURN, "affine": np.diag([1, 1, 3, 1])},
        {"affine": np.diag([np.nan, 1, 1, 1])},
    ],
)
def test_an_image_of_another_reader_with_sheared_axes_is_refused(keywords: dict) -> None:
    image = Image(np.zeros(SHAPE), name="foreign", **keywords)
    for use in (image_placement, image_volume):
        with pytest.raises(UserError, match="axes of foreign are sheared"):
            use(image)


@pytest.mark.parametrize("seed", range(12))
def test_any_rigid_transform_and_scale_agrees_with_the_physical_points_of_itk(seed: int) -> None:
    random = np.random.default_rng(seed)
    ndim = 2 if seed % 4 == 0 else 3
    turn = np.linalg.qr(random.normal(size=(ndim, ndim)))[0]
    scale = random.uniform(0.2, 5, ndim) * random.choice([-1, 1], ndim)
    affine = shift(*random.normal(0, 50, ndim))
    affine[:ndim, :ndim] = turn
    image = Image(
        np.zeros(SHAPE[-ndim:]), scale=scale, translate=random.normal(0, 9, ndim), affine=affine
    )
    place = image_placement(image)
    volume = sitk.Image(place.shape[::-1], sitk.sitkUInt8)
    volume.SetSpacing(place.spacing[::-1])
    volume.SetOrigin(place.origin)
    volume.SetDirection(place.direction)
    for index in random.integers(0, 5, (20, ndim)).tolist():
        point = volume.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(point[::-1], image.data_to_world(index), atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_crops_at_random_places_agree_with_itk(seed: int) -> None:
    random = np.random.default_rng(seed)
    direction = tuple(np.linalg.qr(random.normal(size=(3, 3)))[0].ravel().tolist())
    volume = scan(origin=tuple(random.normal(0, 99, 3).tolist()), direction=direction)
    viewer = ViewerModel()
    whole = opened(viewer, volume)
    shown = recorded(whole)
    assert shown is not None
    start = tuple(random.integers(0, 4, 3).tolist())
    sizes = [
        random.integers(1, size - first + 1) for first, size in zip(start, shown.shape, strict=True)
    ]
    box = tuple(slice(a, a + n) for a, n in zip(start, sizes, strict=True))
    keywords = {"scale": whole.scale, "translate": np.array(start) * whole.scale}
    crop = viewer.add_image(whole.data[box], **keywords)
    cut = image_placement(crop)
    sitk_whole = sitk.GetImageFromArray(np.zeros(shown.shape, np.uint8))
    sitk_whole.SetSpacing(shown.spacing[::-1])
    sitk_whole.SetOrigin(shown.origin)
    sitk_whole.SetDirection(shown.direction)
    expected = sitk_whole.TransformIndexToPhysicalPoint([int(one) for one in start[::-1]])
    np.testing.assert_allclose(cut.origin, expected, atol=1e-6)
    assert cut.direction == shown.direction


def test_a_mask_in_pixels_is_compared_by_numbers(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros(SHAPE), scale=(2500, 800, 800), units=("um",) * 3)
    mask = viewer.add_labels(np.zeros(SHAPE, np.uint8), scale=(2500, 800, 800))
    assert same_place(mask, image)
    np.testing.assert_allclose(mask_placement(mask).spacing, (2.5, 0.8, 0.8))


def test_masks_opened_at_different_positions_are_not_at_the_same_place(
    viewer: ViewerModel,
) -> None:
    one = opened_mask(viewer, scan(), "a")
    other = opened_mask(viewer, scan(origin=(0.0, 0.0, 7.0)), "b")
    np.testing.assert_allclose(world_matrix(one), world_matrix(other))
    assert not same_place(one, other)


def test_full_resolution_of_a_multiscale_layer_is_its_grid(viewer: ViewerModel) -> None:
    image = opened(viewer, scan())
    array = np.ones(SHAPE, np.uint8)
    pyramid = [array, array[::2, ::2, ::2]]
    keywords = transform_keywords(image)
    mask = viewer.add_labels(pyramid, multiscale=True, **keywords)
    levels = viewer.add_image(pyramid, multiscale=True, **keywords)
    assert same_place(mask, image)
    assert_at(mask_placement(mask), scan())
    assert_at(image_placement(levels), scan())
    assert image_volume(levels).shape == SHAPE


@pytest.mark.parametrize("kind", [Labels, Image])
def test_a_layer_with_a_time_axis_is_refused_in_one_sentence(kind: type) -> None:
    layer = kind(np.zeros((2, *SHAPE), np.uint8), name="cine")
    place = mask_placement if kind is Labels else image_placement
    with pytest.raises(UserError, match="cine has 4 dimensions, such as time"):
        place(layer)
    frames = kind(np.zeros(SHAPE, np.uint8), name="cine", units=("ms", "mm", "mm"))
    with pytest.raises(UserError, match="A dimension of cine is time"):
        place(frames)


def test_a_mask_is_placed_by_the_images_of_its_own_viewer(viewer: ViewerModel) -> None:
    other = ViewerModel()
    image = opened(viewer, scan())
    opened(other, scan(origin=(0.0, 0.0, 7.0)))
    mask = painted(viewer, image)
    assert viewer_of(mask) is viewer
    assert viewer_of(Labels(np.zeros(SHAPE, np.uint8))) is None
    assert_at(mask_placement(mask), scan())
    viewer.layers.remove(mask)
    assert viewer_of(mask) is None
    other.add_layer(mask)
    assert_at(mask_placement(mask), scan(origin=(0.0, 0.0, 7.0)))


def test_metadata_of_another_tool_under_our_key_is_ignored(viewer: ViewerModel) -> None:
    for found in (None, "text", {"spacing": 1}, [1]):
        assert recorded(viewer.add_image(np.zeros(SHAPE), metadata={"graphflow": found})) is None


def test_a_place_recorded_for_a_transform_is_valid_for_that_alone(viewer: ViewerModel) -> None:
    image = viewer.add_image(scan().array, affine=shift(1, 2, 3))
    place = image_placement(image).at(image)
    mask = painted(viewer, image)
    mask.metadata["graphflow"] = vars(place)
    viewer.layers.remove(image)
    assert mask_placement(mask) == place
    mask.translate = (1, 0, 0)
    with pytest.raises(UserError, match="was moved"):
        mask_placement(mask)


def test_an_overlay_is_true_if_both_layers_are_shown_as_they_lie(viewer: ViewerModel) -> None:
    image = opened(viewer, scan())
    fits = opened_mask(viewer, scan())
    assert overlay_warning(image, [image, fits]) == ""
    assert overlay_warning(fits, [image, fits]) == ""
    finer = replace(scan((9, 7, 9)), spacing=(1.25, 0.8, 0.8))
    assert overlay_warning(opened(viewer, finer, "finer"), [image]) == ""


def test_an_overlay_that_is_not_true_is_named(viewer: ViewerModel) -> None:
    image = opened(viewer, scan())
    half = tuple(np.add(scan().origin, (0.4, 0, 0)).tolist())
    for layer in (
        opened(viewer, scan(origin=half), "other"),
        opened_mask(viewer, scan(origin=half), "other"),
        opened(viewer, scan(direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)), "other"),
    ):
        viewer.layers.remove(layer)
        layer.name = "other"
        assert "other and scan lie at different places" in overlay_warning(layer, [image])
        assert "scan and other lie at different places" in overlay_warning(image, [layer])
    coarse = replace(scan((5, 7, 5)), spacing=(2.5, 0.8, 1.6))
    mask = opened_mask(viewer, coarse, "coarse")
    assert "coarse does not lie on the voxels of scan" in overlay_warning(mask, [image])
