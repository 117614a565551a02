"""Graph Flow as a method: paraphrasers first, then logits, vertex and edge terms."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn

from napari_graphflow.config import DistillationConfig
from napari_graphflow.distillation import Method, Record
from napari_graphflow.distillation.graph_flow import (
    VariationGraph,
    graph_flow_loss,
    patch_energy,
    variation_graph,
)
from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.distillation.paraphraser import Paraphraser
from napari_graphflow.errors import UserError
from napari_graphflow.networks import Output

#: Batches over which the reconstruction and the energy of the teacher's patches are measured.
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
        }
        self.paraphrasers = nn.ModuleDict()

    def build(self, student: Output, teacher: Output) -> None:
        for encoder, decoder in self._pairs(student, teacher):
            for tap in (encoder, decoder):
                features = teacher.taps[tap]
                self.paraphrasers[tap] = Paraphraser(
                    features.shape[1], student.taps[tap].shape[1], features.ndim - 2
                )
            if student.taps[encoder].shape[1] != student.taps[decoder].shape[1]:
                raise UserError(
                    "The student's encoder and decoder taps have different numbers of channels "
                    f"({student.taps[encoder].shape[1]} and {student.taps[decoder].shape[1]}), so "
                    "no variation between them can be formed.",
                    "Choose taps of equal width, or another student.",
                )
            self.register_buffer(f"energy_{encoder}", torch.ones(()))
        self.to(teacher.logits.device)

    def prepare(self, teacher: Iterable[Output]) -> Iterator[Record]:
        outputs = iter(teacher)
        optimiser = torch.optim.Adam(self.paraphrasers.parameters(), lr=1e-3)
        total = self.options.paraphraser_steps
        for step, output in enumerate(islice(outputs, total), start=1):
            losses = {
                tap: self._paraphraser(tap).loss(output.taps[tap]) for tap in self.paraphrasers
            }
            optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimiser.step()
            yield {"event": "progress", "step": step, "total": total}
            if step % max(1, total // 50) == 0 or step == total:
                for tap, loss in losses.items():
                    yield _metric(f"paraphraser/{tap}", loss.item(), step)
        self.paraphrasers.requires_grad_(False).eval()
        yield from self._measure(list(islice(outputs, MEASURED_BATCHES)), total)

    def terms(self, student: Output, teacher: Output) -> dict[str, Tensor]:
        terms = {"logits": logits_loss(student.logits, teacher.logits, self.config.temperature)}
        vertices, edges = [], []
        for encoder, decoder in self._pairs(student, teacher):
            graph_s = self._graph(student.taps[encoder], student.taps[decoder])
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
        return terms | {"vertices": torch.stack(vertices).sum(), "edges": torch.stack(edges).sum()}

    def _pairs(self, student: Output, teacher: Output) -> list[tuple[str, str]]:
        names = ["", "_2", "_3"][: self.options.tap_pairs]
        pairs = [(f"encoder{n}", f"decoder{n}") for n in names]
        for pair in pairs:
            for role, output in (("student", student), ("teacher", teacher)):
                if missing := set(pair) - set(output.taps):
                    raise UserError(
                        f"The {role} has no tap {min(missing)}.",
                        f"It has {', '.join(output.taps)}; use fewer tap pairs or name its taps.",
                    )
        return pairs

    @torch.no_grad()
    def _paraphrase(self, teacher: Output, encoder: str, decoder: str) -> tuple[Tensor, Tensor]:
        first, second = self._paraphraser(encoder), self._paraphraser(decoder)
        return first.encode(teacher.taps[encoder]), second.encode(teacher.taps[decoder])

    def _paraphraser(self, tap: str) -> Paraphraser:
        return cast(Paraphraser, self.paraphrasers[tap])

    def _graph(self, encoder: Tensor, decoder: Tensor) -> VariationGraph:
        return variation_graph(encoder, decoder, self.options.patch, mode=self.options.salience)

    @torch.no_grad()
    def _measure(self, held_out: list[Output], step: int) -> Iterator[Record]:
        """Reconstruction of each tap and patch energy, on batches that were not trained on."""
        for tap in self.paraphrasers:
            r_squared = self._paraphraser(tap).r_squared(output.taps[tap] for output in held_out)
            yield _metric(f"paraphraser/r2_{tap}", r_squared, step)
        for encoder in [name for name in self.paraphrasers if name.startswith("encoder")]:
            decoder = encoder.replace("encoder", "decoder")
            graphs = (
                self._graph(*self._paraphrase(output, encoder, decoder)) for output in held_out
            )
            energy = torch.stack([patch_energy(graph) for graph in graphs]).mean()
            self.get_buffer(f"energy_{encoder}").copy_(energy)
            yield _metric(f"graph/energy_{encoder}", float(energy), step)


def _metric(name: str, value: float, step: int) -> Record:
    return {"event": "metric", "name": name, "value": value, "step": step, "split": "train"}
