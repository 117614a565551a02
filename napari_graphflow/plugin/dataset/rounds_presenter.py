"""Presenter of *Rounds*: what a round trains, and its list in words; without Qt."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.networks import network_title, students, teachers
from napari_graphflow.config.run import PRESETS, DistillationConfig, Effort, TrainingConfig
from napari_graphflow.dataset.findings import counted
from napari_graphflow.evaluation.paired import PairedDifference, paired_difference
from napari_graphflow.imaging.formats.endings import FLAT
from napari_graphflow.labelling.overview import CaseRow
from napari_graphflow.labelling.rounds import DamagedRound, Round, offered_round
from napari_graphflow.labelling.statuses import COUNTED
from napari_graphflow.plugin.widgets.words import in_words

HEADERS = ("Round", "Started", "Masks", "State")
SCORES = ("Dice", "Last", "New", "Difference")


@dataclass(frozen=True)
class RoundCells:
    """A row of the list of rounds, and what is said below the list about it."""

    number: int
    texts: tuple[str, str, str, str]
    verdict: str
    undoable: bool


def networks(card: ModelCard | None) -> list[tuple[str, str]]:
    """Return title and name of the networks to train: students if there is a teacher."""
    names = teachers() if card is None else students()
    return [(network_title(name), name) for name in names]


def student_networks() -> list[tuple[str, str]]:
    """Return title and name of the networks for a student."""
    return [(network_title(name), name) for name in students()]


def settings(
    folder: Path,
    ending: str,
    dataset: str,
    network: str,
    effort: Effort,
    teacher: Path | None = None,
    card: ModelCard | None = None,
) -> TrainingConfig:
    """Return the settings of a round.

    Parameters
    ----------
    folder, ending, dataset
        Folder, file suffix and name of the dataset.
    network, effort
        What is trained, and how long.
    teacher, card
        The model to distil; None trains the network on the masks alone.
    """
    dims = card.dims if card is not None else 2 if ending.lower() in FLAT else 3
    common: dict[str, Any] = {
        "dataset": folder,
        "network": network,
        "dims": dims,
        "name": f"{network_title(network)} on {dataset}",
        **PRESETS[effort],
    }
    if teacher is None:
        return TrainingConfig(**common)
    return DistillationConfig(teacher=teacher, **common)


def learn_text(rows: Sequence[CaseRow]) -> str:
    """Return what a round would learn from."""
    used = [row for row in rows if row.status in COUNTED]
    masks = sum(row.split == "train" for row in used)
    frozen = sum(row.split == "val" for row in used)
    if not masks:
        return "No training case has a finished mask yet."
    return (
        f"{counted(masks, 'training mask')}, and {counted(frozen, 'case')} set aside to judge the "
        "model, in every round the same."
    )


def cells(
    rounds: Sequence[Round], states: Sequence[str], damaged: Sequence[DamagedRound] = ()
) -> list[RoundCells]:
    """Return the rows of the list, the newest round first; `states` are those to show."""
    default = offered_round(rounds)
    newest = max((one.number for one in rounds if one.state != "undone"), default=0)
    found = [
        RoundCells(one.number, (str(one.number), "", "", "damaged"), one.problem, False)
        for one in damaged
    ]
    for one, state in zip(rounds, states, strict=True):
        mark = " ★" if default is not None and default.number == one.number else ""
        sentence = one.verdict.sentence if one.verdict is not None else state_text(state)
        if mark:
            sentence += " Its model (★) is the one to use."
        found.append(
            RoundCells(
                one.number,
                (
                    f"{one.number}{mark}",
                    f"{one.started.astimezone():%d %b %H:%M}",
                    str(len(one.masks)),
                    state,
                ),
                f"Round {one.number}: {sentence} {one.note}".strip(),
                one.number == newest and state not in ("queued", "running") and not damaged,
            )
        )
    return sorted(found, key=lambda one: one.number, reverse=True)


def score_rows(rounds: Sequence[Round], number: int) -> list[tuple[str, str, str, str]]:
    """Return a row of texts for each structure, then for each case that the model was scored on.

    The difference of a structure has its 95 % interval over cases, where there is one.
    """
    one = next((found for found in rounds if found.number == number), None)
    if one is None or not one.scores:
        return []
    last = one.verdict.last if one.verdict is not None else None
    before = next((found.scores for found in rounds if found.number == last), {})
    structures = sorted({name for scores in one.scores.values() for name in scores})
    rows = []
    for name in structures:
        new = {case: scores.get(name) for case, scores in one.scores.items()}
        paired = paired_difference(new, {case: scores.get(name) for case, scores in before.items()})
        known = [value for value in new.values() if value is not None]
        rows.append(_row(in_words(name), paired, sum(known) / len(known) if known else None))
    for case, scores in sorted(one.scores.items()):
        paired = paired_difference(scores, before.get(case, {}))
        known = [value for value in scores.values() if value is not None]
        row = _row(case, paired, sum(known) / len(known) if known else None)
        # The interval would be one over structures.
        rows.append((*row[:3], row[3].split(" ")[0]))
    return rows


def _row(
    name: str, paired: PairedDifference | None, new: float | None
) -> tuple[str, str, str, str]:
    if paired is None:
        return name, "–", "–" if new is None else f"{new:.3f}", ""
    interval = ""
    if paired.low is not None and paired.high is not None:
        interval = f" ({paired.low:+.3f} to {paired.high:+.3f})"
    return name, f"{paired.last:.3f}", f"{paired.new:.3f}", f"{paired.difference:+.3f}{interval}"


def judged(rounds: Sequence[Round], waited: Collection[int]) -> list[Round]:
    """Return the rounds that were waited for and now have a verdict."""
    return [one for one in rounds if one.number in waited and one.verdict is not None]


def state_text(state: str) -> str:
    """Return the state of a round without a verdict as a sentence."""
    known = {
        "created": "The job was not started.",
        "queued": "The job waits for its turn.",
        "running": "The network is learning.",
        "done": "The model is being judged …",
        "undone": "It was undone.",
        "missing": "The folder of its job is gone.",
    }
    return known.get(state, f"The job is {state}.")


def undo_text(number: int) -> str:
    """Return the question before a round is undone."""
    return (
        f"All masks and statuses return to what they were before round {number}, and its model is "
        "no longer the default. What you have labelled since is kept in the versions, but no "
        "longer counts."
    )
