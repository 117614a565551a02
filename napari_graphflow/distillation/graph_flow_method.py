"""Graph Flow as a method: paraphrasers first, then logits, vertex, edge and adversarial terms."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from napari_graphflow.config import DistillationConfig
from napari_graphflow.distillation import Method, Record
from napari_graphflow.distillation.adversary import Adversary
from napari_graphflow.distillation.graph_flow import (
    VariationGraph,
    channel_energy,
    graph_flow_loss,
    variation_graph,
)
from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.distillation.paraphraser import Paraphraser
from napari_graphflow.errors import UserError
from napari_graphflow.networks import Output

#: Batches over which the energy of the teacher's patches is measured.
MEASURED_BATCHES = 20


class GraphFlow(Method):
    """Cross-layer graph-flow distillation (Zou et al., IEEE TMI 2022).

    The mathematics, and which parts of it are a reconstruction, stand in
    :mod:`napari_graphflow.distillation.graph_flow`.
    """

    def __init__(self, config: DistillationConfig) -> None:
        super().__init__(config)
        self.options = config.graph_flow
        self.weights = {
            "logits": config.logits_weight,
            "vertices": self.options.vertex_weight,
            "edges": self.options.edge_weight,
            "adversarial": config.adversarial.weight,
        }
        self.adversary: Adversary | None = None
        self.paraphrasers = nn.ModuleDict()
        self.paraphraser_optimiser: torch.optim.Optimizer | None = None
        #: Steps that the paraphrasers have made.
        self.prepared = 0

    def build(self, student: Output, teacher: Output) -> None:
        for encoder, decoder in self._pairs(student, teacher):
            # Taps of different widths meet at the smaller one, by a 1x1 convolution.
            paraphrased = self.options.paraphraser_steps > 0
            narrow = student if paraphrased else teacher
            width = min(narrow.taps[tap].shape[1] for tap in (encoder, decoder))
            for tap in (encoder, decoder):
                features, wide = teacher.taps[tap], student.taps[tap].shape[1]
                dims = features.ndim - 2
                if paraphrased:
                    self.paraphrasers[tap] = Paraphraser(features.shape[1], width, dims)
                elif features.shape[1] != width:
                    raise UserError(
                        "The teacher's encoder and decoder taps differ in number of channels.",
                        "Train paraphrasers, which bring them to one: set paraphraser steps.",
                    )
                if wide != width:
                    convolution = nn.Conv2d if dims == 2 else nn.Conv3d
                    self.adapters[tap] = convolution(wide, width, kernel_size=1)
            self.register_buffer(f"energy_{encoder}", torch.ones(width))
        if self.paraphrasers:
            self.paraphraser_optimiser = torch.optim.Adam(self.paraphrasers.parameters(), lr=1e-3)
        if self.config.adversarial.weight:
            _, classes, *size = teacher.logits.shape
            self.adversary = Adversary(
                self.config.adversarial, classes, len(size), self.config.steps
            )

    def prepare(
        self, teacher: Callable[[int], Output], held_out: Iterable[Output]
    ) -> Iterator[Record]:
        total = self.options.paraphraser_steps
        if total:
            yield from self._train_paraphrasers(teacher, total)
            yield from self._measure_reconstruction(list(held_out), total)
        measured = [teacher(step) for step in range(total, total + MEASURED_BATCHES)]
        yield from self._measure_energy(measured, total)

    def _train_paraphrasers(self, teacher: Callable[[int], Output], total: int) -> Iterator[Record]:
        yield {"event": "phase", "name": "paraphrasing the teacher's features"}
        optimiser = self.paraphraser_optimiser
        assert optimiser is not None
        self.paraphrasers.requires_grad_(True).train()
        while self.prepared < total:
            output = teacher(self.prepared)
            # Gradients in half precision would need a scaler, or else be rounded away.
            with torch.autocast(output.logits.device.type, enabled=False):
                losses = {
                    tap: self._paraphraser(tap).loss(output.taps[tap].float())
                    for tap in self.paraphrasers
                }
            step = self.prepared + 1
            yield {"event": "progress", "step": step, "total": total}
            if step % max(1, total // 50) == 0 or step == total:
                for tap, loss in losses.items():
                    yield _metric(f"paraphraser/{tap}", loss.item(), step)
            optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimiser.step()
            self.prepared = step
        self.paraphrasers.requires_grad_(False).eval()

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        terms = {
            "logits": logits_loss(student.logits, teacher.logits, self.config.temperature, weight)
        }
        vertices, edges = [], []
        for encoder, decoder in self._pairs(student, teacher):
            graph_s = self._graph(*self._adapted(student, encoder, decoder))
            graph_t = self._graph(*self._paraphrase(teacher, encoder, decoder))
            vertex, edge = graph_flow_loss(
                graph_s,
                graph_t,
                reduction=self.options.reduction,
                energy=self.get_buffer(f"energy_{encoder}"),
                normalise=self.options.normalise,
            )
            vertices.append(vertex)
            edges.append(edge)
        terms |= {"vertices": torch.stack(vertices).sum(), "edges": torch.stack(edges).sum()}
        if self.adversary is not None:
            terms["adversarial"] = self.adversary.loss(student.logits)
        return terms

    def after_step(self, student: Output, teacher: Output) -> dict[str, float]:
        if self.adversary is None:
            return {}
        return {"discriminator": self.adversary.step(student.logits, teacher.logits)}

    @torch.no_grad()
    def facts(self, student: Output) -> dict[str, float]:
        moved = []
        for encoder, decoder in self._names():
            graph = self._graph(*self._adapted(student, encoder, decoder))
            moved.append((graph.encoder_index != graph.decoder_index).float().mean())
        return {"graph/peaks_moved": float(torch.stack(moved).mean())}

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

    def _names(self) -> list[tuple[str, str]]:
        suffixes = ["", "_2", "_3"][: self.options.tap_pairs]
        return [(f"encoder{suffix}", f"decoder{suffix}") for suffix in suffixes]

    def _pairs(self, student: Output, teacher: Output) -> list[tuple[str, str]]:
        pairs = self._names()
        for pair in pairs:
            for role, output in (("student", student), ("teacher", teacher)):
                if missing := set(pair) - set(output.taps):
                    raise UserError(
                        f"The {role} has no tap {min(missing)}.",
                        f"It has {', '.join(output.taps)}; use fewer tap pairs or name its taps.",
                    )
        return pairs

    def _adapted(self, student: Output, encoder: str, decoder: str) -> tuple[Tensor, Tensor]:
        first, second = (
            self.adapters[tap](student.taps[tap]) if tap in self.adapters else student.taps[tap]
            for tap in (encoder, decoder)
        )
        return first, second

    @torch.no_grad()
    def _paraphrase(self, teacher: Output, encoder: str, decoder: str) -> tuple[Tensor, Tensor]:
        first, second = (
            self._paraphraser(tap).encode(teacher.taps[tap])
            if tap in self.paraphrasers
            else teacher.taps[tap]
            for tap in (encoder, decoder)
        )
        return first, second

    def _paraphraser(self, tap: str) -> Paraphraser:
        return cast(Paraphraser, self.paraphrasers[tap])

    def _graph(self, encoder: Tensor, decoder: Tensor) -> VariationGraph:
        options = self.options
        return variation_graph(
            encoder, decoder, options.patch, options.salience, options.edge, options.vertex
        )

    @torch.no_grad()
    def _measure_reconstruction(self, held_out: list[Output], step: int) -> Iterator[Record]:
        for tap in self.paraphrasers:
            r_squared = self._paraphraser(tap).r_squared(output.taps[tap] for output in held_out)
            yield _metric(f"paraphraser/r2_{tap}", r_squared, step, "val")

    @torch.no_grad()
    def _measure_energy(self, outputs: list[Output], step: int) -> Iterator[Record]:
        """Mean energy of the teacher's salient patches over training batches."""
        for encoder, decoder in self._names():
            graphs = (
                self._graph(*self._paraphrase(output, encoder, decoder)) for output in outputs
            )
            energy = torch.stack([channel_energy(graph) for graph in graphs]).mean(0)
            self.get_buffer(f"energy_{encoder}").copy_(energy)
            yield _metric(f"graph/energy_{encoder}", float(energy.mean()), step)


def _metric(name: str, value: float, step: int, split: str = "train") -> Record:
    return {"event": "metric", "name": name, "value": value, "step": step, "split": split}
