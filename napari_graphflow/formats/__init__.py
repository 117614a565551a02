"""File formats: what the first bytes of a file say it is, and who reads its header."""

import re
from pathlib import Path

from napari_graphflow.formats.nifti import is_header, peek

#: Endings under which a format is known; the first is the one that is proposed.
SUFFIXES = {
    "NIfTI": (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz"),
    "NRRD": (".nrrd", ".nhdr"),
    "MetaImage": (".mha", ".mhd"),
    "DICOM": (".dcm", ".dicom", ".ima"),
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WebP": (".webp",),
}
PICTURES = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WebP")
_STARTS = (
    ("NRRD", rb"NRRD000"),
    ("MetaImage", rb"\s*(ObjectType|ObjectSubType|Comment|NDims)\s*="),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("JPEG", rb"\xff\xd8\xff"),
    ("TIFF", rb"II[*+]\x00|MM\x00[*+]"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM.{4}\x00{4}"),
    ("WebP", rb"RIFF.{4}WEBP"),
    ("DICOM", rb".{128}DICM"),
)


def sniff(path: Path) -> str:
    """Name the format of a file by its content; empty if it is none of ours."""
    start = peek(path)
    for name, pattern in _STARTS:
        if re.match(pattern, start, re.DOTALL):
            return name
    if is_header(start) or suffix(path) in (".img", ".img.gz"):
        return "NIfTI"
    return "DICOM" if suffix(path) in SUFFIXES["DICOM"] else ""


def suffix(path: Path) -> str:
    """The ending of a file's name in lower case, ``.nii.gz`` as one."""
    endings = [part.lower() for part in path.suffixes[-2:]]
    return "".join(endings) if endings[-1:] == [".gz"] else "".join(endings[-1:])
