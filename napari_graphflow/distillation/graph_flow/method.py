"""Graph Flow as a method: paraphrasers first, then logits, vertex, edge and adversarial terms."""

from collections.abc import Callable, Iterator
from typing import Any, Self, cast

import torch
from monai.networks.layers import Conv
from torch import Tensor, nn

from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.dist import dist_loss
from napari_graphflow.distillation.graph_flow.adversarial import Adversary
from napari_graphflow.distillation.graph_flow.loss import (
    VariationGraph,
    channel_energy,
    graph_flow_loss,
    variation_graph,
)
from napari_graphflow.distillation.graph_flow.paraphraser import Paraphraser, RSquared
from napari_graphflow.distillation.graph_flow.salience import map_peaks
from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.distillation.method import Method, Outputs
from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Event, Metric, Phase, Progress, Warned


class GraphFlow(Method):
    """Cross-layer graph-flow distillation (Zou et al., IEEE TMI 2022).

    See :mod:`napari_graphflow.distillation.graph_flow.loss` for the equations and which parts are a
    reconstruction. As reconstructed, the method has ``peaks`` ``own``, ``normalise`` ``teacher``,
    paraphrasers and one pair of taps; the defaults of the first two are design choices
    (``benchmarks/graph_flow`` measures the effect of ``peaks``).

    Further design choices: the taps of the second and third pair; paraphrasers trained with Adam
    (in the paper, stochastic gradient descent over some 200 epochs); taps of different widths are
    mapped to the smaller width by a 1x1 convolution on the student's side; cross-entropy with Dice
    loss on labelled voxels (in the paper, cross-entropy alone). That all other terms also use
    unlabelled images is a reconstruction.
    """

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        assert isinstance(config.method, GraphFlowOptions)
        self.options = config.method
        self.by_certainty = self.options.logits.certainty
        self.weights = {
            "logits": self.options.logits.weight,
            "vertices": self.options.vertex_weight,
            "edges": self.options.edge_weight,
            "adversarial": self.options.adversarial.weight,
        }
        #: Whether graphs are compared, which needs paraphrasers and taps.
        self.compares = self.options.vertex_weight > 0 or self.options.edge_weight > 0
        suffixes = ["", "_2", "_3"][: self.options.tap_pairs * self.compares]
        self.pairs = [(f"encoder{suffix}", f"decoder{suffix}") for suffix in suffixes]
        self.paraphrasers = nn.ModuleDict()
        #: Taps whose resolution differs between student and teacher.
        self.unequal: list[str] = []
        #: Completed steps of the paraphrasers.
        self.prepared = 0
        for pair in self.pairs:
            self._check_pair(pair)
            self._build_pair(pair)
        self.paraphraser_optimiser: torch.optim.Optimizer | None = None
        if self.paraphrasers:
            self.paraphraser_optimiser = torch.optim.Adam(self.paraphrasers.parameters(), lr=1e-3)
        self.adversary: Adversary | None = None
        adversarial = self.options.adversarial
        if adversarial.weight:
            _, classes, *size = shapes.teacher.logits
            self.adversary = Adversary(adversarial, classes, len(size), config.steps)

    def _check_pair(self, pair: tuple[str, str]) -> None:
        for role, output in (("student", self.shapes.student), ("teacher", self.shapes.teacher)):
            if missing := set(pair) - set(output.taps):
                remedy = {
                    "student": "Choose another student, such as enet",
                    "teacher": "Choose another teacher, or name its taps when you import it",
                }[role]
                fewer = "" if pair[0] == "encoder" else ", or fewer tap pairs"
                raise UserError(
                    f"The {role} has no tap {min(missing)}.",
                    f"Named taps: {', '.join(output.taps) or 'none'}. {remedy}{fewer}.",
                )

    def _build_pair(self, pair: tuple[str, str]) -> None:
        """Build the modules that map the taps of a pair to the smaller width."""
        student, teacher = self.shapes.student.taps, self.shapes.teacher.taps
        paraphrased = self.options.paraphraser_steps > 0
        width = min((student if paraphrased else teacher)[tap][1] for tap in pair)
        for tap in pair:
            _, wide, *size = student[tap]
            _, channels, *teacher_size = teacher[tap]
            if size != teacher_size:
                self.unequal.append(tap)
            if paraphrased:
                self.paraphrasers[tap] = Paraphraser(channels, width, len(size))
            elif channels != width:
                raise UserError(
                    "The teacher's encoder and decoder taps differ in number of channels.",
                    "Set paraphraser steps above 0: paraphrasers map both to the same number.",
                )
            if wide != width:
                self.adapters[tap] = Conv[Conv.CONV, len(size)](wide, width, kernel_size=1)
        self.register_buffer(f"energy_{pair[0]}", torch.ones(width))

    def prepare(
        self,
        teacher: Callable[[int], Output],
        training: Outputs,
        held_out: Outputs,
    ) -> Iterator[Event]:
        if self.unequal:
            yield Warned(
                text=f"The resolution of the taps {' and '.join(self.unequal)} differs between "
                "student and teacher, so that their patches cover tissue of different size. "
                "Networks with taps of equal strides are compared more accurately."
            )
        if not self.compares:
            return
        total = self.options.paraphraser_steps
        if total:
            yield from self._train_paraphrasers(teacher, total)
        yield Phase(kind="preparing", name="measuring the teacher's features")
        if total:
            yield from self._measure_reconstruction(held_out, total)
        yield from self._measure_energy(training, total)

    def _train_paraphrasers(self, teacher: Callable[[int], Output], total: int) -> Iterator[Event]:
        yield Phase(kind="preparing", name="compressing the teacher's features", steps=total)
        optimiser = self.paraphraser_optimiser
        assert optimiser is not None
        self.paraphrasers.requires_grad_(True).train()
        while self.prepared < total:
            output = teacher(self.prepared)
            losses = {
                tap: self._paraphraser(tap).loss(output.taps[tap]) for tap in self.paraphrasers
            }
            step = self.prepared + 1
            yield Progress(step=step, total=total)
            if step % max(1, total // 50) == 0 or step == total:
                for tap, loss in losses.items():
                    if not loss.isfinite():
                        raise FloatingPointError(
                            f"The loss of the paraphraser of the tap {tap} became infinite or NaN "
                            f"at step {step}."
                        )
                    yield Metric(name=f"paraphraser/{tap}", value=loss.item(), step=step)
            optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimiser.step()
            self.prepared = step
        self.paraphrasers.requires_grad_(False).eval()

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        loss = dist_loss if self.options.logits.loss == "dist" else logits_loss
        temperature = self.options.logits.temperature
        terms = {"logits": loss(student.logits, teacher.logits, temperature, weight=weight)}
        vertices, edges = [], []
        for pair in self.pairs:
            vertex, edge = graph_flow_loss(
                *self.graphs(student, teacher, pair),
                reduction=self.options.reduction,
                energy=self.get_buffer(f"energy_{pair[0]}"),
                normalise=self.options.normalise,
            )
            vertices.append(vertex)
            edges.append(edge)
        if self.compares:
            terms |= {"vertices": torch.stack(vertices).sum(), "edges": torch.stack(edges).sum()}
        if self.adversary is not None:
            terms["adversarial"] = self.adversary.loss(student.logits)
        return terms

    def after_step(self, student: Output, teacher: Output) -> dict[str, float]:
        if self.adversary is None:
            return {}
        return {"discriminator": self.adversary.step(student.logits, teacher.logits)}

    @torch.no_grad()
    def diagnostics(self, student: Output, teacher: Output) -> dict[str, float]:
        if not self.pairs:
            return {}
        own = [self._graph(self.student_taps(student, pair)) for pair in self.pairs]
        found = {"graph/peaks_moved": sum(map(_moved_share, own)) / len(own)}
        if len(student.logits) > 1:
            compared = [self.graphs(student, teacher, pair)[0] for pair in self.pairs]
            shares = [_constant_share(graph.vertices) for graph in compared]
            found["graph/constant"] = sum(shares) / len(shares)
        return found

    def checkpoint(self) -> dict[str, Any]:
        state = {"modules": self.state_dict(), "prepared": self.prepared}
        if self.paraphraser_optimiser and self.prepared < self.options.paraphraser_steps:
            state["paraphraser_optimiser"] = self.paraphraser_optimiser.state_dict()
        return state | ({"adversary": self.adversary.state_dict()} if self.adversary else {})

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state["modules"])
        self.prepared = state["prepared"]
        if self.paraphraser_optimiser and "paraphraser_optimiser" in state:
            self.paraphraser_optimiser.load_state_dict(state["paraphraser_optimiser"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])

    def to(self, *arguments: Any, **keywords: Any) -> Self:
        super().to(*arguments, **keywords)
        if self.adversary is not None:
            self.adversary.discriminator.to(*arguments, **keywords)
        return self

    def graphs(
        self, student: Output, teacher: Output, pair: tuple[str, str]
    ) -> tuple[VariationGraph, VariationGraph]:
        """Return the graphs of student and teacher that the loss compares, for one of `pairs`."""
        teacher_graph = self._graph(self.teacher_taps(teacher, pair))
        peaks_of = teacher_graph if self.options.peaks == "teacher" else None
        return self._graph(self.student_taps(student, pair), peaks_of), teacher_graph

    def student_taps(self, student: Output, pair: tuple[str, str]) -> tuple[Tensor, Tensor]:
        """Return two taps of the student, after its adapters."""
        encoder, decoder = (
            self.adapters[tap](student.taps[tap]) if tap in self.adapters else student.taps[tap]
            for tap in pair
        )
        return encoder, decoder

    @torch.no_grad()
    def teacher_taps(self, teacher: Output, pair: tuple[str, str]) -> tuple[Tensor, Tensor]:
        """Return two taps of the teacher, after its paraphrasers."""
        encoder, decoder = (
            self._paraphraser(tap).encode(teacher.taps[tap])
            if tap in self.paraphrasers
            else teacher.taps[tap]
            for tap in pair
        )
        return encoder, decoder

    def _paraphraser(self, tap: str) -> Paraphraser:
        return cast(Paraphraser, self.paraphrasers[tap])

    def _graph(
        self, taps: tuple[Tensor, Tensor], peaks_of: VariationGraph | None = None
    ) -> VariationGraph:
        encoder, decoder = taps
        return variation_graph(
            encoder,
            decoder,
            self.options.patch,
            mode=self.options.salience,
            edge=self.options.edge,
            vertex=self.options.vertex,
            peaks_of=peaks_of,
        )

    @torch.no_grad()
    def _measure_reconstruction(self, held_out: Outputs, step: int) -> Iterator[Event]:
        """Measure R^2 of the paraphrasers on held-out cases."""
        scores = {tap: RSquared() for tap in self.paraphrasers}
        for number, output in enumerate(held_out, 1):
            yield Progress(step=number, total=len(held_out))
            for tap, score in scores.items():
                score.add(output.taps[tap], self._paraphraser(tap)(output.taps[tap]))
        for tap, score in scores.items():
            if score.count:
                name = f"paraphraser/r2_{tap}"
                yield Metric(name=name, value=score.value(), step=step, split="val")

    @torch.no_grad()
    def _measure_energy(self, training: Outputs, step: int) -> Iterator[Event]:
        """Measure the mean energy of the teacher's salient patches over the training cases."""
        images, sums = 0, dict.fromkeys(self.pairs, torch.zeros(()))
        for number, output in enumerate(training, 1):
            yield Progress(step=number, total=len(training))
            size = len(output.logits)
            images += size
            for pair in sums:
                energy = channel_energy(self._graph(self.teacher_taps(output, pair)))
                sums[pair] = sums[pair].to(energy.device) + size * energy
        for (encoder, decoder), total in sums.items():
            if not total.isfinite().all():
                raise FloatingPointError(
                    f"The teacher's features at {encoder} or {decoder} are infinite or NaN for "
                    "some training case."
                )
            self.get_buffer(f"energy_{encoder}").copy_(total / images)
            mean = float(total.mean()) / images
            yield Metric(name=f"graph/energy_{encoder}", value=mean, step=step)


def _moved_share(graph: VariationGraph) -> float:
    """Return the share of channels whose peak in the decoder tap is at another position."""
    start = map_peaks(graph.encoder_index, graph.encoder_size, graph.decoder_size)
    return float((start != graph.decoder_index).float().mean())


def _constant_share(vertices: Tensor) -> float:
    """Return the share of the energy of vertices (B, C, ...) that all images share, B > 1.

    Near 1 the vertices do not depend on the image. The mean over a batch still contains 1/B of
    the energy of random differences, which is subtracted; the share of few images may therefore
    be negative.
    """
    batch = len(vertices)
    energy = float(vertices.square().sum())
    same = float(vertices.mean(0).square().sum()) * batch
    return (batch * same / energy - 1) / (batch - 1) if energy > 0 else 0.0
