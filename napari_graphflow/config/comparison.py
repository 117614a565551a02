"""Settings of a comparison of models on a dataset."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from napari_graphflow.config.run import Device
from napari_graphflow.config.settings import Frozen


class ComparisonConfig(Frozen):
    """Two models, or folders of masks, compared on the labelled cases of a dataset.

    Parameters
    ----------
    a, b
        Each the folder of a saved model, of a job with a trained model, or of masks named like the
        cases.
    dataset
        Folder of the dataset.
    alone
        The same student trained without a teacher. Default: found beside a student that was
        trained with ``--also-alone``.
    split
        Split whose labelled cases are scored.
    fold
        Fold of nnU-Net's ``splits_final.json``, where the dataset has one.
    tolerance
        Distance in mm up to which surfaces count as equal in the surface Dice (NSD).
    maps
        Whether the report shows the maps of the distillation method.
    names
        Whether the report names cases; without, they are numbered.
    device, threads
        As for a training.
    name
        Title of the report and of the job.
    """

    a: Path
    b: Path
    dataset: Path
    alone: Path | None = None
    split: Literal["train", "val", "test"] = "test"
    fold: Annotated[int, Field(ge=0)] = 0
    tolerance: Annotated[float, Field(gt=0, le=1000)] = 2.0
    maps: bool = True
    names: bool = False
    device: Device = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    name: str = ""
