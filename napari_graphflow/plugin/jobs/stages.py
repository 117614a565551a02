"""The stages of a generalisable distillation and what was measured at the end of each; no Qt."""

from dataclasses import dataclass
from typing import Literal

from napari_graphflow.config.generalisable import (
    IMAGE_STAGES,
    LARGEST_LOSS,
    LEAST_MASK_DICE,
    LEAST_R2,
    LEAST_RELIANCE,
    LEAST_SPREAD,
    STAGES,
)
from napari_graphflow.system.events import Event, Metric, ModelSaved, Phase

#: ``weak`` is done, with a number below what is wanted.
StageState = Literal["waiting", "running", "done", "weak"]
LAST = "the distillation"
TITLES = (*STAGES.values(), LAST)
#: Titles of stages of an auto-encoder of images, and of the same stages otherwise.
_OF_IMAGES = {text: STAGES[name] for name, text in IMAGE_STAGES.items()}


@dataclass(frozen=True)
class Stage:
    """One line of the list: what it trains, its state, and its numbers in words."""

    title: str
    state: StageState
    text: str = ""


class StageLog:
    """Follows the events of a job; empty unless it is a generalisable distillation."""

    def __init__(self) -> None:
        self._reached = -1
        self._ended = False
        self._of_images = False
        self._numbers: dict[str, float] = {}

    def add(self, event: Event) -> None:
        """Take note of an event; a resumed job repeats some."""
        match event:
            case Phase(kind="preparing", name=name):
                # A job with several trainings says which one it is.
                own = name.rpartition(": ")[2]
                title = own.partition(" ")[2]  # without training, fitting or measuring
                self._of_images |= title in _OF_IMAGES
                title = _OF_IMAGES.get(title, title)
                if title in STAGES.values():
                    self._reached = TITLES.index(title)
            case Phase(kind="training") if self._reached >= 0:
                self._reached = TITLES.index(LAST)
            case Metric(name=name, value=float(value)) if name.startswith("gate/"):
                self._numbers[name.removeprefix("gate/")] = value
            case Metric(name="dice", split="val", value=float(value)):
                self._numbers["best"] = max(value, self._numbers.get("best", 0.0))
            case ModelSaved() if self._reached >= 0:
                self._ended = True

    def stages(self) -> list[Stage]:
        """Return the stages in order; none if the job has none."""
        if self._reached < 0:
            return []
        return [self._stage(number) for number in range(len(TITLES))]

    def _stage(self, number: int) -> Stage:
        name = [*STAGES, LAST][number]
        title = (IMAGE_STAGES if self._of_images else {}).get(name, TITLES[number])
        title = title.removeprefix("the ")
        title = f"{title[:1].upper()}{title[1:]}"
        if number > self._reached:
            return Stage(title, "waiting")
        text, good = self._measured(name)
        if number == self._reached and not self._ended:
            return Stage(title, "running", text)
        return Stage(title, "done" if good else "weak", text)

    def _measured(self, name: str) -> tuple[str, bool]:
        """Return the numbers of a stage in words, and whether they are as wanted."""
        found = self._numbers
        if name == "codes" and "masks_dice" in found:
            dice = found["masks_dice"]
            return f"masks from their codes: Dice {dice:.2f}", dice >= LEAST_MASK_DICE
        if name == "codes" and "images_r2" in found:
            r2 = found["images_r2"]
            return f"images from their codes: R² {r2:.2f}", r2 > LEAST_R2
        if name == "student" and "student_bottleneck_reliance" in found:
            both = [found.get(f"{one}_bottleneck_reliance", 0.0) for one in ("teacher", "student")]
            return "Dice that depends on the compared layer: teacher {:.2f}, student {:.2f}".format(
                *both
            ), not any(one < LEAST_RELIANCE for one in both)
        role = name.removesuffix("_alignment")
        if role != name and f"{role}_r2" in found:
            r2, spread = found[f"{role}_r2"], found[f"{role}_code_spread"]
            loss = found[f"{role}_dice"] - found[f"{role}_dice_through_header"]
            whose = "images'" if self._of_images else "masks'"
            text = f"codes explain {r2:.2f} of the {whose} codes; Dice lost {loss:.3f}"
            return text, r2 > LEAST_R2 and loss <= LARGEST_LOSS and spread > LEAST_SPREAD
        if name == LAST and "best" in found:
            return f"best Dice {found['best']:.3f}", True
        return "", True
