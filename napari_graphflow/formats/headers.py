"""Headers of NRRD and MetaImage files: text that says where the voxels lie, and how.

Geometry is SimpleITK's. A header with something rarer than one plain or compressed block of
voxels gives None: SimpleITK then reads the whole file.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.formats.voxels import Stored, itk_header

_NRRD_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LONGEST = 1 << 20


def read_nrrd(path: Path) -> Stored | None:
    """Read the header of an NRRD or NHDR file."""
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    text, separator, _ = re.split(rb"(\r?\n\r?\n)", start, maxsplit=1) if re.search(
        rb"\r?\n\r?\n", start
    ) else (start, b"", b"")
    fields = dict(re.findall(r"^([^#:\n]+): *([^\r\n]*)", text.decode("utf-8", "replace"), re.M))
    fields = {key.strip().lower().replace(" ", ""): value.strip() for key, value in fields.items()}
    kind = next(
        (code for code, names in _NRRD_TYPES.items() if fields.get("type") in names.split("|")), None
    )
    encoding = fields.get("encoding", "").lower()
    if kind is None or encoding not in ("raw", "gzip", "gz") or int(fields.get("lineskip", 0)):
        return None
    data, offset = path, len(text) + len(separator)
    if "datafile" in fields:
        data, offset = _beside(path, fields["datafile"]), 0
        if data is None:
            return None
    skip = int(fields.get("byteskip", 0))
    sizes = tuple(int(size) for size in fields.get("sizes", "").split())
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return _stored("NRRD", "NrrdImageIO", path, data, offset, skip, encoding != "raw", order + kind, sizes)


def read_metaimage(path: Path) -> Stored | None:
    """Read the header of an MHA or MHD file."""
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    match = re.search(rb"^ElementDataFile\s*=[^\n]*\n?", start, re.M)
    if match is None:
        raise UserError(f"{path.name} is no complete MetaImage header.", "Export the file again.")
    lines = start[: match.end()].decode("utf-8", "replace").splitlines()
    fields = dict([part.strip() for part in line.split("=", 1)] for line in lines if "=" in line)
    kind = _META_TYPES.get(fields.get("ElementType", ""))
    if kind is None or fields.get("BinaryData", "True") == "False":
        return None
    data, offset = path, match.end()
    if fields["ElementDataFile"].upper() != "LOCAL":
        data, offset = _beside(path, fields["ElementDataFile"]), 0
        if data is None:
            return None
    sizes = tuple(int(size) for size in fields.get("DimSize", "").split())
    channels = int(fields.get("ElementNumberOfChannels", 1))
    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    order = ">" if big.lower() in ("true", "1") else "<"
    deflated = fields.get("CompressedData", "False").lower() in ("true", "1")
    skip = int(fields.get("HeaderSize", 0))
    sizes = (channels, *sizes) if channels > 1 else sizes
    return _stored("MetaImage", "MetaImageIO", path, data, offset, skip, deflated, order + kind, sizes)


def _beside(path: Path, name: str) -> Path | None:
    if name.upper().startswith("LIST") or "%" in name:
        return None
    data = path.parent / name
    if not data.is_file():
        raise UserError(
            f"The voxels of {path.name} lie in another file, {name}, which is missing.",
            "Put both files into one folder.",
        )
    return data


def _stored(
    label: str, io: str, path: Path, data: Path, offset: int, skip: int, deflated: bool,
    dtype: str, sizes: tuple[int, ...],
) -> Stored | None:  # fmt: skip
    """Compare the sizes (fastest axis first) with SimpleITK's understanding of the header."""
    size, components, geometry = itk_header(path, io)
    if sizes == size and components == 1 and len(size) <= 4:
        channel_axis = 0 if len(size) == 4 else None
    elif sizes == (components, *size) and len(size) <= 3:
        channel_axis = -1
    else:
        return None
    kind: np.dtype[Any] = np.dtype(dtype)
    if skip < 0:
        # By both formats' rules the voxels are the last bytes of the file.
        skip = data.stat().st_size - offset - int(np.prod(sizes, dtype=object)) * kind.itemsize
        if skip < 0:
            skip = 0
    start, skip = (offset + skip, 0) if deflated else (offset, skip)
    return Stored(label, data, start, skip, deflated, kind, sizes[::-1], channel_axis, geometry)
