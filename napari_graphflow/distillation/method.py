"""The interface of distillation methods, and how a method is built by name."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import OutputShapes, PairShapes
from napari_graphflow.config.networks import Role
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.networks.bottleneck import Encoded
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Event

ROLES: tuple[Role, Role] = ("student", "teacher")


class Outputs(Protocol):
    """Outputs of a network for a given number of batches, computed on iteration."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Output]: ...


class Patches(Protocol):
    """Images (B, C, *spatial) with labels (B, *spatial), computed on iteration."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


@dataclass(frozen=True)
class Material:
    """What a method needs that runs the networks itself, see `Method.use`.

    Attributes
    ----------
    student, teacher
        The networks on the device of the run; the teacher is frozen.
    supervised
        Loss of logits and labels.
    patches
        Returns the augmented labelled training patches of a step, from 0.
    training, held_out
        Unaugmented patches of the labelled training cases and of the validation cases; the second
        is empty if there are none.
    student_weights
        Weights of a trained student to start from, if any.
    stages
        Weights of this method's modules that were trained before, by name; maybe none.
    """

    student: nn.Module
    teacher: nn.Module
    supervised: Callable[[Tensor, Tensor], Tensor]
    patches: Callable[[int], tuple[Tensor, Tensor]]
    training: Patches
    held_out: Patches
    student_weights: dict[str, Tensor] | None = None
    stages: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Pass:
    """A step whose passes through both networks were recorded up to a tap of each.

    Attributes
    ----------
    step
        Number of the step, from 0.
    images
        (B, C, *spatial), labelled patches first.
    labels
        (L, *spatial), of the first L <= B patches.
    student, teacher
        The recorded passes.
    teacher_logits
        (B, classes, *spatial).
    """

    step: int
    images: Tensor
    labels: Tensor
    student: Encoded
    teacher: Encoded
    teacher_logits: Tensor


class Method(nn.Module):
    """Base class of distillation methods: modules, training before the student, loss terms.

    A method builds its modules in the constructor from `shapes`, so that the method of a saved
    student can be rebuilt from the model card before its weights are loaded.

    Attributes
    ----------
    weights
        Weight of each named term in the total loss.
    supervised_loss
        Loss of logits and labels that replaces the default on labelled patches, if any.
    by_certainty
        Whether to weight unlabelled voxels by the teacher's certainty.
    adapters
        Modules that are trained together with the student by its optimiser; inference with the
        student does not need them.
    recorded
        Tap up to which the pass of each network is recorded, by role, of a method that runs the
        networks itself: :meth:`use` and :meth:`passes` are then called.
    measured
        Numbers by name that are saved with the student, such as those of stages.
    """

    weights: dict[str, float]
    by_certainty: bool = False
    supervised_loss: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__()
        self.config, self.shapes = config, shapes
        self.adapters = nn.ModuleDict()
        self.measured: dict[str, float] = {}
        self.recorded: dict[Role, str] = {}

    def use(self, material: Material) -> None:
        """Keep the networks and the patches of the run; called before anything else."""

    def prepare(
        self,
        teacher: Callable[[int], Output],
        training: Outputs,
        held_out: Outputs,
    ) -> Iterator[Event]:
        """Train the modules that are needed before the student, such as paraphrasers.

        A pause ends it at any ``yield``. A resumed run restores the :meth:`checkpoint` of that
        point and calls it again, and it must resume at that step. So yield the events of a step
        before the optimiser's step: events that may have been lost are then yielded again.

        Parameters
        ----------
        teacher
            Returns the frozen teacher's output for the training batch of a step, from 0, over
            labelled and unlabelled cases.
        training, held_out
            Its outputs on unaugmented patches of the training and the validation cases, batch by
            batch; the second is empty if there are no validation cases.

        Yields
        ------
        event
            Phases, progress, metrics and warnings.
        """
        yield from ()

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        """Return the unweighted, named loss terms that need no labels, as scalars.

        Parameters
        ----------
        student, teacher
            Outputs of the networks for all patches.
        weight
            (B, *spatial), weight of the teacher's logits at each voxel, from 0 to 1.
        """
        raise NotImplementedError

    def labelled_terms(self, student: Output, teacher: Output, labels: Tensor) -> dict[str, Tensor]:
        """Return the unweighted, named loss terms that need labels, as scalars.

        Parameters
        ----------
        student, teacher
            Outputs of the networks for the labelled patches only.
        labels
            (B, *spatial), class indices, or `IGNORE` for unannotated voxels.
        """
        return {}

    def passes(self, step: Pass) -> dict[str, Tensor]:
        """Return the unweighted, named loss terms that need further passes of the networks."""
        return {}

    def after_step(self, student: Output, teacher: Output) -> dict[str, float]:
        """Train modules that oppose the student, such as a discriminator; return named losses."""
        return {}

    def diagnostics(self, student: Output, teacher: Output) -> dict[str, float]:
        """Return named metrics of a batch that are logged at intervals."""
        return {}

    def drawings(self, step: int) -> Iterator[Event]:
        """Yield small events that the window draws; called at each validation, after `step` steps.

        Nothing that a later step depends on may change.
        """
        yield from ()

    def checkpoint(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, also during :meth:`prepare`."""
        return self.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state of :meth:`checkpoint`."""
        self.load_state_dict(state)
        self.requires_grad_(False).eval()
        self.adapters.requires_grad_(True).train()


def check_taps(shapes: PairShapes, names: Iterable[str], *roles: Role) -> None:
    """Raise a `UserError` if a network, or one of these roles, lacks one of the taps."""
    for role in roles or ROLES:
        output: OutputShapes = getattr(shapes, role)
        if missing := sorted(set(names) - set(output.taps)):
            raise UserError(
                f"The {role} has no tap {missing[0]}, which this method needs.",
                f"Named taps: {', '.join(output.taps) or 'none'}. Name the missing tap when you "
                "import the model, or choose another method.",
            )


def check_logits(student: Tensor, teacher: Tensor) -> None:
    """Raise a `UserError` if the logits of two networks differ in classes or in shape."""
    if student.shape[1] != teacher.shape[1]:
        raise UserError(
            f"The student predicts {student.shape[1]} classes, the teacher {teacher.shape[1]}.",
            "Choose a teacher that was trained for the same classes.",
        )
    if student.shape != teacher.shape:
        raise UserError(
            f"The student's logits have shape {tuple(student.shape)}, "
            f"the teacher's {tuple(teacher.shape)}.",
            "Pass the same images at the same size to both networks.",
        )


def common_size(student_features: Tensor, teacher_features: Tensor) -> list[int]:
    """Return the smaller size of two feature maps (B, C, *cells) along each spatial axis.

    Raises
    ------
    UserError
        If the number of images or of spatial axes differs.
    """
    shapes = [tuple(features.shape) for features in (student_features, teacher_features)]
    if len(shapes[0]) != len(shapes[1]) or shapes[0][0] != shapes[1][0]:
        raise UserError(
            f"The student's tap has shape {shapes[0]}, the teacher's {shapes[1]}.",
            "Pass the same batch to two 2D or to two 3D networks.",
        )
    return [min(pair) for pair in zip(*(shape[2:] for shape in shapes), strict=True)]


def averaged(features: Tensor, size: list[int]) -> Tensor:
    """Average feature maps (B, ..., *cells) down to `size` cells."""
    if list(features.shape[-len(size) :]) == size:
        return features
    pool: Callable[..., Tensor] = adaptive_avg_pool2d if len(size) == 2 else adaptive_avg_pool3d
    return pool(features, size)


def build_method(config: DistillationConfig, shapes: PairShapes) -> Method:
    """Build the method of a configuration, for networks with outputs of the given shapes.

    Raises
    ------
    UserError
        If a network lacks a tap, or the two networks are incompatible.
    """
    module, name = METHODS[config.method.name].path.split(":")
    method: Method = getattr(import_module(module), name)(config, shapes)
    return method
