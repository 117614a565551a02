"""Headers of NIfTI-1, NIfTI-2 and Analyze 7.5 files.

Type, offset and scale of the voxels are read here. SimpleITK chooses between the two transforms, so
that a file has the same geometry as in every ITK program.
"""

import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.loaded import Geometry
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN, Stored, itk_header

_FIELDS = {
    "size": ("i4", 0), "dim": ("8i2", 40), "intent": ("i2", 68), "datatype": ("i2", 70),
    "bitpix": ("i2", 72), "pixdim": ("8f4", 76), "offset": ("f4", 108), "slope": ("f4", 112),
    "intercept": ("f4", 116), "units": ("i1", 123), "qform": ("i2", 252), "sform": ("i2", 254),
    "quaternion": ("3f4", 256), "shift": ("3f4", 268), "rows": ("(3,4)f4", 280),
    "magic": ("S4", 344),
}  # fmt: skip
_FIELDS_2 = {
    "size": ("i4", 0), "magic": ("S4", 4), "datatype": ("i2", 12), "dim": ("8i8", 16),
    "pixdim": ("8f8", 104), "offset": ("i8", 168), "slope": ("f8", 176), "intercept": ("f8", 184),
    "qform": ("i4", 344), "sform": ("i4", 348), "quaternion": ("3f8", 352), "shift": ("3f8", 376),
    "rows": ("(3,4)f8", 400), "units": ("i4", 500), "intent": ("i4", 504),
}  # fmt: skip
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 128: "3u1", 256: "i1", 512: "u2",
    768: "u4", 1024: "i8", 1280: "u8", 1792: "c16", 2304: "4u1",
}  # fmt: skip


def _record(fields: dict[str, tuple[str, int]], size: int) -> np.dtype[Any]:
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype(
        {
            "names": list(fields),
            "formats": list(formats),
            "offsets": list(offsets),
            "itemsize": size,
        }
    )


_NO_ORIENTATION = (
    "The header has no orientation (qform and sform are both unset), so left and right may be "
    "swapped."
)
_OFFSET_IN_HEADER = "The voxel offset is inside the header; the default offset is used."
_NO_ROTATION = "The qform of the header is not a valid rotation, so left and right may be swapped."
#: Share by which voxel sizes may differ through rounding.
_SIZE_TOLERANCE = 0.01
_ORDERS: tuple[Literal["<"], Literal[">"]] = ("<", ">")
HEADER = _record(_FIELDS, 348)
HEADER_2 = _record(_FIELDS_2, 540)


#: Code of metres among the units, and a voxel in mm that no scanner makes.
_METRES, _DOUBTED_MM = 1, 100.0


def is_header(start: bytes) -> bool:
    """Whether these are the first bytes of a NIfTI or Analyze file."""
    return _parse(start) is not None


def read_header(path: Path) -> Stored:
    """Read the header of a NIfTI or Analyze file, single or a pair, compressed or not.

    Raises
    ------
    UserError
        If the header is damaged or not supported, or one file of a pair is missing.
    """
    path = _header_of(path)
    parsed = _parse(peek(path))
    if parsed is None:
        raise UserError(f"{path.name} is not a NIfTI file.", EXPORT_AGAIN)
    header, order = parsed
    if header["datatype"] not in _TYPES:
        raise UserError(
            f"{path.name} has an unsupported voxel type (NIfTI type {header['datatype']}).",
            "Convert it to a common type, such as 16-bit integers or 32-bit floats.",
        )
    sizes, channel_axis = _sizes(path, header)
    data = path if header["magic"][:2] == b"n+" else _voxels_of(path)
    start, start_warnings = _start(header, data == path)
    deflated = is_gzip(data)
    dtype = np.dtype(_TYPES[int(header["datatype"])])
    shape = tuple(reversed(sizes)) + dtype.shape
    geometry, warnings = _geometry(path, header, len(sizes) - (channel_axis is not None))
    if dtype.shape:
        channel_axis = -1
    scale, scale_warnings = _scale(header, dtype)
    return Stored(
        "NIfTI" if _is_nifti(header) else "Analyze",
        data,
        0,
        start,
        deflated,
        dtype.base.newbyteorder(order),
        shape,
        channel_axis,
        geometry,
        scale,
        warnings + start_warnings + scale_warnings,
    )


def _start(header: Any, one_file: bool) -> tuple[int, tuple[str, ...]]:
    """Return the offset of the voxels; in a single file they cannot be inside the header."""
    start = max(0, int(header["offset"]))
    if not one_file or start >= header.dtype.itemsize:
        return start, ()
    default = 352 if header.dtype.itemsize == HEADER.itemsize else 544
    # Programs write 0 for the default offset.
    return default, (_OFFSET_IN_HEADER,) if start else ()


def peek(path: Path, count: int = 1024) -> bytes:
    """Read the first bytes of a file, decompressed if it is a gzip file."""
    with path.open("rb") as file:
        start = file.read(count)
        if not start.startswith(b"\x1f\x8b"):
            return start
        packed, found = start + file.read(64 * count), b""
        try:
            # A gzip file may have many small members.
            while len(found) < count and packed.startswith(b"\x1f\x8b"):
                decoder = zlib.decompressobj(wbits=31)
                found += decoder.decompress(packed, count - len(found))
                packed = decoder.unused_data
            return found
        except zlib.error:
            raise UserError(
                f"{path.name} is damaged: it cannot be decompressed.", EXPORT_AGAIN
            ) from None


def is_gzip(path: Path) -> bool:
    """Whether a file is gzip-compressed, by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _parse(start: bytes) -> tuple[Any, Literal["<", ">"]] | None:
    """Parse the fields of a header and its byte order."""
    for record, size in ((HEADER, 348), (HEADER_2, 540)):
        for order in _ORDERS:
            if len(start) >= size:
                header = np.frombuffer(start, record.newbyteorder(order), 1)[0]
                if header["size"] == size and 0 < header["dim"][0] < 8:
                    return header, order
    return None


def _header_of(path: Path) -> Path:
    """Return the header of a pair, for either of its files."""
    name = path.name.lower()
    if not name.endswith((".img", ".img.gz")):
        return path
    cut = len(".img.gz") if name.endswith(".gz") else len(".img")
    return _partner(path, path.name[:-cut], (".hdr", ".hdr.gz", ".HDR"))


def _voxels_of(path: Path) -> Path:
    cut = len(".hdr.gz") if path.name.lower().endswith(".gz") else len(".hdr")
    return _partner(path, path.name[:-cut], (".img", ".img.gz", ".IMG"))


def _partner(path: Path, stem: str, suffixes: tuple[str, ...]) -> Path:
    for suffix in suffixes:
        if (found := path.with_name(stem + suffix)).is_file():
            return found
    raise UserError(
        f"{path.name} is one file of a pair, and {stem}{suffixes[0]} is missing.",
        "Put both files into the same folder.",
    )


def _sizes(path: Path, header: Any) -> tuple[tuple[int, ...], int | None]:
    """Return the sizes, fastest axis first, and the non-spatial axis of the reversed sizes."""
    count = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : count + 1]]
    if count < 2 or min(sizes) < 1:
        raise UserError(
            f"The header of {path.name} does not describe a 2D or 3D image.", EXPORT_AGAIN
        )
    extra = [size for size in sizes[3:] if size > 1]
    if len(extra) > 1:
        raise UserError(
            f"{path.name} has {count} axes ({' x '.join(map(str, sizes))}), too many to be read.",
            "Export a single volume.",
        )
    if not extra:
        return tuple(sizes[:3]), None
    # SimpleITK writes 2D images with channels like this; a one-slice vector image looks the same.
    space = sizes[:2] if count == 5 and sizes[2] == 1 else sizes[:3]
    return (*space, *extra), 0


def _geometry(path: Path, header: Any, ndim: int) -> tuple[Geometry, tuple[str, ...]]:
    patched, warnings = _plain(header, ndim)
    warnings += _drop_damaged_transform(patched, path)
    with tempfile.TemporaryDirectory() as folder:
        # Asked for a.nii.gz, SimpleITK would read the voxels of an a.nii in the same folder.
        copy = Path(folder) / "header.nii"
        copy.write_bytes(patched.tobytes() + bytes(4))
        geometry = itk_header(copy, "NiftiImageIO", path.name)[2]
    known = bool(patched["qform"] > 0 or patched["sform"] > 0)
    return replace(geometry, anatomical=known), warnings + _conflict(patched, geometry)


def _drop_damaged_transform(header: Any, path: Path) -> tuple[str, ...]:
    """Ignore a transform with NaN or infinite values, which SimpleITK would still use.

    Raises
    ------
    UserError
        If there is no other transform.
    """
    sound = {
        "sform": bool(np.isfinite(header["rows"]).all()),
        "qform": bool(np.isfinite([*header["quaternion"], *header["shift"]]).all()),
    }
    given = [name for name in sound if header[name] > 0]
    damaged = [name for name in given if not sound[name]]
    if not damaged:
        return ()
    if damaged == given:
        raise UserError(
            f"The header of {path.name} is damaged: its affine is not finite.", EXPORT_AGAIN
        )
    header[damaged[0]] = 0
    other = next(name for name in given if name not in damaged)
    return (f"The {damaged[0]} of the header is damaged; the {other} is used.",)


def _plain(header: Any, ndim: int) -> tuple[Any, tuple[str, ...]]:
    """Return the same geometry as the NIfTI-1 header of a scalar image."""
    plain = np.zeros((), HEADER)
    for name in ("units", "qform", "sform", "quaternion", "shift", "rows"):
        plain[name] = header[name] if _is_nifti(header) else 0
    plain["size"], plain["magic"], plain["offset"] = 348, b"n+1", 352
    plain["datatype"], plain["bitpix"] = 2, 8
    plain["dim"] = [ndim, *np.minimum(header["dim"][1 : ndim + 1], 32767), *[1] * (7 - ndim)]
    size, warnings = _voxel_size(plain, np.abs(np.array(header["pixdim"][1 : ndim + 1], float)))
    missing = np.isnan(size)
    plain["pixdim"] = [header["pixdim"][0], *np.where(missing, 1, size), *[1] * (7 - ndim)]
    if plain["sform"] <= 0 < plain["qform"]:
        length = float(np.square(plain["quaternion"], dtype=float).sum())
        warnings += (_NO_ROTATION,) if length > 1.01 else ()
    axes = ["xyz"[i] for i in np.flatnonzero(missing) if header["dim"][i + 1] > 1]
    warning = (
        f"The header has no voxel spacing along {' and '.join(axes)}; 1 mm is assumed, so "
        "distances and volumes may be wrong."
    )
    warnings += (warning,) if axes else ()
    return plain, (*warnings, *_doubted_metres(header, size))


def _doubted_metres(header: Any, size: Any) -> tuple[str, ...]:
    """Doubt voxels of more than 100 mm, from a header that states millimetres as metres."""
    largest = 1000 * float(np.nanmax(size, initial=0))
    metres = _is_nifti(header) and int(header["units"]) & 7 == _METRES
    if not metres or largest < _DOUBTED_MM:
        return ()
    what = f"The header gives the voxel size in metres, so that a voxel is {largest:.6g} mm long"
    return (f"{what}; if these are millimetres, distances and volumes are wrong.",)


def _voxel_size(plain: Any, size: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the voxel size along x, y, z in the unit of the header; NaN where it is missing.

    SimpleITK takes the size from pixdim, even if pixdim was left at 1 and the sform has the size.
    """
    size = np.where(np.isfinite(size) & (size > 0), size, np.nan)
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(np.array(plain["rows"], float)[:, : len(size)], axis=0)
    if plain["sform"] <= 0 or not (np.isfinite(lengths) & (lengths > 0)).all():
        return size, ()
    known = np.where(np.isnan(size), lengths, size)
    if plain["qform"] > 0 or np.allclose(known, lengths, rtol=_SIZE_TOLERANCE):
        return known, ()
    used, name = (lengths, "sform") if (known == 1).all() else (known, "first")
    sizes = [" x ".join(f"{one:.3g}" for one in reversed(each)) for each in (known, lengths)]
    warning = (
        f"The voxel spacing of the header ({sizes[0]}) and that of its sform ({sizes[1]}) "
        f"disagree; the {name} is used, so distances and volumes may be wrong."
    )
    return used, (warning,)


def _is_nifti(header: Any) -> bool:
    """Whether a header is NIfTI, not Analyze 7.5, which has no transforms."""
    return bool(header["magic"][:2] in (b"n+", b"ni"))


def _conflict(header: Any, geometry: Geometry) -> tuple[str, ...]:
    if header["qform"] <= 0 and header["sform"] <= 0:
        return (_NO_ORIENTATION,)
    if header["qform"] <= 0 or header["sform"] <= 0 or header["dim"][0] < 3:
        return ()
    ends = np.array(np.meshgrid(*([0.0, size - 1.0] for size in header["dim"][1:4]))).reshape(3, -1)
    ends = np.vstack([ends, np.ones(8)])
    positions = {
        name: matrix @ ends
        for name, matrix in (("qform", _qform(header)), ("sform", np.array(header["rows"], float)))
    }
    apart = np.linalg.norm(positions["qform"] - positions["sform"], axis=0).max()
    if apart < 0.1 * min(geometry.spacing):
        return ()
    matrix = np.array(geometry.direction).reshape(3, 3) * geometry.spacing
    used = np.diag([-1, -1, 1]) @ np.column_stack([matrix, geometry.origin]) @ ends
    errors = {name: np.abs(position - used).max() for name, position in positions.items()}
    warning = (
        f"The qform and sform of the header disagree by {apart:.3g} mm; the "
        f"{min(errors, key=lambda name: errors[name])} is used."
    )
    return (warning,)


def _qform(header: Any) -> Any:
    """Return the qform as a 3 x 4 matrix, RAS (NIfTI-1 standard, method 2)."""
    b, c, d = (float(part) for part in header["quaternion"])
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
    ])  # fmt: skip
    factor = np.array([1, 1, -1 if header["pixdim"][0] < 0 else 1])
    return np.column_stack([rotation * header["pixdim"][1:4] * factor, header["shift"]])


def _scale(header: Any, dtype: np.dtype[Any]) -> tuple[tuple[float, float], tuple[str, ...]]:
    slope, intercept = float(header["slope"]), float(header["intercept"])
    if slope == 0 or dtype.shape or not _is_nifti(header):
        return (1.0, 0.0), ()
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        return (1.0, 0.0), (
            "The intensity scale of the header is not a number; the values are shown as stored.",
        )
    return (slope, intercept), ()
