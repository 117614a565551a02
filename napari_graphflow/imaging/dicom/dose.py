"""Geometry and units of a radiotherapy dose (RTDOSE)."""

import numpy as np

from napari_graphflow.imaging.dicom.pixel_data import Fields

DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
DOSE_TAGS = ("GridFrameOffsetVector", "DoseGridScaling", "DoseUnits")
#: In mm; positions are stored as decimal text.
_ROUNDING = 1e-2


def dose_notes(header: Fields) -> tuple[str, ...]:
    """Say that the values of a dose are not those of an image."""
    if str(header.get("SOPClassUID")) != DOSE:
        return ()
    gray = str(header.get("DoseUnits")).upper() == "GY"
    unit = "doses in Gy" if gray else "relative doses, not in Gy"
    return (f"The values are {unit}; this is a radiotherapy dose, not an image.",)


def dose_position(
    header: Fields,
    first: tuple[float, ...] | None,
    axes: tuple[float, ...] | None,
    frame: int,
) -> tuple[float, ...] | None:
    """Return the position of a frame of a dose (x, y, z) in mm, LPS; None if unknown.

    Parameters
    ----------
    header
        GridFrameOffsetVector holds distances from the first frame along the normal of the frames
        or, if it begins with the z of the first frame, the z of axial frames.
    first, axes
        ImagePositionPatient and ImageOrientationPatient.
    """
    try:
        offsets = np.array([float(one) for one in header.get("GridFrameOffsetVector") or ()])
    except (TypeError, ValueError):
        return None
    if first is None or axes is None or len(offsets) != int(header["NumberOfFrames"]):
        return None
    normal = np.cross(axes[:3], axes[3:])
    absolute = abs(offsets[0]) > _ROUNDING
    if absolute and (abs(offsets[0] - first[2]) > _ROUNDING or abs(normal[2]) < 1 - 1e-3):
        return None
    distance = (offsets[frame] - offsets[0]) * (np.sign(normal[2]) if absolute else 1)
    return tuple((np.array(first) + distance * normal).tolist())
