"""The validation cases that never move, and the dataset as it was when a round began.

The job of a round may take hours, while people go on labelling. It reads a dataset of its own, in
its folder: a list of the same images with the masks of the start, which stay in the versions.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.dataset.cases import SPLITS, Dataset
from napari_graphflow.dataset.names import patients
from napari_graphflow.dataset.splits import OWN, draw_patients, fifth_of, has_splits
from napari_graphflow.dataset.subset import described, splits_of
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.snapshot import every_case
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.system.files import replace_file


def frozen_cases(steps: CaseSteps, config: TrainingConfig, drawn: Collection[str]) -> list[str]:
    """Return the validation cases: `drawn` before, those of the splits, or newly drawn.

    Raises
    ------
    UserError
        If a case that was drawn before is now in train.
    """
    steps.reload()
    dataset = Dataset.of_run(config)
    if drawn:
        training = {case.name for case in dataset.cases if case.split == "train"}
        moved = sorted(training & set(drawn))
        if moved:
            raise UserError(
                f"The case {moved[0]} is a frozen validation case but is now in train, so its "
                "score would be too high.",
                f"Move it back to val in {OWN}, or choose the same fold as before.",
            )
        return list(drawn)
    validation = [case.name for case in dataset.labelled("val")]
    if validation and has_splits(dataset.folder):
        return validation
    of = patients(every_case(steps), dataset.record.get("patients"))
    groups = {of[case.name] for case in dataset.labelled("train")}
    # A split that is drawn at each opening changes with the masks, so it is written down.
    chosen = set(draw_patients(groups, fifth_of(len(groups)))) if not validation else set()
    _write_splits(steps, dataset, {name for name in of if of[name] in chosen})
    return [case.name for case in Dataset.of_run(config).labelled("val")]


def write_frozen(
    steps: CaseSteps, config: TrainingConfig, masks: Mapping[str, str], folder: Path
) -> None:
    """Write the dataset of a round: its training and validation cases with the masks of now.

    Parameters
    ----------
    masks
        SHA-256 of the masks of the training and validation cases. Each is in the versions, unless
        ``dataset.json`` lists it outside of the dataset.
    folder
        Folder to write.
    """
    used = []
    for case in Dataset.of_run(config).cases:
        kept = steps.paths.version(sha256) if (sha256 := masks.get(case.name)) else None
        outside = kept is not None and not kept.is_file()
        if case.split != "test":
            used.append(replace(case, label=case.label if outside else kept))
    folder.mkdir(parents=True, exist_ok=True)
    listed = described(steps.dataset, used, lambda path: path.resolve().as_posix())
    for name, content in {OWN: splits_of(used), "dataset.json": listed}.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        replace_file(folder / name, text.encode())


def _write_splits(steps: CaseSteps, dataset: Dataset, held: set[str]) -> None:
    """Write the splits of a dataset to a file, with some training cases held for validation."""
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for case in (*dataset.cases, *dataset.held_back):
        split = "val" if case.split == "train" and case.name in held else case.split
        splits[split].append(case.name)
    content = json.dumps(splits, indent=1, ensure_ascii=False) + "\n"
    replace_file(dataset.folder / OWN, content.encode())
    steps.reload()
