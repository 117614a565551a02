"""Masks of another program for the cases of ``blobs``, whose images tell the classes."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

#: 117 names, as many as TotalSegmentator has; two of them are in the images of ``blobs``.
NAMES = [f"structure_{n}" for n in range(1, 118)]
NAMES[4], NAMES[76], NAMES[77] = "Liver", "cyst_left", "cyst_right"
NEEDED = range(6)


def truth(blobs: Path, number: int) -> tuple[np.ndarray, sitk.Image]:
    image = sitk.ReadImage(str(blobs / "imagesTr" / f"blob_{number}_0000.nii.gz"))
    return np.clip(np.rint(sitk.GetArrayFromImage(image) / 100), 0, 2).astype(np.uint8), image


def write_mask(path: Path, array: np.ndarray, like: sitk.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(like)
    sitk.WriteImage(mask, str(path))


def write_many_names(blobs: Path, folder: Path, *, per_structure: bool = False) -> Path:
    """Write masks with 117 names: 5 is the organ, 77 and 78 are halves of the lesion."""
    for number in NEEDED:
        labels, image = truth(blobs, number)
        left = np.arange(labels.shape[2]) < 10
        many = np.select([labels == 1, (labels == 2) & left, labels == 2], [5, 77, 78], 0)
        if per_structure:
            for value in (5, 77, 78, 90):
                path = folder / f"blob_{number}" / f"{NAMES[value - 1]}.nii.gz"
                write_mask(path, (many == value).astype(np.uint8), image)
        else:
            write_mask(folder / f"blob_{number}.nii.gz", many.astype(np.uint8), image)
    if not per_structure:
        labels_of = {"background": 0} | {name: n for n, name in enumerate(NAMES, 1)}
        (folder / "dataset.json").write_text(json.dumps({"labels": labels_of}), "utf-8")
    return folder


def write_probabilities(blobs: Path, folder: Path, *, turned: bool = False) -> Path:
    """Write what ``nnUNetv2_predict --save_probabilities`` does."""
    for number in NEEDED:
        labels, image = truth(blobs, number)
        write_mask(folder / f"blob_{number}.nii.gz", labels, image)
        soft = np.stack([np.where(labels == k, 0.8, 0.1) for k in range(3)]).astype(np.float32)
        stored = soft[:, ::-1] if turned else soft
        np.savez_compressed(folder / f"blob_{number}.npz", probabilities=stored)
    labels_of = {"background": 0, "organ": 1, "lesion": 2}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels_of}), "utf-8")
    return folder
