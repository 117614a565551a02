"""Replay the labelling loop on a fully labelled dataset, whose masks play the reader.

One trajectory is a strategy and a seed. Each of its rounds chooses cases and slabs of slices,
"annotates" these slices from the hidden masks, trains a network afresh on all annotated slices and
scores it on the test cases. All state is in the folder of the trajectory: a round that was
interrupted is continued.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.model_card import read_model_card, weights_hash
from napari_graphflow.config.preprocessing import Dims
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Dataset, read_case_labels
from napari_graphflow.evaluation.uncertainty import THICKNESS
from napari_graphflow.inference.dice import dice_of_case
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.propose import NotProposed, propose
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.labelling.overview import next_cases
from napari_graphflow.labelling.priority import Strategy
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.labelling.records import now
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.system.files import replace_file
from napari_graphflow.training.loop import distill, train


@dataclass(frozen=True)
class Settings:
    """How a replay is done.

    Attributes
    ----------
    each
        Slabs annotated in a round.
    pool, validation
        Cases to choose from, drawn with the seed, and validation cases with whole masks.
    dims, steps, batch_size, width, patch_size
        Of the networks; the student of ``disagreement`` has `student_width`.
    thickness
        Slices of a slab.
    """

    each: int = 6
    pool: int = 48
    validation: int = 6
    dims: Dims = 2
    steps: int = 200
    batch_size: int = 8
    width: int = 16
    student_width: int = 16
    patch_size: tuple[int, ...] = (48, 48)
    thickness: int = THICKNESS


class Trajectory:
    """One strategy with one seed.

    Parameters
    ----------
    whole
        The fully labelled dataset.
    folder
        Folder of the trajectory.
    """

    def __init__(
        self, whole: Dataset, folder: Path, strategy: Strategy, seed: int, settings: Settings
    ) -> None:
        self.whole, self.folder = whole, folder
        self.strategy, self.seed, self.settings = strategy, seed, settings
        self.truth = {case.name: case for case in whole.cases}
        if not (folder / "scans" / "dataset.json").is_file():
            self._hide_masks()
        self.labelling = Labelling(folder / "scans", "oracle")

    def run_round(self, number: int) -> dict[str, Any]:
        """Run a round, or continue it, and return its row."""
        started = time.monotonic()
        # Earlier rounds are there already, unless the folder was removed.
        for earlier in range(1, number + 1):
            chosen = self._chosen(earlier)
            for one in chosen:
                self._annotate(one["case"], one["slices"])
            self.labelling.reload()
            model = self._trained(earlier)
        test = self.whole.labelled("test")
        loaded = load_for_inference(model, "cpu")
        scores = [dice_of_case(self.whole, loaded, case) for case in test]
        dice = {}
        for name in scores[0]:
            dice[name] = float(
                np.mean([value for one in scores if (value := one[name]) is not None])
            )
        slices = [one for n in range(1, number + 1) for one in self._chosen(n)]
        return {
            "strategy": self.strategy,
            "seed": self.seed,
            "round": number,
            "slices": sum(last - first + 1 for first, last in (one["slices"] for one in slices)),
            "cases": len(slices),
            "mean": float(np.mean(list(dice.values()))),
            "dice": dice,
            "seconds": round(time.monotonic() - started, 1),
            "chosen": chosen,
            "settings": asdict(self.settings),
        }

    def _hide_masks(self) -> None:
        """Make a dataset of the same images in which only the validation cases have masks."""
        random = np.random.default_rng(self.seed)
        train_cases = self.whole.labelled("train")
        drawn = random.permutation(len(train_cases))[: self.settings.pool]
        pool = [train_cases[index] for index in sorted(drawn)]
        held = self.whole.labelled("val")[: self.settings.validation]
        target = self.folder / "scans"
        for part in ("imagesTr", "labelsTr"):
            (target / part).mkdir(parents=True, exist_ok=True)
        for case in (*pool, *held):
            for path in case.images:
                _link(path, target / "imagesTr" / path.name)
        for case in held:
            assert case.label is not None
            _link(case.label, target / "labelsTr" / case.label.name)
        splits = {"train": [one.name for one in pool], "val": [one.name for one in held]}
        (target / "splits.json").write_text(json.dumps(splits))
        description = json.loads((self.whole.folder / "dataset.json").read_text())
        for key in ("dataset", "training", "test", "napari_graphflow"):
            description.pop(key, None)
        # Last: whoever finds it finds a complete dataset.
        (target / "dataset.json").write_text(json.dumps(description | {"name": "replay"}))

    def _chosen(self, number: int) -> list[dict[str, Any]]:
        """Return the cases and slabs of a round; they are written down before anything changes."""
        path = self.folder / f"chosen-{number:02d}.json"
        if not path.is_file():
            found = self._first() if number == 1 else self._next(number)
            aside = path.with_suffix(".part")
            aside.write_text(json.dumps(found, indent=1))
            aside.replace(path)
        return list(json.loads(path.read_text()))

    def _first(self) -> list[dict[str, Any]]:
        """Draw cases, and a slab among those with a structure: the same for every strategy."""
        random = np.random.default_rng([self.seed, 1])
        waiting = self.labelling.dataset.unlabelled("train")
        chosen = [waiting[i] for i in random.permutation(len(waiting))[: self.settings.each]]
        found = []
        for case in chosen:
            labels = read_case_labels(self.whole, self.truth[case.name]).array
            starts = range(0, len(labels), self.settings.thickness)
            full = [s for s in starts if np.any(labels[s : s + self.settings.thickness])]
            first = int(random.choice(full))
            last = min(first + self.settings.thickness, len(labels)) - 1
            found.append({"case": case.name, "slices": [first, last], "reason": "first"})
        return found

    def _next(self, number: int) -> list[dict[str, Any]]:
        """Choose by the proposals of the networks of the last round."""
        shutil.rmtree(self.labelling.paths.proposals, ignore_errors=True)
        models = [self._model(number - 1)]
        if self.strategy == "disagreement":
            models.append(self._student(number - 1))
        for model in models:
            self._propose(model)
        found = []
        for one in next_cases(self.labelling, self.strategy, self.seed + 1000 * number):
            # Without a structure there is nothing to annotate.
            if one.slices is not None and len(found) < self.settings.each:
                found.append({"case": one.case, "slices": list(one.slices), "reason": one.reason})
        return found

    def _annotate(self, name: str, slices: Sequence[int]) -> None:
        if self.labelling.facts(name).status == "labelled":  # before an interruption
            return
        opened = self.labelling.open_case(name)
        truth = read_case_labels(self.whole, self.truth[name], opened.image).array
        first, last = slices
        opened.labels[...] = 0
        opened.labels[first : last + 1] = truth[first : last + 1]
        done = list(range(first, last + 1))
        self.labelling.save(opened, opened.labels, slices=done, axis=0)

    def _propose(self, model: Path) -> None:
        loaded, sha256 = load_for_inference(model, "cpu"), weights_hash(model)
        waiting = self.labelling.dataset.unlabelled("train")
        for found in propose(loaded, waiting):
            if isinstance(found, NotProposed):
                raise found.error
            described = Proposal(
                case=found.case.name,
                model=loaded.card.name,
                sha256=sha256,
                made=now(),
                statistics=found.statistics,
            )
            self.labelling.propose(described, found.labels.array)

    def _model(self, number: int) -> Path:
        return JobPaths(self.folder / f"round-{number:02d}").model

    def _trained(self, number: int) -> Path:
        """Train the network that is scored, afresh on everything annotated so far."""
        folder, model = self.folder / f"round-{number:02d}", self._model(number)
        if not (model / "model.json").is_file():
            for _ in train(self._config("unet", self.settings.width), folder):
                pass
            _tidy(folder)
            _without_postprocessing(model)
        return model

    def _student(self, number: int) -> Path:
        """Distil a student of the network of a round, on the same slices."""
        folder = self.folder / f"student-{number:02d}"
        paths = JobPaths(folder)
        if not (paths.model / "model.json").is_file():
            config = DistillationConfig(
                **self._config("enet", self.settings.student_width).model_dump(exclude={"role"}),
                teacher=self._model(number),
                teacher_min_dice=0,
                method=LogitsOptions(),
            )
            for _ in distill(config, folder):
                pass
            _tidy(folder)
            _without_postprocessing(paths.model)
        return paths.model

    def _config(self, network: str, width: int) -> TrainingConfig:
        return TrainingConfig(
            dataset=self.folder / "scans",
            network=network,
            dims=self.settings.dims,
            width=width,
            batch_size=self.settings.batch_size,
            steps=self.settings.steps,
            validate_every=max(1, self.settings.steps // 4),
            patch_size=self.settings.patch_size,
            seed=self.seed,
            threads=1,
            device="cpu",
        )


def replay(
    whole: Dataset,
    work: Path,
    results: Path,
    strategies: Sequence[Strategy],
    seeds: Sequence[int],
    rounds: int,
    settings: Settings,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    left: int | None = None,
) -> int:
    """Run all rows that `results` does not contain yet, and append each when it is done.

    Parameters
    ----------
    left
        Stop after this number of rows.

    Returns
    -------
    count
        Rows that were run.
    """
    done = {(one["strategy"], one["seed"], one["round"]) for one in read_rows(results)}
    count = 0
    for seed in seeds:
        for strategy in strategies:
            folder = work / f"{strategy}-{seed}"
            for number in range(1, rounds + 1):
                if (strategy, seed, number) in done:
                    continue
                if count == left:
                    return count
                row = Trajectory(whole, folder, strategy, seed, settings).run_round(number)
                append_row(results, row)
                report(row)
                count += 1
    return count


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read all rows; a line that a kill left incomplete is skipped."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row as one line, after the end of a line that a kill left incomplete."""
    torn = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _link(source: Path, target: Path) -> None:
    """Copy a file, without its content where the file system allows it."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _without_postprocessing(model: Path) -> None:
    # The network itself is compared, and its own mistakes are proposed.
    card = read_model_card(model).model_copy(update={"largest_part": ()})
    replace_file(model / "model.json", card.model_dump_json(indent=2).encode())


def _tidy(folder: Path) -> None:
    shutil.rmtree(JobPaths(folder).checkpoints, ignore_errors=True)
