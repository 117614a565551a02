"""Read the text headers of NRRD and MetaImage files.

The geometry is SimpleITK's. A header that describes anything other than a single raw or compressed
block of voxels returns None: SimpleITK then reads the whole file.
"""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN, Stored, itk_header

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

_META_GEOMETRY = (
    "Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation",
    "ElementSpacing", "ElementSize",
)  # fmt: skip
_IN_SPACE = ("domain", "space", "???", "none")
_IO = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}
_MAX_HEADER = 1 << 20
#: Bytes of a line with a field; SimpleITK crashes from about 990 on.
_MAX_FIELD = 800
_NO_SPACING = (
    "The header has no voxel spacing; 1 mm is assumed, so distances and volumes may be wrong."
)


def read_key_values(path: Path) -> dict[str, str]:
    """Read the pairs ``key:=value`` that programs add to the header of an NRRD file."""
    text, _ = _nrrd_header(path)
    return {
        key: value.strip() for key, value in re.findall(r"^([^#:\n]+):=(.*)", text, re.MULTILINE)
    }


def _nrrd_header(path: Path) -> tuple[str, int]:
    """Return the header of an NRRD file, and its length in bytes."""
    start = _start(path)
    # An attached header ends with an empty line, a detached one may end at the end of the file.
    end = re.search(rb"\r?\n\r?\n", start)
    header = start[: end.start() if end else None]
    if len(header) == _MAX_HEADER or any(map(_overflows, header.split(b"\n"))):
        raise UserError(f"The header of {path.name} is damaged: it is too long.", EXPORT_AGAIN)
    return header.decode("utf-8", "replace"), end.end() if end else len(start)


def _overflows(line: bytes) -> bool:
    """Whether a line would end the process: SimpleITK copies it into a buffer of fixed size."""
    rest = line.partition(b":")[2]
    is_text = line.startswith(b"#") or rest.startswith(b"=")
    return len(line) > _MAX_FIELD and not is_text


def read_nrrd(path: Path) -> Stored | None:
    """Read the header of an NRRD or NHDR file; None if SimpleITK has to read the file."""
    text, length = _nrrd_header(path)
    found = re.findall(r"^([^#:\n]+): *([^\r\n]*)", text, re.MULTILINE)
    fields = {key.lower().replace(" ", ""): value.strip() for key, value in found}
    encoding = fields.get("encoding", "").lower()
    name = fields.get("type", "").lower()
    kind = next((code for code, names in _NRRD_TYPES.items() if name in names.split("|")), "")
    if not kind or encoding not in ("raw", "gzip", "gz") or int(fields.get("lineskip", 0)):
        return None
    stored = _stored(
        "NRRD",
        path,
        fields.get("datafile", ""),
        length,
        skip=int(fields.get("byteskip", 0)),
        deflated=encoding != "raw",
        dtype=(">" if fields.get("endian", "").lower() == "big" else "<") + kind,
        sizes=tuple(int(size) for size in fields["sizes"].split()),
        warnings=_nrrd_warnings(fields),
    )
    if stored is None or re.search("anterior|posterior|[RL][AP][SI]", fields.get("space", "")):
        return stored
    return replace(stored, geometry=replace(stored.geometry, anatomical=False))


def _nrrd_warnings(fields: dict[str, str]) -> tuple[str, ...]:
    warnings = []
    if "spacedirections" not in fields:
        sizes = fields.get("spacings", "").split()
        kinds = fields.get("kinds", "").split() or ["domain"] * len(sizes)
        in_space = [size for size, kind in zip(sizes, kinds, strict=False) if kind in _IN_SPACE]
        if not in_space or not all(math.isfinite(float(size)) for size in in_space):
            warnings.append(_NO_SPACING)
    units = set(re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))) - {"", "mm", "none", "???"}
    if units:
        warnings.append(f"The header states lengths in {', '.join(sorted(units))}; mm is assumed.")
    return tuple(warnings)


def read_metaimage(path: Path) -> Stored | None:
    """Read the header of an MHA or MHD file; None if SimpleITK has to read the file.

    Raises
    ------
    UserError
        If the header is damaged, or the file of its voxels is missing.
    """
    start = _start(path)
    end = re.search(rb"^ElementDataFile\s*=[^\n]*\n?", start, re.MULTILINE)
    if end is None:
        raise UserError(f"The MetaImage header of {path.name} is incomplete.", EXPORT_AGAIN)
    axes = re.findall(rb"NDims\s*[=:]\s*([^\r\n]*)", start[: end.end()])
    if not axes or any(count.strip() not in (b"1", b"2", b"3", b"4") for count in axes):
        # SimpleITK would end the process with numbers such as -1 and 99.
        raise UserError(f"The header of {path.name} is damaged.", EXPORT_AGAIN)
    lines = start[: end.end()].decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (one.partition("=") for one in lines)}
    kind = _META_TYPES.get(fields["ElementType"], "")
    numbers = " ".join(fields.get(name, "") for name in _META_GEOMETRY).lower().split()
    if not kind or not {"nan", "-nan", "inf", "-inf"}.isdisjoint(numbers):
        # SimpleITK would read an unknown type as bytes, and NaN as 0.
        raise UserError(f"The header of {path.name} is damaged.", EXPORT_AGAIN)
    if not _true(fields.get("BinaryData", "True")):
        return None
    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", ""))
    sizes = tuple(int(size) for size in fields["DimSize"].split())
    channels = int(fields.get("ElementNumberOfChannels", 1))
    name = fields["ElementDataFile"]
    if name.upper().startswith("LIST"):
        rest = start[end.end() :].decode("utf-8", "replace").splitlines()
        flat = re.search(r"\d+", name)
        each = int(flat[0]) if flat else len(sizes) - 1
        _check_files(path, [one.strip() for one in rest if one.strip()], math.prod(sizes[each:]))
    elif "%" in name:
        _check_files(path, _numbered(path, name), sizes[-1])
    return _stored(
        "MetaImage",
        path,
        "" if name.upper() == "LOCAL" else name,
        end.end(),
        skip=int(fields.get("HeaderSize", 0)),
        deflated=_true(fields.get("CompressedData", "")),
        dtype=(">" if _true(big) else "<") + kind,
        sizes=(channels, *sizes) if channels > 1 else sizes,
        warnings=() if {"ElementSpacing", "ElementSize"} & set(fields) else (_NO_SPACING,),
    )


def _numbered(path: Path, entry: str) -> list[str]:
    """Return the names of an entry such as ``slice%03d.raw 1 40 1``."""
    parts = re.fullmatch(r"(.*%0?\d?d[^%]*?)\s+(\d{1,6})\s+(\d{1,6})\s+(\d{1,6})", entry)
    if parts is None or not int(parts[4]):
        raise UserError(f"The header of {path.name} is damaged.", EXPORT_AGAIN)
    first, last, step = (int(parts[number]) for number in (2, 3, 4))
    return [parts[1] % number for number in range(first, last + 1, step)]


def _check_files(path: Path, names: list[str], needed: int) -> None:
    """Refuse too few files of voxels: SimpleITK leaves the other voxels as they happen to be."""
    if len(names) < needed:
        raise UserError(
            f"{path.name} is damaged: it names {len(names)} files of voxels, but needs {needed}.",
            EXPORT_AGAIN,
        )
    missing = [one for one in names[:needed] if not (path.parent / one).is_file()]
    if missing:
        raise UserError(
            f"The voxels of {path.name} are in another file, {missing[0]}, which is missing.",
            "Put all files into the same folder.",
        )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_HEADER)


def _true(text: str) -> bool:
    return text.lower() in ("true", "t", "1")


def _stored(
    label: str,
    path: Path,
    data_name: str,
    offset: int,
    *,
    skip: int,
    deflated: bool,
    dtype: str,
    sizes: tuple[int, ...],
    warnings: tuple[str, ...],
) -> Stored | None:
    """Compare the sizes (fastest axis first) with those that SimpleITK reads from the header."""
    if data_name.upper().startswith("LIST") or "%" in data_name:
        return None
    data = path.parent / data_name if data_name else path
    if not data.is_file():
        raise UserError(
            f"The voxels of {path.name} are in another file, {data_name}, which is missing.",
            "Put both files into the same folder.",
        )
    size, components, geometry = itk_header(path, _IO[label], path.name)
    if sizes == size and components == 1 and len(size) <= 4:
        channel_axis = 0 if len(size) == 4 else None
    elif sizes == (components, *size) and len(size) <= 3:
        channel_axis = -1
    else:
        return None
    kind: np.dtype[Any] = np.dtype(dtype)
    start = 0 if data_name else offset
    if skip < 0:
        # In both formats this means that the voxels are the last bytes of the file.
        start = max(0, data.stat().st_size - math.prod(sizes) * kind.itemsize)
    else:
        start += skip
    return Stored(
        label,
        data,
        start,
        0,
        deflated,
        kind,
        sizes[::-1],
        channel_axis,
        geometry,
        warnings=warnings,
    )
