"""File formats and their suffixes."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    endings
        Suffixes of its files; the first is the default.
    written
        Suffixes that are written, always without loss.
    headers
        Suffixes of headers whose voxels may be in a separate file.
    data
        Suffixes of these separate files.
    flat
        Whether it stores 2D images, or a stack of them, without geometry.
    masks
        Suffix of the masks of its images, if it differs.
    """

    endings: tuple[str, ...]
    written: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    flat: bool = False
    masks: str = ".nii.gz"


FORMATS = {
    "NIfTI": Format(
        (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz"),
        written=(".nii.gz", ".nii"),
        headers=(".hdr", ".hdr.gz"),
        data=(".img", ".img.gz"),
    ),
    "NRRD": Format((".nrrd", ".nhdr"), written=(".nrrd", ".nhdr"), headers=(".nhdr",)),
    "MetaImage": Format((".mha", ".mhd"), written=(".mha", ".mhd"), headers=(".mhd",)),
    "DICOM": Format((".dcm", ".dicom", ".ima")),
    "PNG": Format((".png",), written=(".png",), flat=True),
    "JPEG": Format((".jpg", ".jpeg"), flat=True, masks=".png"),
    "TIFF": Format((".tif", ".tiff"), written=(".tif", ".tiff"), flat=True),
    # A PNG cannot store several frames.
    "GIF": Format((".gif",), flat=True, masks=".tif"),
    "BMP": Format((".bmp",), flat=True, masks=".png"),
    "WebP": Format((".webp",), flat=True, masks=".tif"),
}

#: Suffixes of all files that can be read.
READ = tuple(ending for one in FORMATS.values() for ending in one.endings)

HEADERS = tuple(ending for one in FORMATS.values() for ending in one.headers)

#: Suffixes of files that are one image each; DICOM files are slices.
IMAGES = tuple(
    ending
    for name, one in FORMATS.items()
    for ending in one.endings
    if name != "DICOM" and ending not in one.data
)

#: Suffixes of the files that hold the voxels of a header when it is written.
VOXELS = {".mhd": (".raw", ".zraw"), ".nhdr": (".raw", ".raw.gz")}

FLAT = tuple(ending for one in FORMATS.values() if one.flat for ending in one.endings)

WRITTEN = tuple(ending for one in FORMATS.values() for ending in one.written)

#: Suffixes of volumes that are written as a single file.
WHOLE_VOLUMES = tuple(ending for ending in WRITTEN if ending not in FLAT and ending not in HEADERS)


def split_ending(name: str, endings: tuple[str, ...] = READ) -> tuple[str, str]:
    """Split a file name into stem and lower-case suffix, which is empty if not in `endings`."""
    fitting = [ending for ending in endings if name.lower().endswith(ending)]
    ending = max(fitting, key=len, default="")
    return name[: len(name) - len(ending)], ending


def split_channel(stem: str) -> tuple[str, int | None]:
    """Split nnU-Net's number of a channel off a stem: ``brain_002`` and 1 of ``brain_002_0001``.

    None if there is none. Numbered patients look the same, so what joins files needs more evidence.
    """
    found = re.fullmatch(r"(.+)_(\d{4})", stem, re.ASCII | re.DOTALL)
    return (found[1], int(found[2])) if found else (stem, None)


def suffix(path: Path) -> str:
    """Return the lower-case suffix of a file name, with ``.nii.gz`` as one suffix."""
    endings = [part.lower() for part in path.suffixes[-2:]]
    return "".join(endings) if endings[-1:] == [".gz"] else "".join(endings[-1:])


def mask_ending(ending: str) -> str:
    """Return the suffix for the mask of an image: a single file, without loss."""
    if ending in WRITTEN and ending not in HEADERS:
        return ending
    return next((one.masks for one in FORMATS.values() if ending in one.endings), ".nii.gz")
