"""The commands ``volumes info`` and ``volumes convert``."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
from cases import GEOMETRIES, VOLUME_ENDINGS, by_itk, make, same
from dicom_cases import write_series

from napari_graphflow.cli import main
from napari_graphflow.imaging.files import write_volume


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    """Run the command line in this process and return its exit code and output."""

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in ("volumes", *arguments)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        if ended.value.code == 2:
            assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return run


def test_info_prints_json_in_a_separate_process(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii.gz", make("oblique"))
    command = [sys.executable, "-m", "napari_graphflow", "volumes", "info"]
    for name, code in (("scan.nii.gz", 0), ("nothing.nii.gz", 2)):
        done = subprocess.run(
            [*command, tmp_path / name, "--json"], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        if code:
            assert "There is no file or folder" in done.stderr
            assert json.loads(done.stdout)["failure"]["exit_code"] == 2
        else:
            facts = json.loads(done.stdout)
            assert facts["shape"] == [4, 5, 6] and facts["warnings"] == []


def test_info_prints_shape_orientation_and_spacing(call, tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nrrd", make("anisotropic"))
    out = call("info", tmp_path / "scan.nrrd").out
    assert "shape:       4, 5, 6\n" in out and "orientation: LPS\n" in out
    assert "spacing:     7.5, 0.429688, 0.429688\n" in out


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_convert_preserves_the_geometry(call, tmp_path: Path, ending: str, geometry: str) -> None:
    volume = make(geometry)
    write_volume(tmp_path / "scan.nrrd", volume)
    out = tmp_path / f"out{ending}"
    assert call("convert", tmp_path / "scan.nrrd", out).code == 0
    same(by_itk(out), volume)


def test_files_are_overwritten_only_on_request(call, tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nrrd", make())
    out = tmp_path / "out.mha"
    out.write_text("mine", "utf-8")
    assert "out.mha already exists" in call("convert", tmp_path / "scan.nrrd", out).err
    assert out.read_text("utf-8") == "mine"
    assert call("convert", tmp_path / "scan.nrrd", out, "--overwrite").code == 0
    same(by_itk(out), make())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.xyz", "cannot be written"),
        ("out.png", "cannot store the geometry"),
        ("no/out.mha", "no folder"),
    ],
)
def test_an_unwritable_output_is_one_sentence_and_leaves_no_file(
    call, tmp_path: Path, name: str, words: str
) -> None:
    write_volume(tmp_path / "scan.nrrd", make("oblique"))
    result = call("convert", tmp_path / "scan.nrrd", tmp_path / name)
    assert result.code == 2 and words in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nrrd"]


def test_the_series_of_a_folder_are_listed_and_selected_by_number(call, tmp_path: Path) -> None:
    write_series(tmp_path / "scans/a", uid="1.2.3.1")
    write_series(tmp_path / "scans/b", [0.0, 2.0, 4.0], uid="1.2.3.2")
    facts = call("info", tmp_path / "scans", "--json").json
    assert [one["count"] for one in facts["series"]] == [8, 3] and facts["shape"] is None
    out = tmp_path / "out.nii.gz"
    result = call("convert", tmp_path / "scans", out)
    assert result.code == 2 and "1: Abdomen 5 mm (CT, 8 slices); 2: Abdomen" in result.err
    assert call("convert", tmp_path / "scans", out, "--series", "2").code == 0
    assert sitk.ReadImage(str(out)).GetSpacing() == pytest.approx((0.5, 0.8, 2.0))


def test_a_missing_slice_is_reported_and_resampled_on_request(call, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", [0.0, 5.0, 10.0, 20.0, 25.0])
    result = call("info", tmp_path / "ct", "--json")
    assert result.code == 0 and "1 slice is missing" in result.json["warnings"][0]
    assert result.json["spacing"] == [5.0, 0.8, 0.5]
    out = tmp_path / "out.nrrd"
    refused = call("convert", tmp_path / "ct", out)
    assert refused.code == 2 and "1 slice is missing" in refused.err and not out.exists()
    assert call("convert", tmp_path / "ct", out, "--resample").code == 0
    assert sitk.ReadImage(str(out)).GetSize()[2] == 6


def test_a_truncated_dicom_file_is_reported_with_exit_code_2(call, tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct")
    paths[3].write_bytes(paths[3].read_bytes()[:-100])
    result = call("info", tmp_path / "ct", "--json")
    assert result.code == 2 and "1 file of the series is truncated" in result.err
    assert result.json["warnings"] == [result.err.removeprefix("error: ").split(": ")[0] + ": "
                                     + paths[3].name + "."]  # fmt: skip


# Expected results for malformed files

#: For each file of EXPECTED.tsv: shape, data type and words of the warnings, or words of the error.
#: Masks are read with their image.
IMAGES: dict[str, tuple[tuple[int, ...], str, str] | str] = {
    "gray16.png": ((256, 320), "uint16", ""),
    "rgba.png": ((256, 320), "uint8", ""),
    "la.png": ((256, 320), "uint8", ""),
    "cmyk.jpg": ((256, 320), "uint8", "converted to RGB"),
    "exif_rotated.jpg": ((256, 320), "uint8", "EXIF rotation"),
    "animated.gif": ((4, 256, 320), "uint8", "4 frames are shown as slices"),
    "multipage.tif": ((5, 256, 320), "uint8", "5 pages; they are shown as slices"),
    "float32_nan.tif": ((256, 320), "float32", "not finite"),
    "truncated.png": "truncated.png is damaged",
    "one_pixel.png": ((1, 1), "uint8", ""),
    "thin_2000x3.png": ((3, 2000), "uint8", ""),
    "Größe é 图像 (1).png": ((256, 320), "uint8", ""),
    "odd_size_255x319.png": ((255, 319), "uint8", ""),
}
#: Labels, and words of the warnings.
MASKS: dict[str, tuple[list[int], str] | str] = {
    "mask_ok_0_255.png": ([0, 1], ""),
    "mask_0_1.png": ([0, 1], ""),
    "mask_1bit.png": ([0, 1], ""),
    "mask_palette.png": ([0, 1], ""),
    "mask_rgb_colour.png": "is a colour image",
    "mask_rgba.png": ([0, 1], ""),
    "mask_inverted.png": ([0, 1], "89% of the mask is foreground"),
    "mask_jpeg_artifacts.jpg": ([0, 1], "grey levels"),
    "mask_wrong_size.png": "128 x 160, but the image 256 x 320",
    "mask_transposed.png": "320 x 256, but the image 256 x 320",
    "shape_mismatch_label.nii.gz": "34 x 51 x 35, but the image 35 x 51 x 35",
    "affine_mismatch_label.nii.gz": "does not align with the image",
    "empty_label.nii.gz": ([0], ""),
    "float_label.nii.gz": ([0, 1, 2], ""),
    "noncontiguous_label.nii.gz": ([0, 7, 250], ""),
    "negative_label.nii.gz": "negative values, down to -1",
    "extra_class_label.nii.gz": ([0, 1, 9], ""),
    "ignore_255_label.nii.gz": ([0, 1, 2, 255], ""),
    "onehot_4d_label.nii.gz": ([0, 1, 2], "one-hot"),
}


def bad(shared_data: Path, name: str) -> Path:
    """Return a file; letters in its name may be stored composed or decomposed."""
    folder = shared_data / "bad_input/crafted" / ("labels" if "_label." in name else "2d")
    return next(folder.glob("Gr*.png")) if name.startswith("Gr") else folder / name


def image_of(shared_data: Path, name: str) -> Path:
    if "_label." in name:
        return shared_data / "hippocampus_msd/images/hippocampus_001.nii.gz"
    return shared_data / "bad_input/crafted/2d/rgb_ok.png"


def test_every_malformed_file_is_tested(shared_data: Path) -> None:
    text = (shared_data / "bad_input/EXPECTED.tsv").read_text("utf-8")
    entries = [line.split("\t")[0] for line in text.splitlines()[1:]]
    # "labels/a.nii.gz", and two in one line as "2d/a.png + b.png" or "2d/a.png, 2d/b.png".
    names = {
        part.strip().split("/")[-1]
        for entry in entries
        for part in entry.replace(" + ", ",").split(",")
    }
    assert names == {*IMAGES, *MASKS, "rgb_ok.png"}


@pytest.mark.parametrize("name", IMAGES)
def test_malformed_2d_images_are_read_with_warnings_or_refused(
    call, shared_data: Path, name: str
) -> None:
    expected = IMAGES[name]
    result = call("info", bad(shared_data, name), "--json")
    if isinstance(expected, str):
        assert result.code == 2 and expected in result.err
        return
    shape, dtype, words = expected
    assert (
        result.code == 0 and tuple(result.json["shape"]) == shape and result.json["type"] == dtype
    )
    assert words in " ".join(result.json["warnings"]) and bool(words) == bool(
        result.json["warnings"]
    )
    if name == "gray16.png":
        assert result.json["range"][1] > 255
    if name in ("rgba.png", "la.png"):
        assert result.json["channels"] == {"rgba.png": 3, "la.png": 1}[name]


@pytest.mark.parametrize("name", MASKS)
def test_malformed_masks_are_converted_with_warnings_or_refused(
    call, shared_data: Path, tmp_path: Path, name: str
) -> None:
    expected, out = MASKS[name], tmp_path / f"mask{'.nrrd' if '_label.' in name else '.png'}"
    pair = (bad(shared_data, name), "--like", image_of(shared_data, name))
    result = call("info", *pair, "--json")
    written = call("convert", pair[0], out, *pair[1:])
    if isinstance(expected, str):
        assert (
            result.code == written.code == 2
            and expected in result.err
            and result.err == written.err
        )
        assert not list(tmp_path.iterdir())
        return
    labels, words = expected
    assert result.code == written.code == 0 and result.json["labels"] == labels
    assert words in " ".join(result.json["warnings"]) and bool(words) == bool(
        result.json["warnings"]
    )
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    assert array.dtype == np.uint8 and np.unique(array).tolist() == labels


def test_a_mask_with_an_undeclared_class_is_refused_at_import(
    call, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, path in (
        ("images", image_of(shared_data, "_label.")),
        ("masks", bad(shared_data, "extra_class_label.nii.gz")),
    ):
        (tmp_path / kind).mkdir()
        shutil.copy(path, tmp_path / kind / "case.nii.gz")
    arguments = ["--images", tmp_path / "images", "--masks", tmp_path / "masks"]
    arguments += ["--out", tmp_path / "data", "--classes", "one=1", "two=2"]
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in ("datasets", "import", *arguments)])
    assert ended.value.code == 2
    assert "9" in capsys.readouterr().err


def test_series_with_the_same_line_are_told_apart_by_their_first_file(call, tmp_path: Path) -> None:
    for name, uid in (("a", "1.2.3.1"), ("b", "1.2.3.2")):
        write_series(tmp_path / "scans" / name, uid=uid)
    found = call("info", tmp_path / "scans", "--json").json["series"]
    files = {one["first_file"] for one in found}
    assert {file.partition("/")[0] for file in files} == {"a", "b"}
    printed = call("info", tmp_path / "scans").out
    assert all(file in printed for file in files)
    refused = call("convert", tmp_path / "scans", tmp_path / "out.nii.gz")
    assert refused.code == 2
    assert all(f"from {file}" in refused.err for file in files)
