"""Small datasets in the layouts of nnU-Net and the Decathlon."""

import json
from pathlib import Path

from import_cases import mask_of, scan

from napari_graphflow.imaging.files import write_volume

V2 = {
    "channel_names": {"0": "MR"},
    "labels": {"background": 0, "organ": 1, "core": 2},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}
V1 = {
    "modality": {"0": "T1", "1": "T2"},
    "labels": {"0": "background", "1": "organ", "2": "core"},
}
NAMES = tuple(f"case_{number:02d}" for number in range(5))


def nnunet(
    folder: Path,
    description: dict = V2,
    *,
    names=NAMES,
    image="{}_0000.nii.gz",
    mask="{}.nii.gz",
    values=(1, 2),
) -> Path:
    """Write cases with masks, and ``dataset.json``."""
    for number, name in enumerate(names):
        for part, file, volume in (
            ("imagesTr", image, scan(number)),
            ("labelsTr", mask, mask_of(scan(number), *values)),
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
            write_volume(folder / part / file.format(name), volume)
    (folder / "dataset.json").write_text(json.dumps(description), "utf-8")
    return folder


def write_unlabelled(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / name, scan(len(name)))
