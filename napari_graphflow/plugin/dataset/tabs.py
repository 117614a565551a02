"""The tabs of *Dataset*: all but *Cases* are made after the dock has opened."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_graphflow.labelling.overview import CaseRow
from napari_graphflow.plugin.dataset.session import CaseSession
from napari_graphflow.plugin.widgets.layout import FittedTabs
from napari_graphflow.plugin.widgets.panel import Panel

if TYPE_CHECKING:
    from napari_graphflow.plugin.dataset.proposals_tab import ProposalsTab
    from napari_graphflow.plugin.dataset.readers_tab import ReadersTab
    from napari_graphflow.plugin.dataset.rounds_tab import RoundsTab

_READERS = 3


class DatasetTabs(FittedTabs):
    """Makes each tab when it is first needed.

    Parameters
    ----------
    panel, session
        The dock, and its open case.
    cases
        The first page.
    chosen
        Returns the case that is open, or else chosen in the list.
    """

    #: Records of cases changed.
    changed = Signal()
    #: The proposed cases are to be listed.
    wanted = Signal()
    #: Somebody else labels now.
    reader_changed = Signal()

    def __init__(
        self,
        panel: Panel,
        session: CaseSession,
        cases: QWidget,
        chosen: Callable[[], CaseRow | None],
    ) -> None:
        super().__init__()
        self._panel, self._session, self._chosen = panel, session, chosen
        self._rows: list[CaseRow] = []
        self.addTab(cases, "Cases")
        self.add_later(lambda: self.proposals, "Proposals")
        self.add_later(lambda: self.rounds, "Rounds")
        self.add_later(lambda: self.readers, "Readers")
        self.fit()

    @cached_property
    def proposals(self) -> "ProposalsTab":
        """Masks that a model proposes."""
        from napari_graphflow.plugin.dataset.proposals_tab import ProposalsTab

        tab = ProposalsTab(self._panel, lambda: self._session.labelling)
        tab.changed.connect(self.changed)
        tab.wanted.connect(self.wanted)
        tab.show_rows(self._rows)
        return tab

    @cached_property
    def rounds(self) -> "RoundsTab":
        """Trainings on what is labelled."""
        from napari_graphflow.plugin.dataset.rounds_tab import RoundsTab

        tab = RoundsTab(self._panel, lambda: self._session.labelling)
        tab.put_away = self._session.put_away
        tab.undone.connect(self.changed)
        tab.model_judged.connect(self.proposals.use_model)
        tab.show_rows(self._rows)
        return tab

    @cached_property
    def readers(self) -> "ReadersTab":
        """Masks of other readers."""
        from napari_graphflow.plugin.dataset.readers_tab import ReadersTab

        tab = ReadersTab(self._panel, self._session)
        tab.changed.connect(self.changed)
        tab.reader_changed.connect(self.reader_changed)
        tab.show_case(self._chosen())
        return tab

    def show_rows(self, rows: list[CaseRow]) -> None:
        """Show other cases in the tabs that were made."""
        self._rows = rows
        made: Mapping[str, Any] = vars(self)
        for name in {"proposals", "rounds"} & made.keys():
            made[name].show_rows(rows)
        if "readers" in made:
            self.readers.show_case(self._chosen())

    def case_changed(self) -> None:
        """Show the readers of another case, if they are looked at."""
        if self.currentIndex() == _READERS:
            self.readers.show_case(self._chosen())

    def stop(self) -> None:
        """Stop; jobs go on."""
        made: Mapping[str, Any] = vars(self)
        for name in {"proposals", "rounds"} & made.keys():
            made[name].stop()
