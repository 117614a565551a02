"""``volumes``: what a file holds, and the same in another format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App
from rich.table import Table

from napari_graphflow.cli.options import Flag, Json, Overwrite
from napari_graphflow.cli.terminal import console, output, print_json
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.description import describe
from napari_graphflow.imaging.dicom_seg import is_segmentation, read_segments, write_segments
from napari_graphflow.imaging.files import read_labels, read_volume, write_labels, write_volume
from napari_graphflow.imaging.labels import read_class_names
from napari_graphflow.imaging.volume import Volume

volumes = App(name="volumes", help="Say what a file or DICOM folder holds, and convert it.")


@volumes.command
def info(path: Path, *, labels: Flag = False, like: Path | None = None, json: Json = False) -> int:
    """Tell format, shape, geometry, type, range and warnings of a file or a DICOM folder.

    Exit code 2 and one sentence where it cannot be read.

    Parameters
    ----------
    path
        A volume, picture, mask or DICOM folder.
    labels
        Read it as a mask, and tell the labels in it.
    like
        The image that the mask belongs to: refuse the mask if it does not fit.
    """
    told = describe(path, labels=labels, like=read_volume(like) if like else None)
    problem = told.pop("problem")
    if json:
        print_json(told)
    else:
        _print(told)
    if problem:
        raise UserError(problem, "Export the series again.")
    return 0


@volumes.command
def convert(
    path: Path,
    out: Path,
    *,
    series: str = "",
    resample: Flag = False,
    labels: Flag = False,
    like: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a file or a DICOM series in another format, its geometry kept.

    The result is read back and compared before it takes its place.

    Parameters
    ----------
    path
        A volume, picture, mask or DICOM folder.
    out
        The file to write; its ending says the format, such as .nii.gz, .nrrd or .mha. A mask is
        written as DICOM segmentation (.dcm) with `like`, the folder of its series.
    series
        Number or description of the DICOM series, where a folder holds several; info lists them.
    resample
        Resample DICOM slices that do not make a box, where that is sound.
    labels
        It is a mask: bring it to labels of the smallest type, whatever program wrote it.
    like
        The image that the mask belongs to; the mask takes its geometry, or is refused.
    """
    if is_segmentation(path):
        _convert_segments(path, out, like, overwrite)
        return
    if out.suffix.lower() == ".dcm":
        if like is None:
            raise UserError(
                "A mask becomes a DICOM segmentation only with its DICOM series.",
                "Name the folder of the series with --like.",
            )
        volume = read_labels(path)
        write_segments(out, volume, like, read_class_names(path), overwrite=overwrite)
    elif labels or like is not None:
        volume = read_labels(path, read_volume(like) if like else None)
        names = read_class_names(path)
        write_labels(out, volume.array, volume, overwrite=overwrite, classes=names)
    else:
        volume = read_volume(path, series=series, resample=resample)
        write_volume(out, volume, overwrite=overwrite)
    _wrote(out, volume)


def _convert_segments(path: Path, out: Path, like: Path | None, overwrite: bool) -> None:
    """Segments that overlap go to several files, NAME-1, NAME-2 and so on."""
    masks = read_segments(path, read_volume(like) if like else None)
    for number, (mask, names) in enumerate(masks, start=1):
        stem, dot, ending = out.name.partition(".")
        one = out if len(masks) == 1 else out.with_name(f"{stem}-{number}{dot}{ending}")
        write_labels(one, mask.array, mask, overwrite=overwrite, classes=names)
        _wrote(one, mask)


def _wrote(out: Path, volume: Volume) -> None:
    _warn(volume)
    output.print(f"Wrote {out}: {_times(volume.shape)}, read back and compared.", soft_wrap=True)


def _warn(volume: Volume) -> None:
    for sentence in volume.warnings:
        console.print(f"warning: {sentence}", style="yellow", soft_wrap=True)


def _print(told: dict[str, Any]) -> None:
    for name, value in told.items():
        if name not in ("warnings", "series", "segments") and value is not None:
            output.print(f"{name + ':':<12} {_text(value)}", soft_wrap=True)
    if "segments" in told:
        names = ", ".join(f"{name}={value}" for name, value in told["segments"].items())
        output.print(f"segments:    {names}", soft_wrap=True)
    for sentence in told["warnings"]:
        output.print(f"warning: {sentence}", style="yellow", soft_wrap=True)
    if "series" in told:
        table = Table("", "description", "modality", "date", "slices", "size", "spacing", box=None)
        for number, one in enumerate(told["series"], start=1):
            texts = (
                str(number),
                one["description"],
                one["modality"],
                one["date"],
                str(one["count"]),
            )
            table.add_row(*texts, _times(one["shape"]), _times(one["spacing"]))
        output.print(table)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _times(values: Sequence[float]) -> str:
    return " x ".join(map(_text, values))
