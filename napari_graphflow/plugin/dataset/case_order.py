"""Which case is opened next: in the order of the list, or as suggested; without Qt."""

from collections.abc import Sequence

from napari_graphflow.labelling.priority import Suggestion
from napari_graphflow.plugin.dataset.presenter import neighbour, reason


class CaseOrder:
    """The suggestions, and how the user goes through the cases.

    Attributes
    ----------
    suggestions
        Cases to label next, the first one first.
    in_order
        Whether the user goes through the list, rather than from one suggestion to the next.
    """

    def __init__(self) -> None:
        self.suggestions: list[Suggestion] = []
        self.in_order = False
        self._seen: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether a case was opened."""
        return bool(self._seen)

    def restart(self) -> None:
        """Forget which cases were opened."""
        self.in_order, self._seen = False, []

    def opened(self, name: str) -> None:
        """Record that a case was opened."""
        if name and name not in self._seen:
            self._seen.append(name)

    def decided(self, name: str) -> None:
        """Do not suggest a case again."""
        self.suggestions = [one for one in self.suggestions if one.case != name]

    def suggested(self, current: str) -> str:
        """Return the suggested case that was not looked at yet, else any other than `current`."""
        waiting = [one.case for one in self.suggestions if one.case != current]
        fresh = [name for name in waiting if name not in self._seen]
        return next(iter(fresh or waiting), "")

    def following(self, current: str, listed: Sequence[str]) -> str:
        """Return the case after `current`, by the list or by the suggestions."""
        return neighbour(list(listed), current, 1) if self.in_order else self.suggested(current)

    def slab(self, name: str) -> tuple[int, int] | None:
        """Return the slices that are suggested in a case."""
        return next((one.slices for one in self.suggestions if one.case == name), None)

    def reason(self, current: str) -> str:
        """Return which case is suggested, and why; empty if none is."""
        return reason(self.suggestions, self.suggested(current))
