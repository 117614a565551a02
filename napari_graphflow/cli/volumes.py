"""``volumes``: inspect volumes and convert them to other formats."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App
from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import Flag, Json, Overwrite
from napari_graphflow.cli.terminal import console, fail, output, print_json
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import names_file, read_class_names
from napari_graphflow.imaging.description import describe
from napari_graphflow.imaging.dicom.series import list_series
from napari_graphflow.imaging.dicom_seg import write_segments
from napari_graphflow.imaging.files import (
    mask_files,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)
from napari_graphflow.imaging.paths import (
    companions,
    refuse_overwriting,
    refuse_replacing,
    written_with,
)
from napari_graphflow.imaging.segments import is_segmentation, read_segments
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.destinations import require_writable, saying_what_stands
from napari_graphflow.system.failures import explain

#: What the table of series shows of each.
SHOWN = ("description", "modality", "date", "count", "shape", "spacing")
volumes = App(
    name="volumes", help="Inspect and convert volumes, 2D images, masks and DICOM folders."
)


@volumes.command
def info(path: Path, *, labels: Flag = False, like: Path | None = None, json: Json = False) -> None:
    """Print format, shape, geometry, data type, value range and warnings of a file or DICOM folder.

    Exit code 2 if it cannot be read.

    Parameters
    ----------
    path
        A volume, 2D image, mask or DICOM folder.
    labels
        Read it as a mask and list its labels.
    like
        Image of the mask; the mask is rejected if their geometries differ.
    """
    facts = describe(path, labels=labels, like=read_volume(like) if like else None)
    problem = facts.pop("problem")
    failure = explain(UserError(problem, "Export the series again.")) if problem else None
    if json:
        print_json(facts | ({"failure": failure.model_dump()} if failure else {}))
    else:
        _print(facts)
    if failure:
        fail(failure)


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
    config_file: ConfigFile = None,
) -> None:
    """Convert a file or DICOM series to another format, preserving its geometry.

    The result is read back and verified before it is saved.

    Parameters
    ----------
    path
        A volume, 2D image, mask or DICOM folder.
    out
        Output file; its suffix selects the format, such as .nii.gz, .nrrd or .mha. To write a mask
        as DICOM segmentation (.dcm), set `like` to the folder of its DICOM series.
    series
        Number or description of the DICOM series if a folder contains several; see ``info``.
    resample
        Resample DICOM slices with irregular spacing or tilt to a regular grid, if possible.
    labels
        Treat the input as a mask and convert it to integer labels of the smallest data type.
    like
        Image of the mask; the mask takes over its geometry, or is rejected if they do not match.
    """
    refuse_replacing([out, *companions(out), names_file(out)], _files_read(path, like))
    is_mask = labels or like is not None or is_segmentation(path)
    if out.suffix.lower() == ".dcm":
        files = [out]
    else:
        files = mask_files(out) if is_mask else written_with(out)
    require_writable(files)
    refuse_overwriting(files, overwrite=overwrite)
    if out.suffix.lower() == ".dcm" and like is None:
        raise UserError(
            "Writing a DICOM segmentation requires the DICOM series of the mask.",
            "Set --like to the folder of the series.",
        )
    with saying_what_stands(out, f"{path} is unchanged."):
        _convert(path, out, series, resample, labels, like, overwrite)


def _convert(
    path: Path,
    out: Path,
    series: str,
    resample: bool,
    labels: bool,
    like: Path | None,
    overwrite: bool,
) -> None:
    if is_segmentation(path):
        _convert_segments(path, out, like, series, overwrite)
        return
    if out.suffix.lower() == ".dcm" and like is not None:
        volume = read_labels(path)
        names = read_class_names(path)
        write_segments(out, volume, like, names, series=series, overwrite=overwrite)
    elif labels or like is not None:
        volume = read_labels(path, read_volume(like, series=series) if like else None)
        names = read_class_names(path)
        write_labels(out, volume.array, volume, overwrite=overwrite, classes=names)
    else:
        volume = read_volume(path, series=series, resample=resample)
        write_volume(out, volume, overwrite=overwrite)
    _report_written(out, volume)


def _files_read(path: Path, like: Path | None) -> list[Path]:
    """Return the files that a conversion reads."""
    files = []
    for one in (path, like):
        if one is None or not one.exists():
            continue
        if one.is_dir():
            files += [file for series in list_series(one) for file in series.files]
        else:
            files += [one, *companions(one), names_file(one)]
    return files


def _convert_segments(
    path: Path, out: Path, like: Path | None, series: str, overwrite: bool
) -> None:
    """Convert segments; overlapping ones are written to several files, NAME-1, NAME-2, ..."""
    masks = read_segments(path, read_volume(like, series=series) if like else None)
    stem, dot, ending = out.name.partition(".")
    numbered = [out.with_name(f"{stem}-{n}{dot}{ending}") for n in range(1, len(masks) + 1)]
    outs = [out] if len(masks) == 1 else numbered
    refuse_overwriting((file for one in outs for file in mask_files(one)), overwrite=overwrite)
    for one, (mask, names) in zip(outs, masks, strict=True):
        if out.suffix.lower() == ".dcm" and like is not None:
            write_segments(one, mask, like, names, series=series, overwrite=overwrite)
        else:
            write_labels(one, mask.array, mask, overwrite=overwrite, classes=names)
        _report_written(one, mask)


def _report_written(out: Path, volume: Volume) -> None:
    _warn(volume)
    output.print(f"Wrote {out}: {_joined(volume.shape)}, read back and verified.", soft_wrap=True)


def _warn(volume: Volume) -> None:
    for sentence in volume.warnings:
        console.print(f"warning: {sentence}", style="yellow", soft_wrap=True)


def _print(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if name not in ("warnings", "series", "segments") and value is not None:
            output.print(f"{name + ':':<12} {_text(value)}", soft_wrap=True)
    if "segments" in facts:
        names = ", ".join(f"{name}={value}" for name, value in facts["segments"].items())
        output.print(f"segments:    {names}", soft_wrap=True)
    for sentence in facts["warnings"]:
        output.print(f"warning: {sentence}", style="yellow", soft_wrap=True)
    if "series" in facts:
        table = Table("", "description", "modality", "date", "slices", "size", "spacing", box=None)
        for number, one in enumerate(facts["series"], start=1):
            texts = (
                str(number),
                one["description"],
                one["modality"],
                one["date"],
                str(one["count"]),
            )
            table.add_row(*texts, _joined(one["shape"]), _joined(one["spacing"]))
        output.print(table)
        rows = [[str(one[key]) for key in SHOWN] for one in facts["series"]]
        for number, (one, shown) in enumerate(zip(facts["series"], rows, strict=True), start=1):
            if rows.count(shown) > 1:
                output.print(f"{number}: first file {one['first_file']}", soft_wrap=True)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _joined(values: Sequence[float]) -> str:
    return " x ".join(map(_text, values))
