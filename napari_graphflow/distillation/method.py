"""What every distillation method is, and how one is built by its name."""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol

from torch import Tensor, nn

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Event


class Outputs(Protocol):
    """Outputs of a network for a known number of batches, computed one by one."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Output]: ...


class Method(nn.Module):
    """What a method does besides its mathematics.

    Its own modules are made when it is, their sizes follow from `shapes`: so a saved student's
    method is built again from the card alone, and takes back their weights.

    Attributes
    ----------
    weights
        Weight of each named term in the total loss.
    supervised_loss
        Loss of logits and labels that replaces the usual one on labelled patches, if any.
    by_certainty
        Whether the teacher's answer for an unlabelled voxel counts by how sure it is.
    adapters
        Modules that are trained together with the student by its optimiser, and left behind with
        the method when the student is used.
    """

    weights: dict[str, float]
    by_certainty: bool = False
    supervised_loss: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__()
        self.config, self.shapes = config, shapes
        self.adapters = nn.ModuleDict()

    def prepare(
        self,
        teacher: Callable[[int], Output],
        training: Outputs,
        held_out: Outputs,
    ) -> Iterator[Event]:
        """Train what the method trains before the student, such as paraphrasers.

        A pause ends it at any ``yield``. A resumed run restores what :meth:`checkpoint` gave there
        and calls it again, and it has to go on from that step. So tell of a step before the
        optimiser makes it: what may not have been told is then told once more.

        Parameters
        ----------
        teacher
            Gives the frozen teacher's output for the training batch of a step, from 0 on, over
            labelled and unlabelled cases.
        training, held_out
            Its outputs over the training and over the validation cases as they are, to measure
            on, batch by batch; the second is empty where there is no validation case.

        Yields
        ------
        event
            Phases, progress, metrics and warnings.
        """
        yield from ()

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        """Named scalar terms of the loss, not yet weighted; all are label-free.

        Parameters
        ----------
        student, teacher
            What the networks returned for all patches.
        weight
            (B, *spatial), how much the teacher's answer counts at each voxel, from 0 to 1.
        """
        raise NotImplementedError

    def labelled_terms(self, student: Output, teacher: Output, labels: Tensor) -> dict[str, Tensor]:
        """Further terms, which need labels.

        Parameters
        ----------
        student, teacher
            What the networks returned for the labelled patches alone.
        labels
            (B, *spatial), class indices, or `IGNORE` where nobody has judged.
        """
        return {}

    def after_step(self, student: Output, teacher: Output) -> dict[str, float]:
        """Train what is trained against the student, such as a discriminator; named losses."""
        return {}

    def facts(self, student: Output, teacher: Output) -> dict[str, float]:
        """Numbers about a batch that are worth a curve now and then."""
        return {}

    def checkpoint(self) -> dict[str, Any]:
        """All that a resumed run needs, also in the midst of :meth:`prepare`."""
        return self.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`checkpoint`."""
        self.load_state_dict(state)
        self.requires_grad_(False).eval()
        self.adapters.requires_grad_(True).train()


def check_taps(shapes: PairShapes, names: Iterable[str]) -> None:
    """Refuse networks that lack a tap of a method."""
    for role, output in (("student", shapes.student), ("teacher", shapes.teacher)):
        if missing := sorted(set(names) - set(output.taps)):
            raise UserError(
                f"The {role} has no tap {missing[0]}, which this method needs.",
                f"It has {', '.join(output.taps) or 'none'}; name its taps, or choose another "
                "method.",
            )


def build_method(config: DistillationConfig, shapes: PairShapes) -> Method:
    """Build the method that a configuration names, for networks of such outputs.

    Raises
    ------
    UserError
        If a network lacks a tap, or the two do not fit together.
    """
    module, name = METHODS[config.method.name].path.split(":")
    method: Method = getattr(import_module(module), name)(config, shapes)
    return method
