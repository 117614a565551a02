"""Settings of the jobs of labelling."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from napari_graphflow.config.run import Device
from napari_graphflow.config.settings import Frozen


class ProposalConfig(Frozen):
    """Masks proposed by a model for cases of a dataset.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    model
        Folder of the model.
    cases
        Names of cases; by default all without a finished mask.
    again
        Also replace proposals that this model made before the job.
    reader
        Who asked for them, for the log.
    device, threads
        As for a training.
    name
        Title of the job. Default: built from model and dataset.
    """

    dataset: Path
    model: Path
    cases: tuple[str, ...] = ()
    again: bool = False
    reader: str = ""
    device: Device = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    name: str = ""
