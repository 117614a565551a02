"""Segment files: images and folders in, masks with the image's geometry out."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from napari_graphflow.dataset.compatibility import cautions, image_facts, refuse_unfit
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import load_highdicom, write_segments
from napari_graphflow.imaging.files import read_volume, write_labels, write_volume
from napari_graphflow.imaging.formats.endings import (
    IMAGES,
    WHOLE_VOLUMES,
    mask_ending,
    split_ending,
)
from napari_graphflow.imaging.paths import kind_of
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.predict import segment
from napari_graphflow.models.devices import resolve_device
from napari_graphflow.models.saved import load_model

_SEG = ".dcm"


def segment_files(
    inputs: Iterable[Path],
    model_folder: Path,
    out: Path,
    *,
    device: str = "auto",
    probabilities: bool = False,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Segment images one after the other.

    Parameters
    ----------
    inputs
        Files, folders of files, or folders with a DICOM series.
    model_folder
        A saved model.
    out
        A file if there is one image and `out` has the suffix of an image, or ``.dcm`` for a DICOM
        segmentation of a DICOM series; otherwise a folder.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    probabilities
        Whether to write ``NAME-probabilities`` next to each mask, one channel per class.
    overwrite
        Whether to replace existing masks.
    progress
        Called with the name of the image, the number of finished windows, and their total.

    Returns
    -------
    list of dict
        ``image``, ``mask``, ``seconds``, ``peak_bytes``, ``device`` and ``warnings`` of each.

    Raises
    ------
    UserError
        If an image cannot be read or does not fit the model, or a mask already exists.
    """
    images = [image for path in inputs for image in find_images(path)]
    if not images:
        raise UserError("There are no images to segment.", "Choose image files or folders.")
    targets = _targets(images, out)
    existing = [target for target in targets if target.exists()]
    if existing and not overwrite:
        raise UserError(
            f"{existing[0]} already exists.", "Choose another output, or use --overwrite."
        )
    model = load_model(model_folder, resolve_device(device))
    written = []
    for path, target in zip(images, targets, strict=True):
        started = time.perf_counter()
        volume = read_volume(path)
        facts = image_facts(volume)
        refuse_unfit(model.card, facts)
        prediction = segment(
            model,
            volume,
            probabilities=probabilities,
            progress=None if progress is None else _named(progress, path.name),
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix.lower() == _SEG:
            _write_segments(target, prediction.labels, path, volume, model.card.classes)
        else:
            write_labels(target, prediction.labels.array, volume, classes=model.card.classes)
        if prediction.probabilities is not None:
            stem, ending = split_ending(target.name, IMAGES)
            stem = stem.removesuffix(_SEG)
            write_volume(
                target.with_name(f"{stem}-probabilities{_soft(ending)}"), prediction.probabilities
            )
        written.append(
            {
                "image": str(path),
                "mask": str(target),
                "seconds": round(time.perf_counter() - started, 3),
                "peak_bytes": prediction.peak_bytes,
                "device": prediction.device,
                "warnings": cautions(model.card, facts, prediction.labels.array),
            }
        )
    return written


def _write_segments(
    target: Path, labels: Volume, source: Path, volume: Volume, classes: dict[str, int]
) -> None:
    """Write a DICOM segmentation; if that fails, write the mask as NIfTI instead."""
    try:
        write_segments(target, labels, source, classes)
    except UserError as error:
        nifti = target.with_name(f"{target.stem}-{time.strftime('%Y%m%d-%H%M%S')}.nii.gz")
        write_labels(nifti, labels.array, volume, classes=classes)
        raise UserError(error.text, f"The mask was written to {nifti} instead.") from None


def find_images(path: Path) -> list[Path]:
    """Return the images at a path: a file, the images in a folder, or a DICOM series folder."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"There is no file or folder {path}.", "Check the path.")
    images = sorted(p for p in path.iterdir() if p.is_file() and split_ending(p.name, IMAGES)[1])
    return images or [path]


def _targets(images: list[Path], out: Path) -> list[Path]:
    if (split_ending(out.name, IMAGES)[1] or out.suffix.lower() == _SEG) and not out.is_dir():
        if len(images) > 1:
            raise UserError(
                f"{len(images)} images cannot be written to one file ({out}).",
                "Choose a folder instead.",
            )
        if out.suffix.lower() == _SEG and kind_of(images[0]) != "DICOM":
            raise UserError(
                f"{images[0].name} is not a DICOM series, so its mask cannot be a DICOM "
                "segmentation.",
                "Choose another suffix, such as .nii.gz.",
            )
        if out.suffix.lower() == _SEG:
            load_highdicom()  # a missing package is reported before the segmentation
        return [out]
    targets = []
    for image in images:
        stem, ending = split_ending(image.name, IMAGES)
        # nnU-Net names images CASE_0000 and masks CASE.
        targets.append(out / f"{stem.removesuffix('_0000')}{mask_ending(ending)}")
    repeated = {target for target in targets if targets.count(target) > 1}
    if repeated:
        raise UserError(
            f"Several masks would be written to {min(repeated)}.",
            "Segment these images separately.",
        )
    return targets


def _soft(ending: str) -> str:
    """Return the suffix of a format that stores floats in any number of channels."""
    return ending if ending in WHOLE_VOLUMES else ".nii.gz"


def _named(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)
