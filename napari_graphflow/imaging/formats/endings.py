"""The endings of file names: the one table of which format they promise and who takes them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    endings
        Of its files; the first is the one that is proposed.
    written
        Those that are written, always without loss.
    headers
        Those of files whose voxels may lie in another file beside them.
    beside
        Those of such other files.
    flat
        Whether it holds 2D images, or a stack of them, without a place in space.
    masks
        Ending of the masks of its images, where that is not their own.
    """

    endings: tuple[str, ...]
    written: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    flat: bool = False
    masks: str = ".nii.gz"


FORMATS = {
    "NIfTI": Format(
        (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz"),
        written=(".nii.gz", ".nii"),
        headers=(".hdr", ".hdr.gz"),
        beside=(".img", ".img.gz"),
    ),
    "NRRD": Format((".nrrd", ".nhdr"), written=(".nrrd", ".nhdr"), headers=(".nhdr",)),
    "MetaImage": Format((".mha", ".mhd"), written=(".mha", ".mhd"), headers=(".mhd",)),
    "DICOM": Format((".dcm", ".dicom", ".ima")),
    "PNG": Format((".png",), written=(".png",), flat=True),
    "JPEG": Format((".jpg", ".jpeg"), flat=True, masks=".png"),
    "TIFF": Format((".tif", ".tiff"), written=(".tif", ".tiff"), flat=True),
    # Several frames do not go into a PNG.
    "GIF": Format((".gif",), flat=True, masks=".tif"),
    "BMP": Format((".bmp",), flat=True, masks=".png"),
    "WebP": Format((".webp",), flat=True, masks=".tif"),
}

#: Endings of everything that can be opened.
READ = tuple(ending for one in FORMATS.values() for ending in one.endings)

HEADERS = tuple(ending for one in FORMATS.values() for ending in one.headers)

#: Endings of the files that are an image each, in a folder of images. Files of DICOM are slices.
IMAGES = tuple(
    ending
    for name, one in FORMATS.items()
    for ending in one.endings
    if name != "DICOM" and ending not in one.beside
)

FLAT = tuple(ending for one in FORMATS.values() if one.flat for ending in one.endings)

WRITTEN = tuple(ending for one in FORMATS.values() for ending in one.written)

#: Endings of volumes that are written as one file.
WHOLE_VOLUMES = tuple(ending for ending in WRITTEN if ending not in FLAT and ending not in HEADERS)


def split_ending(name: str, endings: tuple[str, ...] = READ) -> tuple[str, str]:
    """Split a file name into stem and ending, in lower case; no ending if it is none of these."""
    fitting = [ending for ending in endings if name.lower().endswith(ending)]
    ending = max(fitting, key=len, default="")
    return name[: len(name) - len(ending)], ending


def suffix(path: Path) -> str:
    """The ending of a file's name in lower case, known or not, ``.nii.gz`` as one."""
    endings = [part.lower() for part in path.suffixes[-2:]]
    return "".join(endings) if endings[-1:] == [".gz"] else "".join(endings[-1:])


def mask_ending(ending: str) -> str:
    """Ending under which the mask of an image is written, as one file and without loss."""
    if ending in WRITTEN and ending not in HEADERS:
        return ending
    return next((one.masks for one in FORMATS.values() if ending in one.endings), ".nii.gz")
