"""The paired difference of two models on the same cases, with its interval."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from napari_graphflow.config.settings import Frozen

#: By case and structure; None where neither mask contains the structure.
Scores = dict[str, dict[str, float | None]]
Outcome = Literal["better", "worse", "unclear"]
_RESAMPLES = 10_000
_LEVEL = 0.95


class PairedDifference(Frozen):
    """How much better the new of two models is, on the cases that both have a score for.

    Parameters
    ----------
    cases
        Number of these cases.
    last, new
        Mean score of the last (or other) and of the new model over these cases.
    low, high
        Ends of the 95 % interval of the mean difference, by a bootstrap over cases; None for fewer
        than two cases.
    """

    cases: int
    last: float
    new: float
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        return self.new - self.last

    @property
    def outcome(self) -> Outcome:
        """``better`` or ``worse`` only if the interval does not contain 0."""
        if self.low is None or self.high is None:
            return "unclear"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "unclear"


def paired_difference(
    new: Mapping[str, float | None], last: Mapping[str, float | None]
) -> PairedDifference | None:
    """Compare two scores per case; None if no case has both."""
    pairs = [
        (a, b) for case, a in new.items() if a is not None and (b := last.get(case)) is not None
    ]
    if not pairs:
        return None
    ours, theirs = (np.array(values) for values in zip(*pairs, strict=True))
    low, high = bootstrap_interval(ours - theirs)
    return PairedDifference(
        cases=len(pairs), last=float(theirs.mean()), new=float(ours.mean()), low=low, high=high
    )


def bootstrap_interval(differences: Sequence[float] | np.ndarray) -> tuple[float | None, ...]:
    """Return the percentile interval of the mean, drawing cases with replacement, seed 0."""
    values = np.asarray(differences, float)
    if len(values) < 2:
        return None, None
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    means = values[drawn].mean(1)
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def mean_of_cases(scores: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean over the structures of each case."""
    means: dict[str, float | None] = {}
    for case, structures in scores.items():
        known = [value for value in structures.values() if value is not None]
        means[case] = float(np.mean(known)) if known else None
    return means
