"""The question what a network in a file is for, where no card lies beside it."""

from collections.abc import Callable, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QLabel,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.config.model_card import GRAPH, ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.widgets.config_form import ConfigForm
from napari_graphflow.plugin.widgets.layout import note

NAME = "graphflow-card"
_FIELDS = ("dims", "in_channels", "patch_size", "preprocessing")


class CardDialog(QDialog):
    """Asks for the card of a network without blocking the window.

    Parameters
    ----------
    parent
        The widget that asks.
    name
        Name of the network.
    classes
        Names of the classes that the network may have, the background first.
    accept
        Receives the card.
    """

    def __init__(
        self,
        parent: QWidget,
        name: str,
        classes: Sequence[str],
        accept: Callable[[ModelCard], None],
    ) -> None:
        super().__init__(parent.window())
        self.setObjectName(NAME)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("About the network")
        self._accept = accept
        self.classes = QLineEdit(", ".join(classes[1:]))
        self.classes.setAccessibleName("Classes")
        self.form = ConfigForm(
            ModelCard(
                name=name,
                role="teacher",
                network=GRAPH,
                dims=3,
                in_channels=1,
                classes={"background": 0},
                patch_size=(64, 64, 64),
                preprocessing=Preprocessing(),
            ),
            _FIELDS,
        )
        self.problem = note()
        self.problem.hide()
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        text = QLabel(
            f"{name} does not say which images it is for. Who trained it knows: with wrong entries "
            "its masks are wrong. Classes of its outputs in their order, without the background:"
        )
        text.setWordWrap(True)
        inner = QWidget()
        column = QVBoxLayout(inner)
        for one in (text, self.classes, self.form):
            column.addWidget(one)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        for one in (area, self.problem, buttons):
            layout.addWidget(one)
        self.resize(420, 560)

    def accept(self) -> None:
        """Close with the card, or show what is wrong."""
        try:
            card = self.card()
        except UserError as error:
            self.problem.setText(error.text)
            self.problem.show()
            return
        super().accept()
        self._accept(card)

    def card(self) -> ModelCard:
        """Return the card as it was entered.

        Raises
        ------
        UserError
            If an entry is missing or not valid.
        """
        names = [one.strip() for one in self.classes.text().split(",") if one.strip()]
        if not names or len({"background", *names}) <= len(names):
            raise UserError("Name each class once, and at least one.", "Change the classes.")
        classes = {name: index for index, name in enumerate(["background", *names])}
        return self.form.config().model_copy(update={"classes": classes})
