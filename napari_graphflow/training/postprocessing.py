"""Learn on the validation cases for which structures only the largest part should be kept."""

from collections.abc import Generator

import numpy as np

from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.evaluation.metrics import dice_score
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.parts import keep_largest_part
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.networks.taps import evaluating
from napari_graphflow.system.events import Alive, Event, Phase
from napari_graphflow.system.files import replace_file
from napari_graphflow.training.state import Run
from napari_graphflow.training.validation import segmented

#: Smallest gain in mean Dice, and largest loss of a case, with which only the largest part is kept.
GAIN, LOSS = 1e-3, 1e-6


def learn_postprocessing(run: Run) -> Generator[Event, None, None]:
    """Write into the saved model's card of which structures only the largest part is kept.

    These are the structures whose mean Dice over the validation cases rises by it, while that of
    no case falls.
    """
    cases = run.plan.data.validation
    if not cases:
        return
    yield Phase(kind="converting", name="learning the post-processing")
    card = run.plan.card
    names = [name for name, value in card.classes.items() if value]
    gains: dict[str, list[float]] = {name: [] for name in names}
    with evaluating(run.result):
        for case in cases:
            labels = segmented(run.result, case, card)
            assert case.labels is not None
            scored = np.where(case.labels == IGNORE, IGNORE, labels)
            for name in names:
                value = card.classes[name]
                kept = labels.copy()
                removed = keep_largest_part(kept, value)
                gain = 0.0
                if removed:
                    kept = np.where(case.labels == IGNORE, IGNORE, kept)
                    after = dice_score(kept, case.labels, value)
                    gain = after - dice_score(scored, case.labels, value)
                gains[name].append(gain)
            yield Alive()
    helps = tuple(name for name in names if _helps(gains[name]))
    if helps:
        path = JobPaths(run.plan.folder).model
        saved: ModelCard = read_model_card(path).model_copy(update={"largest_part": helps})
        replace_file(path / "model.json", saved.model_dump_json(indent=2).encode())


def _helps(gains: list[float]) -> bool:
    # Without the structure in reference and mask its Dice is not a number.
    known = [gain for gain in gains if np.isfinite(gain)]
    return bool(known) and float(np.mean(known)) >= GAIN and min(known) >= -LOSS
