"""Segment files: images and folders in, masks with the image's geometry out."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.prediction import DEFAULTS, PredictionOptions
from napari_graphflow.dataset.compatibility import cautions, image_facts, refuse_unfit
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import load_highdicom, write_segments
from napari_graphflow.imaging.files import mask_files, write_labels, write_volume
from napari_graphflow.imaging.formats.endings import (
    IMAGES,
    WHOLE_VOLUMES,
    mask_ending,
    split_ending,
)
from napari_graphflow.imaging.paths import (
    companions,
    refuse_overwriting,
    refuse_replacing,
    written_with,
)
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.inputs import (
    ImageInput,
    channels_in_vain,
    find_inputs,
    masks_left_out,
)
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import LoadedModel, Prediction, segment
from napari_graphflow.inference.site_check import Codes, SiteReport, read_quantiles, site_report
from napari_graphflow.system.destinations import require_writable, write_or_keep
from napari_graphflow.system.failures import explain

_SEG = ".dcm"


def segment_files(
    inputs: Iterable[Path],
    model_folder: Path,
    out: Path,
    *,
    device: str = "auto",
    probabilities: bool = False,
    series: Sequence[str] = (),
    dicom_seg: bool = False,
    overwrite: bool = False,
    match_intensities: bool = False,
    options: PredictionOptions = DEFAULTS,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Segment images one after the other.

    Parameters
    ----------
    inputs
        Files, folders of files, or folders with DICOM series; see `find_inputs`.
    model_folder
        A saved model.
    out
        A file if there is one image and `out` has the suffix of an image, or ``.dcm`` for a DICOM
        segmentation of a DICOM series; otherwise a folder.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    probabilities
        Whether to write ``NAME-probabilities`` next to each mask, one channel per class.
    series
        Numbers or descriptions of the DICOM series to segment, or ``all``.
    dicom_seg
        Whether to write the masks of DICOM series as DICOM segmentations.
    overwrite
        Whether to replace existing files; images are never replaced.
    match_intensities
        Whether to map the intensities of each image to those the model learnt from.
    options
        Whether to mirror, and to keep only the largest parts.
    progress
        Called with the name of the image, the number of finished windows, and their total.

    Returns
    -------
    list of dict
        ``image``, ``mask``, ``seconds``, ``peak_bytes``, ``device``, ``warnings`` and ``removed``
        (voxels of smaller parts, by structure) of each. Of
        several images, one that cannot be segmented has ``image`` and ``failure`` only. The last
        one that was segmented also has ``site`` if the model knows the images it learnt from:
        see `SiteReport.as_dict`.

    Raises
    ------
    UserError
        If there are no images, a mask already exists or would replace an image, or the only image
        cannot be read or does not fit the model.
    """
    card = read_model_card(model_folder)
    options.mirror_axes(card)  # refused before an image is read
    inputs = list(inputs)
    images = find_inputs(inputs, card.in_channels, series)
    targets = _targets(images, out, dicom_seg)
    files = [
        file
        for target in targets
        for file in _written(target, soft=_soft_name(target) if probabilities else None)
    ]
    beside = [one for target in targets for one in companions(target)]
    require_writable(files)
    refuse_replacing([*files, *beside], (file for image in images for file in image.files()))
    refuse_overwriting(files, overwrite=overwrite)
    match = read_quantiles(model_folder) if match_intensities else None
    model = load_for_inference(model_folder, device)
    notes = [masks_left_out(inputs)]
    notes += [channels_in_vain(images)] if card.in_channels == 1 else []
    notes = [note for note in notes if note]
    rows: list[dict[str, Any]] = []
    codes: list[Codes] = []
    for image, target in zip(images, targets, strict=True):
        tell = None if progress is None else _named(progress, image.path.name)
        try:
            row, code = _segment_one(model, image, target, probabilities, tell, match, options)
            codes += [] if code is None else [code]
            rows.append(row | {"warnings": [*notes, *row["warnings"]]})
            notes = []
        except Exception as error:
            failure = explain(error)
            if len(images) == 1 or failure.code == "unexpected":
                raise
            rows.append({"image": str(image.path), "failure": failure.model_dump()})
    done = [row for row in rows if "failure" not in row]
    if done and model.source is not None:
        done[-1]["site"] = _site(model.source, codes, len(done)).as_dict()
    return rows


def _site(source: Codes, codes: list[Codes], images: int) -> SiteReport:
    if not codes and images:
        return SiteReport(
            "Whether the images are like those that the model learnt from needs PyTorch, which is "
            "not installed."
        )
    return site_report(source, codes)


def _written(target: Path, soft: Path | None = None) -> list[Path]:
    """Return all files that a mask consists of, with the file of its probabilities."""
    masks = [target] if target.suffix.lower() == _SEG else mask_files(target)
    return [*masks, *(written_with(soft) if soft else [])]


def _segment_one(
    model: LoadedModel,
    image: ImageInput,
    target: Path,
    probabilities: bool,
    progress: Callable[[int, int], None] | None,
    match: Codes | None,
    options: PredictionOptions,
) -> tuple[dict[str, Any], Codes | None]:
    """Segment an image, write its mask; return the row of the result and the image's code."""
    started = time.perf_counter()
    volume = image.read()
    facts = image_facts(volume)
    refuse_unfit(model.card, facts)
    prediction = segment(
        model, volume, probabilities=probabilities, progress=progress, match=match, options=options
    )
    write_or_keep(
        target, lambda path: _write_result(path, prediction, image, volume, model.card.classes)
    )
    row = {
        "image": str(image.path),
        "mask": str(target),
        "seconds": round(time.perf_counter() - started, 3),
        "peak_bytes": prediction.peak_bytes,
        "device": prediction.device,
        "removed": prediction.removed,
        "warnings": [
            *volume.warnings,
            *prediction.warnings,
            *cautions(model.card, facts, prediction.labels.array),
        ],
    }
    return row, prediction.code


def _write_result(
    target: Path, prediction: Prediction, image: ImageInput, volume: Volume, classes: dict[str, int]
) -> None:
    """Write the mask, and the probabilities if they were computed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix.lower() == _SEG:
        _write_segments(target, prediction.labels, image, volume, classes)
    else:
        write_labels(target, prediction.labels.array, volume, classes=classes)
    if prediction.probabilities is not None:
        soft = prediction.probabilities.array.astype(np.float32)
        write_volume(_soft_name(target), volume.with_array(soft, channels=True))


def _write_segments(
    target: Path, labels: Volume, image: ImageInput, volume: Volume, classes: dict[str, int]
) -> None:
    """Write a DICOM segmentation; if that fails, write the mask as NIfTI instead."""
    try:
        key = image.series.key if image.series else ""
        write_segments(target, labels, image.path, classes, series=key)
    except UserError as error:
        nifti = target.with_name(f"{target.stem}-{time.strftime('%Y%m%d-%H%M%S')}.nii.gz")
        write_labels(nifti, labels.array, volume, classes=classes)
        raise UserError(error.text, f"The mask was written to {nifti} instead.") from None


def _targets(images: list[ImageInput], out: Path, dicom_seg: bool) -> list[Path]:
    if (split_ending(out.name, IMAGES)[1] or out.suffix.lower() == _SEG) and not out.is_dir():
        if len(images) > 1:
            raise UserError(
                f"{len(images)} images cannot be written to one file ({out}).",
                "Choose a folder instead.",
            )
        targets = [out]
    else:
        targets = [
            out / f"{one.name}{_SEG if dicom_seg else mask_ending(one.ending)}" for one in images
        ]
    segments = [
        image
        for image, target in zip(images, targets, strict=True)
        if target.suffix.lower() == _SEG
    ]
    for image in segments:
        if not image.is_dicom:
            raise UserError(
                f"{image.path.name} is not a DICOM series, so its mask cannot be a DICOM "
                "segmentation.",
                "Choose another suffix, such as .nii.gz.",
            )
    if segments:
        load_highdicom()  # a missing package is reported before the segmentation
    repeated = {target for target in targets if targets.count(target) > 1}
    if repeated:
        raise UserError(
            f"Several masks would be written to {min(repeated)}.",
            "Segment these images separately.",
        )
    return targets


def _soft_name(target: Path) -> Path:
    """Return the file of the probabilities, in a format that stores floats and channels."""
    stem, ending = split_ending(target.name, IMAGES)
    ending = ending if ending in WHOLE_VOLUMES else ".nii.gz"
    return target.with_name(f"{stem.removesuffix(_SEG)}-probabilities{ending}")


def _named(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)
