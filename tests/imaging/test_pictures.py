"""Natural 2D images are read with the pixels as stored, in every colour mode."""

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from cases import refused
from PIL import Image

from napari_graphflow.imaging.files import read_labels, read_volume


def test_16_bit_colour_is_not_reduced_to_8_bits(tmp_path: Path) -> None:
    array = np.random.default_rng(5).integers(0, 65535, (7, 9, 3)).astype(np.uint16)
    for ending in (".png", ".tif"):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / f"a{ending}"))
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}").array, array)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_a_palette_image_is_read_in_colour_and_a_palette_mask_as_indices(
    tmp_path: Path, ending: str
) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.frombytes("P", (3, 2), indices.tobytes())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255] + [0] * 759)
    image.save(tmp_path / f"a{ending}")
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    volume = read_volume(tmp_path / f"a{ending}")
    assert volume.channels
    np.testing.assert_array_equal(volume.array, colours[indices])
    np.testing.assert_array_equal(read_labels(tmp_path / f"a{ending}").array, indices)


def test_transparency_is_ignored_with_a_warning_unless_opaque(tmp_path: Path) -> None:
    array = np.full((4, 5, 4), 200, np.uint8)
    array[..., 3] = 255
    Image.fromarray(array).save(tmp_path / "opaque.png")
    array[0, 0, 3] = 0
    Image.fromarray(array).save(tmp_path / "clear.png")
    opaque, clear = read_volume(tmp_path / "opaque.png"), read_volume(tmp_path / "clear.png")
    assert opaque.array.shape == clear.array.shape == (4, 5, 3)
    assert not any("transparen" in warning for warning in opaque.warnings)
    assert any("transparen" in warning for warning in clear.warnings)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".gif", ".bmp"])
def test_a_truncated_2d_image_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    array = np.random.default_rng(6).integers(0, 255, (64, 64)).astype(np.uint8)
    path = tmp_path / f"a{ending}"
    Image.fromarray(array).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "damaged")


def test_an_imagej_stack_has_its_voxel_spacing(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "stack.tif",
        np.arange(60, dtype=np.uint16).reshape(3, 4, 5),
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )
    volume = read_volume(tmp_path / "stack.tif")
    assert volume.shape == (3, 4, 5)
    assert volume.spacing == pytest.approx((2e-3, 0.5e-3, 0.25e-3))


def test_planar_channels_are_moved_to_the_last_axis(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate")
    volume = read_volume(tmp_path / "a.tif")
    assert volume.channels
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, 0, -1))


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "warning"),
    [
        ("rgb_ok.png", (256, 320, 3), "uint8", ""),
        ("gray16.png", (256, 320), "uint16", ""),
        ("rgba.png", (256, 320, 3), "uint8", ""),
        ("la.png", (256, 320), "uint8", ""),
        ("cmyk.jpg", (256, 320, 3), "uint8", "converted to RGB"),
        ("exif_rotated.jpg", (256, 320, 3), "uint8", "EXIF rotation"),
        ("animated.gif", (4, 256, 320, 3), "uint8", "4 frames are shown as slices"),
        ("multipage.tif", (5, 256, 320), "uint8", "5 pages; they are shown as slices"),
        ("float32_nan.tif", (256, 320), "float32", "not finite"),
        ("one_pixel.png", None, "uint8", ""),
        ("thin_2000x3.png", None, "uint8", ""),
        ("Gr*.png", None, "uint8", ""),
        ("odd_size_255x319.png", (255, 319, 3), "uint8", ""),
    ],
)
def test_unusual_2d_images_are_read(
    shared_data: Path, name: str, shape: tuple[int, ...] | None, dtype: str, warning: str
) -> None:
    # The file name with letters of several alphabets may be stored composed or decomposed.
    (path,) = (shared_data / "bad_input/crafted/2d").glob(name)
    volume = read_volume(path)
    with Image.open(path) as image:
        assert volume.shape[-2:] == (image.height, image.width)
    assert shape is None or volume.array.shape == shape
    assert volume.array.dtype == dtype
    assert warning in " ".join(volume.warnings) and bool(warning) == bool(volume.warnings)


def test_a_truncated_png_is_refused(shared_data: Path) -> None:
    refused(shared_data / "bad_input/crafted/2d/truncated.png", "truncated.png is damaged")


def test_a_16_bit_png_is_not_clipped(shared_data: Path) -> None:
    assert read_volume(shared_data / "bad_input/crafted/2d/gray16.png").array.max() > 255


def test_tiff_pages_linked_in_a_circle_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))
    whole = bytearray((tmp_path / "a.tif").read_bytes())
    (first,) = struct.unpack_from("<I", whole, 4)
    (entries,) = struct.unpack_from("<H", whole, first)
    struct.pack_into("<I", whole, first + 2 + 12 * entries, first)
    (tmp_path / "a.tif").write_bytes(whole)
    refused(tmp_path / "a.tif", "damaged")


@pytest.mark.parametrize(("pages", "shape"), [(3, (3, 4, 5)), (4, (4, 4, 5))])
def test_three_or_four_grey_pages_are_slices_not_channels(
    tmp_path: Path, pages: int, shape: tuple[int, ...]
) -> None:
    array = np.arange(20 * pages, dtype=np.uint8).reshape(pages, 4, 5)
    first, *others = [Image.fromarray(page) for page in array]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    volume = read_volume(tmp_path / "a.tif")
    assert not volume.channels
    assert volume.shape == shape
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
def test_compressed_tiffs_are_read(tmp_path: Path, compression: str) -> None:
    array = np.random.default_rng(0).integers(0, 9, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, array)


def test_a_tiff_with_white_as_zero_is_inverted(tmp_path: Path) -> None:
    array = np.eye(20, 30, dtype=bool)
    tifffile.imwrite(tmp_path / "a.tif", ~array, photometric="miniswhite")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, array * np.uint8(255))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").array, array)


def test_a_grey_animation_is_a_stack_of_grey_slices(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)
    first, *others = [Image.fromarray(frame) for frame in array]
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    volume = read_volume(tmp_path / "a.gif")
    assert not volume.channels
    np.testing.assert_array_equal(volume.array, array)
