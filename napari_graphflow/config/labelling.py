"""Settings of the jobs of labelling."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from napari_graphflow.config.run import Device, DistillationConfig, TrainingConfig
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


class RoundConfig(Frozen):
    """What a round of labelling trains, one network after the other, on the same masks.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    number
        Number of the round.
    network
        The network that becomes the model of the round; a `DistillationConfig` distils it.
    teacher
        Its teacher if that is trained first; it then takes the place of ``network.teacher``.
    alone
        Whether a distilled student is also trained without its teacher, for comparison.
    reader
        Who started the round, for the log.
    device
        As for a training; it takes the place of the devices of the networks.
    name
        Title of the job.
    """

    dataset: Path
    number: Annotated[int, Field(ge=1)]
    network: DistillationConfig | TrainingConfig
    teacher: TrainingConfig | None = None
    alone: bool = True
    reader: str = ""
    device: Device = "auto"
    name: str = ""
