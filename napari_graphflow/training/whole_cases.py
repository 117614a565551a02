"""Answers of a network for whole cases on its own grid, where the student has another one.

This is how a teacher of another spacing, orientation or number of axes teaches: each case is
segmented once, and its probabilities are brought to the grid of the image; from there on they are
used like predictions that were given.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.answers import FOLDER, read_answer, write_answer
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.predict import LoadedModel, segment


@dataclass(frozen=True)
class CaseAnswers:
    """Answers that are computed when they are first needed, and kept in the job's folder.

    Attributes
    ----------
    model
        The teacher.
    folder
        Where the answers are kept, so that a resumed run reads the same ones.
    """

    model: LoadedModel
    folder: Path

    def read(self, case: str, image: Volume, classes: int) -> NDArray[Any]:
        """Return probabilities (K, *spatial), float16, on the stored grid of the image.

        Raises
        ------
        UserError
            If the image does not fit the teacher, or a saved answer is damaged.
        """
        path = self.folder / FOLDER / f"{case}.npz"
        if not path.is_file():
            found = segment(self.model, image, probabilities=True).probabilities
            assert found is not None
            write_answer(self.folder, case, np.moveaxis(found.array, -1, 0), image)
        return read_answer(path, case, image, classes)
