"""The latest preview of a validation case."""

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_graphflow.jobs.folder import choose_case, chosen_case
from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.widgets.layout import note, row, shrinkable
from napari_graphflow.system.files import read_memory

PREVIEW_SIZE = 300


class Preview(QWidget):
    """The latest preview of a validation case, and the choice of the case."""

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None
        self._drawn = 0.0
        self.case = QComboBox()
        self.case.setToolTip("Validation case to draw from the next validation on.")
        shrinkable(self.case)
        self.image = QLabel()
        self.image.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.text = note("White: reference. Colour: current prediction.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(QLabel("Preview"), self.case, stretch=1))
        column.addWidget(self.image)
        column.addWidget(self.text)
        self.case.activated.connect(self._choose)
        self.hide()

    def show_job(self, job: Job | None) -> None:
        """Show another job."""
        self._job, self._drawn = job, 0.0
        self.hide()
        self.refresh()

    def refresh(self) -> None:
        """Reload the preview if it has changed."""
        path = None if self._job is None else self._job.preview
        try:
            changed = 0.0 if path is None else path.stat().st_mtime
        except OSError:
            changed = 0.0
        if self._job is None or not changed or changed == self._drawn:
            return
        self._drawn = changed
        image = QPixmap(str(path))
        if image.isNull():
            return
        if max(image.width(), image.height()) > PREVIEW_SIZE:
            image = image.scaled(
                PREVIEW_SIZE, PREVIEW_SIZE, Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )  # fmt: skip
        self.image.setPixmap(image)
        names = _validation_cases(self._job)
        if [self.case.itemText(index) for index in range(self.case.count())] != names:
            self.case.clear()
            self.case.addItems(names)
        self.case.setCurrentText(chosen_case(self._job.folder, names) or "")
        self.show()

    def _choose(self, _: int) -> None:
        if self._job is not None:
            choose_case(self._job.folder, self.case.currentText())


def _validation_cases(job: Job) -> list[str]:
    found = read_memory(job.cases_file).get("validation")
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
