"""What lists say about a model: its role, purpose, licence, size and seconds."""

from datetime import datetime
from pathlib import Path

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.openvino_form import OpenVinoForm, read_form
from napari_graphflow.plugin.widgets.words import count_text, in_words

_SIZE = 32
#: Letter and colour of the badge of each role.
_BADGES = {"teacher": ("T", "#7a4fb5"), "student": ("S", "#1f6fb2")}


def about_text(card: ModelCard, folder: Path) -> str:
    """Return the line below a chosen model.

    Raises
    ------
    OSError
        If the model was removed a moment ago.
    """
    trained = datetime.fromtimestamp((folder / "model.json").stat().st_mtime)
    score = card.provenance.best_validation_dice if card.provenance else None
    form = read_form(folder)
    parts = [card.role_text, f"{card.dims}D", count_text(card.parameters), f"{trained:%d %b}"]
    parts += [f"Dice {score:.2f}"] if score is not None else []
    parts += [f"OpenVINO {form.parity.openvino_seconds:.2g} s"] if form else []
    return " · ".join(parts)


def tip_text(card: ModelCard, folder: Path) -> str:
    """Return all that is known of a model, in lines.

    Raises
    ------
    OSError
        If the model was removed a moment ago.
    """
    trained = datetime.fromtimestamp((folder / "model.json").stat().st_mtime)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    purpose = card.purpose
    lines = [
        f"{card.name} ({card.role_text})",
        f"For {in_words(card.purpose_text)}",
        f"Licence: {purpose.licence or 'not stated'}",
        f"From: {purpose.source}" if purpose.source else "",
        f"{card.network}, {card.parameters:,} parameters, {size / 2**20:.1f} MB",
        f"Only the largest part is kept of {in_words(', '.join(card.largest_part))}"
        if card.largest_part
        else "",
        f"Written {trained:%d %b %Y %H:%M}",
        seconds_text(read_form(folder)),
        str(folder),
    ]
    return "\n".join(line for line in lines if line)


def seconds_text(form: OpenVinoForm | None) -> str:
    """Return the measured seconds per window, as a line; empty without an OpenVINO form."""
    if form is None:
        return ""
    parity = form.parity
    return (
        f"One window: {parity.openvino_seconds:.3g} s in OpenVINO, {parity.torch_seconds:.3g} s in "
        f"PyTorch; {parity.equal_labels:.2%} equal labels"
    )


def role_icon(role: str) -> QIcon:
    """Return the badge of a role, a letter on a disc."""
    letter, colour = _BADGES[role]
    pixmap = QPixmap(_SIZE, _SIZE)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))
    painter.drawEllipse(1, 1, _SIZE - 2, _SIZE - 2)
    font = painter.font()
    font.setPixelSize(20)
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QColor("white"))
    painter.drawText(QRectF(0, 0, _SIZE, _SIZE), Qt.AlignmentFlag.AlignCenter, letter)
    painter.end()
    return QIcon(pixmap)
