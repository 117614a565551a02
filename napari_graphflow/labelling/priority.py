"""What to label next: a case, a slab of its slices, and the reason in one sentence.

All strategies read statistics that were stored with the proposals; they open no image. None of
them is known to beat random choice reliably, so no sentence promises anything. Slices are counted
from 0, as in the window, along the first axis of the stored image.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_graphflow.evaluation.uncertainty import SlabStatistics
from napari_graphflow.labelling.proposals import Proposal

Strategy = Literal["random", "entropy", "disagreement", "uncertain"]


@dataclass(frozen=True)
class Candidate:
    """A case that could be labelled next, with its proposals, the newest first."""

    case: str
    proposals: tuple[Proposal, ...] = ()

    @property
    def statistics(self) -> SlabStatistics | None:
        """Statistics of the newest proposal that has some."""
        return next((one.statistics for one in self.proposals if one.statistics), None)


@dataclass(frozen=True)
class Suggestion:
    """A case to label next.

    Attributes
    ----------
    case
        Name of the case.
    slices
        First and last slice of the slab to look at; None means the whole image.
    structure
        The structure that the reason is about; empty if none.
    score
        What the strategy ranks by; comparable within one strategy only.
    reason
        One sentence.
    """

    case: str
    slices: tuple[int, int] | None
    structure: str
    score: float
    reason: str


def foreground_random(candidates: Iterable[Candidate], seed: int = 0) -> list[Suggestion]:
    """Draw cases at random, and a random slab among those with a proposed structure.

    A case keeps its place when others are labelled.
    """
    found = []
    for one in candidates:
        random = np.random.default_rng([seed, zlib.crc32(one.case.encode())])
        score = float(random.random())
        statistics = one.statistics
        present = []
        if statistics is not None:
            totals = np.sum(list(statistics.voxels.values()), axis=0)
            present = [index for index, total in enumerate(totals) if total]
        if statistics is None or not present:
            found.append(Suggestion(one.case, None, "", score, "The case was drawn at random."))
            continue
        slab = statistics.slab(int(random.choice(present)))
        where = _where(slab).capitalize()
        reason = f"{where}, drawn at random where the model sees a structure."
        found.append(Suggestion(one.case, slab, "", score, reason))
    return _ranked(found)


def stratified_entropy(candidates: Iterable[Candidate]) -> list[Suggestion]:
    """Rank slabs by entropy within each structure, and take the structures in turn.

    Without turns, the structure with the most blurred border would take all places.
    """
    by_structure: dict[str, list[Suggestion]] = {}
    for one in candidates:
        for name, values in (one.statistics.entropy if one.statistics else {}).items():
            assert one.statistics is not None
            index = int(np.argmax(values))
            if values[index] > 0:
                slab = one.statistics.slab(index)
                reason = f"The model is unsure about the {name} here: {_where(slab)}."
                chosen = Suggestion(one.case, slab, name, values[index], reason)
                by_structure.setdefault(name, []).append(chosen)
    queues = [_ranked(some) for some in by_structure.values()]
    found: dict[str, Suggestion] = {}
    for turn in range(max(map(len, queues), default=0)):
        for queue in sorted(queues, key=lambda queue: -queue[0].score):
            # The best of this structure whose case has no place yet.
            left = [one for one in queue if one.case not in found]
            if left and turn < len(queue):
                found[left[0].case] = left[0]
    return list(found.values())


def least_certain(candidates: Iterable[Candidate]) -> list[Suggestion]:
    """Rank cases by the mean entropy of their least certain structure."""
    found = []
    for one in candidates:
        statistics = one.statistics
        means = {}
        for name, values in (statistics.entropy if statistics else {}).items():
            positive = [value for value in values if value > 0]
            if positive:
                means[name] = float(np.mean(positive))
        if statistics is None or not means:
            continue
        name = max(means, key=lambda one: means[one])
        slab = statistics.slab(int(np.argmax(statistics.entropy[name])))
        reason = f"The {name} is the structure that the model is least sure of: {_where(slab)}."
        found.append(Suggestion(one.case, slab, name, means[name], reason))
    return _ranked(found)


def model_disagreement(candidates: Iterable[Candidate]) -> list[Suggestion]:
    """Rank cases by the structure on which the newest proposal and another one disagree most."""
    found = []
    for one in candidates:
        best: Suggestion | None = None
        for proposal in one.proposals:
            if proposal.statistics is None:
                continue
            for structures in proposal.disagreement.values():
                for name, values in structures.items():
                    if (total := sum(values)) > (best.score if best else 0):
                        slab = proposal.statistics.slab(int(np.argmax(values)))
                        reason = f"Two models disagree most on the {name}: {_where(slab)}."
                        best = Suggestion(one.case, slab, name, total, reason)
        if best is not None:
            found.append(best)
    return _ranked(found)


#: The strategies by name, with what they are called.
STRATEGIES: dict[Strategy, tuple[str, Callable[[Sequence[Candidate]], list[Suggestion]]]] = {
    "random": ("foreground-aware random", foreground_random),
    "entropy": ("class-stratified entropy", stratified_entropy),
    "disagreement": ("teacher-student disagreement", model_disagreement),
    "uncertain": ("least certain structure", least_certain),
}


def rank(strategy: Strategy, candidates: Sequence[Candidate], seed: int = 0) -> list[Suggestion]:
    """Rank the candidates by a strategy; those without its statistics follow at random."""
    if strategy == "random":
        return foreground_random(candidates, seed)
    ranked = STRATEGIES[strategy][1](candidates)
    known = {one.case for one in ranked}
    return ranked + foreground_random([one for one in candidates if one.case not in known], seed)


def _ranked(found: list[Suggestion]) -> list[Suggestion]:
    return sorted(found, key=lambda one: (-one.score, one.case))


def _where(slab: tuple[int, int]) -> str:
    first, last = slab
    return f"slice {first}" if first == last else f"slices {first} to {last}"
