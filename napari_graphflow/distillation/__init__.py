"""The distillation methods, one file per paper, and the table from which one is chosen.

A method is an ``nn.Module`` (its own weights, such as paraphrasers, are then saved and resumed
with the run) that turns the outputs of student and teacher into named loss terms. To add one,
write its file and add its line to `METHODS`.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from napari_graphflow.config import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.networks import Output

#: Name of a method -> module and class that hold it.
METHODS = {
    "logits": "napari_graphflow.distillation.logits_method:LogitsDistillation",
    "graph_flow": "napari_graphflow.distillation.graph_flow_method:GraphFlow",
}

Record = dict[str, Any]


class Method(nn.Module):
    """What a method does besides its mathematics.

    Attributes
    ----------
    weights
        Weight of each named term in the total loss.
    adapters
        Modules that are trained together with the student by its optimiser, and left behind with
        the method when the student is used.
    """

    weights: dict[str, float]

    def __init__(self, config: DistillationConfig) -> None:
        super().__init__()
        self.config = config
        self.adapters = nn.ModuleDict()

    def build(self, student: Output, teacher: Output) -> None:
        """Make the method's own modules, whose sizes follow from one output of each network."""

    def prepare(self, teacher: Iterable[Output], held_out: Iterable[Output]) -> Iterator[Record]:
        """Train what the method trains before the student, such as paraphrasers.

        Parameters
        ----------
        teacher
            Endless outputs of the frozen teacher over labelled and unlabelled cases.
        held_out
            Some of its outputs over validation cases, to measure on.

        Yields
        ------
        dict
            Records of progress and metrics.
        """
        yield from ()

    def terms(self, student: Output, teacher: Output) -> dict[str, Tensor]:
        """Named scalar terms of the loss, not yet weighted; all are label-free."""
        raise NotImplementedError

    def after_step(self, student: Output, teacher: Output) -> dict[str, float]:
        """Train what is trained against the student, such as a discriminator; named losses."""
        return {}

    def facts(self, student: Output) -> dict[str, float]:
        """Numbers about a batch that are worth a curve now and then."""
        return {}

    def checkpoint(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return self.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`checkpoint`."""
        self.load_state_dict(state)
        self.requires_grad_(False).eval()
        self.adapters.requires_grad_(True).train()


def build_method(config: DistillationConfig) -> Method:
    """Build the method that a configuration names."""
    if config.method not in METHODS:
        raise UserError(
            f"There is no distillation method {config.method}.",
            f"Choose one of {', '.join(METHODS)}.",
        )
    module, name = METHODS[config.method].split(":")
    method: Method = getattr(import_module(module), name)(config)
    return method
