"""The selected job: progress, buttons, curves and preview."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_graphflow.jobs.event_log import read_events
from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.jobs.presenter import Details, Level
from napari_graphflow.plugin.jobs.preview import Preview
from napari_graphflow.plugin.jobs.stage_list import StageList
from napari_graphflow.plugin.jobs.stages import StageLog
from napari_graphflow.plugin.widgets.keys import KeyButton
from napari_graphflow.plugin.widgets.later import Later, is_imported
from napari_graphflow.plugin.widgets.layout import row
from napari_graphflow.plugin.widgets.palette import DARK, Colours
from napari_graphflow.plugin.widgets.panel import StatusLine
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.system.events import CodeGraphs, Event

if TYPE_CHECKING:
    from napari_graphflow.plugin.jobs.curves import Curves
    from napari_graphflow.plugin.jobs.graphs import GraphPlot

#: Seconds per refresh for reading the events of a job.
READ_S = 0.01


class JobDetails(QWidget):
    """Shows what the presenter says of one job; its buttons are connected by the dock."""

    def __init__(self, status: StatusLine) -> None:
        super().__init__()
        self._job: Job | None = None
        self._offset = 0
        self.progress = ProgressRow()
        self.progress.cancel.hide()
        self.status = status
        self.pause = _button(
            "Pause", "Save a checkpoint and stop the process; Resume continues from the checkpoint."
        )
        self.cancel = _button("Cancel", "End the job. Its last checkpoint is kept.")
        self.checkpoint = _button("Checkpoint", "Save a checkpoint now and continue.")
        self.up = _button("Move up", "Move this job up in the queue.")
        self.down = _button("Move down", "Move this job down in the queue.")
        self.use = _button("Use this model", "Choose this model where it is of use.")
        self.log = _button("Log", "Show what the job has printed.")
        self.settings = _button("Settings", "Show the settings of this job.")
        self.rename = _button("Rename …", "Give this job another name in this list.")
        self.remove = _button("Remove …", "Delete the folder of this job.")
        self.stages = StageList()
        self._stage_log = StageLog()
        self._colours = DARK
        self._plot = Later(self._make_curves)
        self.graphs = Later(self._make_graphs)
        self.graphs.hide()
        self._latest: CodeGraphs | None = None
        self.preview = Preview()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        changing = (self.pause, self.cancel, self.checkpoint, self.up, self.down, self.use)
        column.addLayout(row(*changing, stretch=-1))
        column.addLayout(row(self.log, self.settings, self.rename, self.remove, stretch=-1))
        column.addWidget(self.stages)
        column.addWidget(self._plot)
        column.addWidget(self.graphs)
        column.addWidget(self.preview)

    @property
    def curves(self) -> "Curves":
        """The curves of the job."""
        return self._plot.widget()

    def set_colours(self, colours: Colours) -> None:
        """Draw in the colours of a theme."""
        self._colours = colours
        for made in (self._plot.made, self.graphs.made):
            if made is not None:
                made.set_colours(colours)

    def show_job(self, job: Job | None) -> None:
        """Show another job."""
        self._job, self._offset = job, 0
        if self._plot.made is not None:
            self._plot.made.clear()
        self._stage_log, self._latest = StageLog(), None
        self.stages.show_stages([])
        self.preview.show_job(job)

    def present(self, shown: Details, levels: Sequence[Level]) -> None:
        """Show the current state of the job."""
        if is_imported("pyqtgraph"):  # otherwise the curves come with one of the next refreshes
            if self._job is not None:
                self.curves.add(self._new_events(self._job))
                self.stages.show_stages(self._stage_log.stages())
            self.curves.show_levels(levels)
            self._plot.setVisible(not self.curves.empty())
            if self._latest is not None:
                self.graphs.widget().show_graphs(self._latest)
            self.graphs.setVisible(self._latest is not None)
        self.preview.refresh()
        self.progress.present(shown.progress)
        self.status.show_message(shown.message)
        buttons = shown.buttons
        self.pause.setText("Resume" if buttons.resume else "Pause")
        self.pause.setEnabled(buttons.pause)
        self.cancel.setEnabled(buttons.cancel)
        self.checkpoint.setVisible(buttons.shows_checkpoint)
        for button in (self.up, self.down):
            button.setVisible(buttons.shows_move)
            button.setEnabled(buttons.move)
        self.log.setEnabled(buttons.log)
        self.use.setVisible(buttons.shows_use)
        self.remove.setEnabled(buttons.remove)

    def _make_curves(self) -> "Curves":
        from napari_graphflow.plugin.jobs.curves import Curves

        curves = Curves()
        curves.set_colours(self._colours)
        return curves

    def _make_graphs(self) -> "GraphPlot":
        from napari_graphflow.plugin.jobs.graphs import GraphPlot

        graphs = GraphPlot()
        graphs.set_colours(self._colours)
        return graphs

    def _new_events(self, job: Job) -> Iterator[Event]:
        """Yield new events; a long history takes several refreshes."""
        # One by one: thousands at once would trigger the garbage collection, which traverses all
        # objects of the window.
        end = time.monotonic() + READ_S
        while True:
            before = self._offset
            events, self._offset = read_events(job.events_file, before)
            for event in events:
                self._stage_log.add(event)
                if isinstance(event, CodeGraphs):
                    self._latest = event
                yield event
            if self._offset == before or time.monotonic() > end:
                return


def _button(text: str, tip: str) -> KeyButton:
    button = KeyButton(text)
    button.setToolTip(tip)
    return button
