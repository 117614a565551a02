"""Which layers belong to one patient, and what is shown when several are open."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from napari import Viewer
from napari.layers import Labels, Layer
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot

from napari_graphflow.plugin.viewer.case_names import relation
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.volume.widget import VolumeWidget

PLUGIN = "napari-graphflow"


@pytest.mark.parametrize(
    ("mask", "scan", "expected"),
    [
        ("a/brain_001_seg.nii.gz", "b/brain_001_0000.nii.gz", 2),
        ("a/brain_001.nii.gz", "b/brain_002.nii.gz", -1),
        ("a/p1_mask.nii", "a/p2.nii", -1),
        ("001/seg.nii.gz", "001/ct.nii.gz", 1),
        ("001/seg.nii.gz", "002/ct.nii.gz", -1),
        ("001/ct_seg.nii.gz", "002/ct.nii.gz", -1),
        ("labelsTr/liver_7.nii.gz", "imagesTr/liver_007_0000.nii.gz", 2),
        ("a/scan_mask.nii.gz", "a/scan.nii.gz", 2),
        ("a/tumour.nii.gz", "b/ct.nii.gz", 0),
        ("a/P1_followup_seg.nii.gz", "a/P1_baseline.nii.gz", -1),
        ("a/P1_pre_seg.nii.gz", "b/P1.nii.gz", 0),
        ("labels/scan_0000.nii.gz", "images/scan_0001.nii.gz", -1),
    ],
)
def test_names_decide_whether_a_mask_and_a_scan_are_of_one_patient(
    mask: str, scan: str, expected: int
) -> None:
    assert relation(Path("/data") / mask, Path("/data") / scan) == expected


def opened(viewer: Viewer, *paths: Path) -> list[Layer]:
    return viewer.open([str(path) for path in paths], plugin=PLUGIN)


def write_mask(path: Path, scan: Path) -> Path:
    sitk.WriteImage(sitk.ReadImage(str(scan)) > 110, str(path))
    return path


def shown(viewer: Viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_opening_another_patient_hides_the_first_and_reports_it(viewer: Viewer, write_scan) -> None:
    (first,) = opened(viewer, write_scan("brain_001.nii.gz"))
    mask = viewer.add_labels(np.zeros(first.data.shape, np.uint8), scale=first.scale, name="mine")
    first.visible = False
    viewer.dims.set_current_step(0, 2)
    viewer.scene.camera.zoom *= 3
    zoom = viewer.scene.camera.zoom
    opened(viewer, write_scan("brain_002.nii.gz", seed=1, shape=(30, 20, 24)))
    assert shown(viewer) == ["brain_002"]
    assert "brain_001 was hidden" in notification_manager.records[-1].message
    assert viewer.dims.current_step[0] in (14, 15) and viewer.scene.camera.zoom != zoom
    viewer.layers.selection.active = mask
    assert shown(viewer) == ["mine"], "the image was hidden by its eye before"
    assert viewer.dims.current_step[0] == 2 and viewer.scene.camera.zoom == zoom


def test_a_scan_and_its_mask_of_one_drop_belong_together(viewer: Viewer, write_scan) -> None:
    scan = write_scan("ct_17.nii.gz")
    mask = write_mask(scan.with_name("annotation_3.nii.gz"), scan)
    for files in ((mask, scan), (scan, mask)):
        layers = {type(layer): layer for layer in opened(viewer, *files)}
        keys = {cases_of(viewer).key(layer) for layer in layers.values()}
        assert len(keys) == 1 and all(layer.visible for layer in layers.values())
        viewer.layers.clear()


def test_a_mask_opens_on_its_own_patient_and_never_on_another_of_the_same_grid(
    viewer: Viewer, write_scan, tmp_path: Path
) -> None:
    paths = [write_scan(f"brain_00{number}.nii.gz", seed=number) for number in (1, 2)]
    first, second = (opened(viewer, path)[0] for path in paths)
    cases = cases_of(viewer)
    (mask,) = opened(viewer, write_mask(tmp_path / "brain_001_seg.nii.gz", paths[0]))
    assert cases.key(mask) == cases.key(first) != cases.key(second)
    assert shown(viewer) == ["brain_001", "brain_001_seg"]
    (other,) = opened(viewer, write_mask(tmp_path / "brain_003_seg.nii.gz", paths[0]))
    assert isinstance(other, Labels)
    assert cases.key(other) not in (cases.key(first), cases.key(second))
    assert shown(viewer) == ["brain_003_seg"]
    said = notification_manager.records[-1].message
    assert "brain_003_seg is another patient's than brain_001 by its name" in said
    viewer.layers.selection.active = second
    (third,) = opened(viewer, write_mask(tmp_path / "tumour.nii.gz", paths[0]))
    assert cases.key(third) == cases.key(second), "a mask without a number is of the shown case"


def test_channels_of_nnunet_are_one_case(viewer: Viewer, write_scan) -> None:
    paths = [
        write_scan(f"{name}_000{number}.nii.gz", seed=number)
        for name in ("brain_001", "brain_002")
        for number in (0, 1)
    ]
    layers = opened(viewer, *paths[2:])
    cases = cases_of(viewer)
    assert len({cases.key(layer) for layer in layers}) == 1
    found = cases.shown()
    assert found is not None and found.name == "brain_002"


@pytest.mark.parametrize("count", [2, 4])
def test_numbered_patients_are_cases_of_their_own(
    viewer: Viewer, write_scan, tmp_path: Path, count: int
) -> None:
    paths = [write_scan(f"scan_000{number}.nii.gz", seed=number) for number in range(count)]
    layers = opened(viewer, *paths)
    cases = cases_of(viewer)
    assert len({cases.key(layer) for layer in layers}) == count
    names = [cases.name(cases.key(layer)) for layer in layers]
    assert names == [f"scan_000{number}" for number in range(count)]
    assert shown(viewer) == [f"scan_000{count - 1}"]
    (tmp_path / "masks").mkdir()
    (mask,) = opened(viewer, write_mask(tmp_path / "masks" / "scan_0000.nii.gz", paths[0]))
    assert cases.key(mask) == cases.key(layers[0])


def test_a_crop_belongs_to_its_image_and_another_array_does_not(viewer: Viewer, write_scan) -> None:
    (scan,) = opened(viewer, write_scan())
    cases = cases_of(viewer)
    crop = viewer.add_image(
        scan.data[2:, 4:], scale=scan.scale, translate=scan.scale * (2, 4, 0), name="crop"
    )
    assert cases.key(crop) == cases.key(scan)
    other = viewer.add_image(np.zeros(scan.data.shape), scale=scan.scale, name="array")
    assert cases.key(other) != cases.key(scan) and shown(viewer) == ["array"]


def test_a_file_replaced_under_its_name_is_another_patient(viewer: Viewer, write_scan) -> None:
    (first,) = opened(viewer, write_scan("current.nii.gz"))
    (second,) = opened(viewer, write_scan("current.nii.gz", seed=5))
    cases = cases_of(viewer)
    assert cases.key(first) != cases.key(second)
    assert not first.visible and second.visible


def test_all_cases_are_side_by_side_on_request_in_one_part_each(
    viewer: Viewer, qtbot: QtBot, write_scan
) -> None:
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Volume")
    assert isinstance(widget, VolumeWidget)
    (first,) = opened(viewer, write_scan("brain_001.nii.gz"))
    assert not widget.side_by_side.isEnabled()
    for name in ("a", "b"):
        viewer.add_labels(np.zeros(first.data.shape, np.uint8), scale=first.scale, name=name)
    opened(viewer, write_scan("brain_002.nii.gz", seed=1))
    scales = [layer.scale.copy() for layer in viewer.layers]
    assert widget.side_by_side.isEnabled() and shown(viewer) == ["brain_002"]
    widget.side_by_side.click()
    assert shown(viewer) == ["brain_001", "a", "b", "brain_002"]
    grid = viewer.canvas.grid
    parts = [indices for _, indices in grid.iter_viewboxes(viewer.layers)]
    assert parts == [(0, 1, 2), (3,)]
    np.testing.assert_array_equal(scales, [layer.scale for layer in viewer.layers])
    assert not any(layer.translate.any() for layer in viewer.layers)
    viewer.layers.selection.clear()
    assert cases_of(viewer).shown() is None, "no case is selected"
    viewer.layers.selection.active = first
    found = cases_of(viewer).shown()
    assert found is not None and found.image is first
    assert len(shown(viewer)) == 4
    widget.side_by_side.click()
    assert shown(viewer) == ["brain_001", "a", "b"]
    viewer.layers.clear()


def test_masks_made_before_the_first_dock_are_of_the_image_they_are_named_after_or_of_none(
    viewer: Viewer,
) -> None:
    first, second = (viewer.add_image(np.ones((4, 8, 8)), name=name) for name in ("a", "b"))
    viewer.layers.selection.active = first
    viewer._new_labels()
    named = viewer.layers[-1]
    unknown = viewer.add_labels(np.ones((4, 8, 8), np.uint8), name="mine")
    cases = cases_of(viewer)
    assert cases.key(named) == cases.key(first) != cases.key(second)
    assert cases.key(unknown) not in (cases.key(first), cases.key(second))
    assert shown(viewer) == ["mine"]


def test_nothing_is_shown_when_all_eyes_are_closed(viewer: Viewer, write_scan) -> None:
    (scan,) = opened(viewer, write_scan())
    scan.visible = False
    cases = cases_of(viewer)
    assert cases.shown() is None and "Click the eye" in cases.advice()
