"""Generalisable distillation as a method: stages first, then graphs and cross distillation."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.networks import Role
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.generalisable.alignment import AlignmentNetwork, grid_of
from napari_graphflow.distillation.generalisable.autoencoder import (
    STRIDE,
    ImageAutoencoder,
    MaskAutoencoder,
    cross_entropy,
)
from napari_graphflow.distillation.generalisable.drawing import MOST_DRAWN, graphs_of
from napari_graphflow.distillation.generalisable.losses import (
    FEWEST_INTER,
    cross_distillation_loss,
    inter_edges,
    inter_graph_loss,
    intra_edges,
    intra_graph_loss,
    nodes_of_batch,
)
from napari_graphflow.distillation.generalisable.stages import Stages
from napari_graphflow.distillation.generalisable.views import random_stream, view
from napari_graphflow.distillation.method import (
    ROLES,
    Material,
    Method,
    Outputs,
    Pass,
    check_taps,
)
from napari_graphflow.errors import UserError
from napari_graphflow.networks.bottleneck import (
    Encoded,
    adapter_of,
    encode,
    frozen_statistics,
)
from napari_graphflow.networks.taps import Output, evaluating
from napari_graphflow.system.events import Event


class Generalisable(Method):
    """Generalisable distillation (Qi et al., IEEE JBHI 2024).

    From the paper: a mask auto-encoder whose codes regularise those of both networks, alignment
    networks with headers that are frozen during the distillation, the two graphs, and the cross
    distillation. Its code was never published. Our own reading: everything that
    :mod:`~.losses`, :mod:`~.autoencoder`, :mod:`~.alignment` and :mod:`~.views` call so, the
    weights, and that the last stage starts from the student that was trained alone.

    The gradients run to the student only. Further passes of a step neither update the running
    statistics of its normalisations nor draw from the random numbers of its own pass: with all
    weights 0 the step is that of a supervised training, bit for bit.
    """

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        assert isinstance(config.method, GeneralisableOptions)
        self.options = config.method
        self.recorded = {"student": self.options.student_tap, "teacher": self.options.teacher_tap}
        for role in ROLES:
            check_taps(shapes, [self.recorded[role]], role)
        self.weights = {
            "intra": self.options.intra_weight,
            "inter": self.options.inter_weight,
            "cross": self.options.cross_weight,
            "augmented": self.options.share,
        }
        images = config.batch_size * (2 if config.unlabelled else 1)
        if self.options.inter_nodes == "batch" and images < FEWEST_INTER:
            raise UserError(
                f"A graph of the patches of a batch needs at least {FEWEST_INTER} of them, and "
                f"the batch has {images}.",
                "Set a larger batch size, or inter_nodes to views.",
            )
        self._build(shapes)
        self.stages = Stages(self)
        self.material: Material | None = None
        self._edges: dict[str, float] = {}

    def _build(self, shapes: PairShapes) -> None:
        self.shapes = shapes
        _, classes, *size = shapes.teacher.logits
        length, codes = self.options.length, self.options.read
        cells = [max(2, -(-n // STRIDE)) for n in size]
        of_masks = self.options.autoencoder_input == "mask"
        auto, channels = (
            (MaskAutoencoder, classes) if of_masks else (ImageAutoencoder, shapes.channels)
        )
        self.autoencoder = auto(channels, len(size), length, grid_of(cells), codes)
        self.teacher_alignment, self.student_alignment = (
            AlignmentNetwork(channels, length, grid_of(cells), codes)
            for _, channels, *cells in (
                shapes.teacher.taps[self.recorded["teacher"]],
                shapes.student.taps[self.recorded["student"]],
            )
        )

    def use(self, material: Material) -> None:
        self.material = material
        self.base: Callable[[Tensor, Tensor], Tensor] = material.supervised
        if self.options.preset == "faithful":
            self.base = cross_entropy
        if self.options.preset == "faithful" or self.options.share:
            self.supervised_loss = self._supervised

    def _supervised(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (1 - self.options.share) * self.base(logits, labels)

    def prepare(
        self,
        teacher: Callable[[int], Output],
        training: Outputs,
        held_out: Outputs,
    ) -> Iterator[Event]:
        assert self.material is not None
        yield from self.stages.run(self.material)

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        return {}

    def passes(self, step: Pass) -> dict[str, Tensor]:
        options, terms = self.options, {}
        if options.intra_weight or options.inter_weight:
            student, teacher = self._codes(step)
            if options.intra_weight:
                terms["intra"] = intra_graph_loss(
                    student, teacher, options.temperature, options.edge_loss
                )
            if options.inter_weight:
                if options.inter_nodes == "batch":
                    student, teacher = nodes_of_batch(student), nodes_of_batch(teacher)
                terms["inter"] = inter_graph_loss(
                    student, teacher, options.temperature, options.edge_loss
                )
        if options.cross_weight:
            terms["cross"] = self._cross(step)
        if options.share:
            terms["augmented"] = self.augmented(
                step.student.network, step.images[: len(step.labels)], step.labels, step.step
            )
        return terms

    def _codes(self, step: Pass) -> tuple[Tensor, Tensor]:
        """Return the codes (B, K + 1, d) of the student and of the teacher."""
        views = self._views(step.images, "views", step.step)
        student = self._codes_of("student", step.student, views)
        with torch.no_grad():
            teacher = self._codes_of("teacher", step.teacher, views)
            for role, codes in (("student", student), ("teacher", teacher)):
                self._edges[f"edges/intra_{role}"] = float(intra_edges(codes).mean())
                self._edges[f"edges/inter_{role}"] = float(inter_edges(codes).mean())
        return student, teacher

    @torch.no_grad()
    def _views(self, images: Tensor, *names: object) -> Tensor:
        """Return the K views of each image, (K B, C, *spatial)."""
        kinds = range(self.options.views)
        return torch.cat([self.view(images, kind, *names) for kind in kinds])

    def view(self, images: Tensor, kind: int, *names: object) -> Tensor:
        """Return a view of each image, of a kind by number, from the random numbers of `names`."""
        return view(images, kind, self.config.seed, *names, kinds=self.options.view_kinds)

    def encode(self, role: Role, network: nn.Module, images: Tensor) -> Encoded:
        """Run a network up to its tap, without an update of running statistics."""
        return encode(network, images, tap=self.recorded[role])

    def _codes_of(self, role: Role, encoded: Encoded, views: Tensor) -> Tensor:
        """Return the codes (B, K + 1, d) of a recorded pass and of views, which are encoded."""
        aligned = self.teacher_alignment if role == "teacher" else self.student_alignment
        others = self.encode(role, encoded.network, views).bottleneck
        codes: Tensor = aligned.code(torch.cat([encoded.bottleneck, others]))
        shape = (self.options.views + 1, len(encoded.image))
        return torch.unflatten(codes, 0, shape).transpose(0, 1)

    @torch.no_grad()
    def drawings(self, step: int) -> Iterator[Event]:
        """Measure the graphs on the same few unaugmented patches and views each time."""
        if self.material is None or not (self.options.intra_weight or self.options.inter_weight):
            return
        networks: dict[Role, nn.Module] = {
            "teacher": self.material.teacher,
            "student": self.material.student,
        }
        held_out = self.material.held_out
        images = next(iter(held_out if len(held_out) else self.material.training))[0][:MOST_DRAWN]
        views, codes = self._views(images, "drawn"), dict[Role, Tensor]()
        for role, network in networks.items():
            with evaluating(adapter_of(network)):
                codes[role] = self._codes_of(role, self.encode(role, network, images), views)
        drawn = graphs_of(codes["teacher"], codes["student"], self.options, step)
        if drawn is not None:
            yield drawn

    def _cross(self, step: Pass) -> Tensor:
        student, teacher = step.student, step.teacher
        with torch.no_grad():
            teacher_code = self.teacher_alignment.code(teacher.bottleneck)
        student_code = self.student_alignment.code(student.bottleneck)
        of_student = teacher.decode(
            self.teacher_alignment.header(student_code, teacher.bottleneck.shape[2:]),
            skip_drop=self.options.skip_drop,
        )
        of_teacher = student.decode(
            self.student_alignment.header(teacher_code, student.bottleneck.shape[2:]),
            detach_skips=self.options.detach_skips,
        )
        return cross_distillation_loss(
            step.teacher_logits, of_student, of_teacher, self.options.cross_temperature
        )

    def augmented(
        self, network: nn.Module, images: Tensor, labels: Tensor, *names: object
    ) -> Tensor:
        """Return the supervised loss of one view of each image, its kind drawn for the step."""
        random = random_stream(self.config.seed, "kind", *names)
        kind = int(random.integers(self.options.views))
        changed = self.view(images, kind, "augmented", *names)
        adapter = adapter_of(network)
        with frozen_statistics(adapter):
            return self.base(adapter.logits(changed).float(), labels)

    @torch.no_grad()
    def diagnostics(self, student: Output, teacher: Output) -> dict[str, float]:
        return dict(self._edges)

    def checkpoint(self) -> dict[str, Any]:
        return {
            "modules": self.state_dict(),
            "shapes": self.shapes.model_dump(),
            "measured": dict(self.measured),
            **self.stages.checkpoint(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        shapes = PairShapes.model_validate(state["shapes"])
        if shapes != self.shapes:  # the run continues with smaller patches
            device = self.autoencoder.mean.device
            self._build(shapes)
            self.to(device)
        super().restore(state["modules"])
        self.measured = dict(state["measured"])
        self.stages.restore(state)
