"""The stages before the distillation: mask auto-encoder, student alone, alignment networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from napari_graphflow.config.generalisable import IMAGE_STAGES, STAGES
from napari_graphflow.config.networks import Role
from napari_graphflow.distillation.generalisable.alignment import (
    AlignmentNetwork,
    alignment_losses,
)
from napari_graphflow.distillation.generalisable.autoencoder import (
    first_phase_loss,
    second_phase_loss,
)
from napari_graphflow.distillation.generalisable.fitting import fit_alignment, fit_codes
from napari_graphflow.distillation.generalisable.gates import (
    gate_alignment,
    gate_autoencoder,
    measure_codes,
    measure_reliance,
)
from napari_graphflow.distillation.generalisable.views import random_stream
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.networks.bottleneck import adapter_of
from napari_graphflow.system.events import Event, Metric, Phase, Progress

if TYPE_CHECKING:
    from napari_graphflow.distillation.generalisable.method import Generalisable
    from napari_graphflow.distillation.method import Material

WEIGHT_DECAY, POWER, CLIP = 2e-4, 0.9, 5.0
#: The perceptron that reads channels is small and learns too slowly otherwise: after 150 steps
#: at 1e-3 its features had 1.3 of their variance as error, at 1e-2 0.8.
CODES_RATE = {"channels": 10.0, "map": 1.0}
#: From a least-squares solution, larger steps lead away: after 400 at 1e-3 the codes of vessels
#: explained 0.13 of the masks' codes, after 400 at 1e-4 0.42.
ALIGNMENT_RATE = {"channels": 1.0, "map": 0.1}
#: Share of the steps of the alignment networks with unchanged intensities.
CLEAN = 0.2


@dataclass(frozen=True)
class Stage:
    """One stage: what it trains, for how long, and what is measured at its end.

    `rate` is its learning rate, in units of that of the options.
    """

    name: str
    steps: Literal["autoencoder", "student", "alignment"]
    parameters: Callable[[], list[nn.Parameter]]
    losses: Callable[[Tensor, Tensor, int], dict[str, Tensor]]
    finish: Callable[[bool], Iterator[Event]]
    rate: float = 1.0


class Stages:
    """Train what is needed before the distillation; continues where a checkpoint ended.

    A stage is not trained where its result is given: a trained student, or the modules of an
    earlier run. Its measurements are repeated all the same.
    """

    def __init__(self, method: Generalisable) -> None:
        # In a tuple, so that the method is not registered as a module of its own.
        self._method = (method,)
        self.number, self.done = 0, 0
        self.optimiser: torch.optim.Optimizer | None = None
        self._saved: dict[str, Any] | None = None
        self.initial: dict[str, Tensor] | None = None
        self.pending: dict[str, float] | None = None

    @property
    def method(self) -> Generalisable:
        return self._method[0]

    def run(self, material: Material) -> Iterator[Event]:
        """Train the remaining stages."""
        method = self.method
        self.material = material
        stages = self._stages()
        given = self._given()
        for number, stage in enumerate(stages):
            if number < self.number:
                continue
            if self.done == 0 and self.optimiser is None and self._saved is None:
                self._begin(stage, given)
            if stage.name not in given:
                yield from self._train(stage)
            method.requires_grad_(False).eval()
            material.student.eval()
            yield Phase(kind="preparing", name=f"measuring {self._text(stage)}")
            yield from stage.finish(stage.name in given)
            self.number, self.done, self.optimiser, self._saved = number + 1, 0, None, None
        if self.initial is not None:
            adapter_of(material.student).load_state_dict(self.initial)
            self.initial = None
        method.requires_grad_(False).eval()
        material.student.requires_grad_(True).train()

    def _stages(self) -> list[Stage]:
        method, material = self.method, self.material
        auto = method.autoencoder
        student, teacher = material.student, material.teacher
        tan, san = method.teacher_alignment, method.student_alignment
        nothing: Callable[[bool], Iterator[Event]] = lambda given: iter(())  # noqa: E731
        return [
            Stage(
                "masks",
                "autoencoder",
                auto.convolutions,
                self._first_phase,
                nothing,
            ),
            Stage(
                "codes",
                "autoencoder",
                auto.header,
                self._second_phase,
                self._finish_codes,
                rate=CODES_RATE[method.options.read],
            ),
            Stage(
                "student",
                "student",
                lambda: list(student.parameters()),
                self._student_loss,
                self._finish_student,
            ),
            Stage(
                "teacher_alignment",
                "alignment",
                lambda: list(tan.parameters()),
                lambda x, y, step: self._alignment("teacher", tan, teacher, x, y, step),
                lambda given: self._finish_alignment("teacher", tan, teacher),
                rate=ALIGNMENT_RATE[method.options.read],
            ),
            Stage(
                "student_alignment",
                "alignment",
                lambda: list(san.parameters()),
                lambda x, y, step: self._alignment("student", san, student, x, y, step),
                lambda given: self._finish_alignment("student", san, student),
                rate=ALIGNMENT_RATE[method.options.read],
            ),
        ]

    def _text(self, stage: Stage) -> str:
        """Return the stage in words."""
        of_images = self.method.options.autoencoder_input == "image"
        return (STAGES | IMAGE_STAGES if of_images else STAGES)[stage.name]

    def _given(self) -> set[str]:
        """Return the names of the stages whose result is given."""
        found = set()
        parts = {name.partition(".")[0] for name in self.material.stages}
        if "autoencoder" in parts:
            found |= {"masks", "codes"}
        if "teacher_alignment" in parts:
            found.add("teacher_alignment")
        if self.material.student_weights is not None:
            found.add("student")
        return found

    def _begin(self, stage: Stage, given: set[str]) -> None:
        """Load what is given, and check what is to be learnt."""
        material, method = self.material, self.method
        if stage.name == "masks" and not any(_shows_structure(y) for _, y in material.training):
            raise UserError(
                "No mask of the training cases shows a structure: there is nothing to learn.",
                "Annotate a structure in at least one training case.",
            )
        if stage.name == "student":
            if method.options.student_init == "scratch":
                state = adapter_of(material.student).state_dict()
                self.initial = {name: value.clone() for name, value in state.items()}
            if material.student_weights is not None:
                adapter_of(material.student).load_state_dict(material.student_weights)
        if stage.name in given and stage.name in ("masks", "teacher_alignment"):
            part = {"masks": "autoencoder"}.get(stage.name, stage.name)
            mine = {
                name.partition(".")[2]: value
                for name, value in material.stages.items()
                if name.startswith(f"{part}.")
            }
            module = method.get_submodule(part)
            wanted = {name: value.shape for name, value in module.state_dict().items()}
            if {name: value.shape for name, value in mine.items()} != wanted:
                raise UserError(
                    f"The given stages do not fit: {self._text(stage)} has other layers or sizes.",
                    "Use the same classes, code length and patch size, or train the stages again.",
                )
            module.load_state_dict(mine)

    def _train(self, stage: Stage) -> Iterator[Event]:
        method, material = self.method, self.material
        total = method.options.steps_of(stage.steps, method.config.steps)
        if self._saved is None and method.options.read == "map":
            yield from self._fit(stage, total)
        yield Phase(kind="preparing", name=f"training {self._text(stage)}", steps=total)
        parameters = stage.parameters()
        for parameter in parameters:
            parameter.requires_grad_(True)
        rate = stage.rate * method.options.learning_rate
        optimiser = torch.optim.Adam(parameters, rate, weight_decay=WEIGHT_DECAY)
        if self._saved is not None:
            optimiser.load_state_dict(self._saved)
        self.optimiser, self._saved = optimiser, None
        while True:
            yield from self._report(stage, total)
            if self.done >= total:
                break
            # Random numbers depend only on seed, stage and step: a resumed run repeats them.
            torch.manual_seed((method.config.seed * 1_000_003 + self.done) * 7 + self.number)
            images, labels = material.patches(self.done)
            losses = stage.losses(images, labels, self.done)
            for group in optimiser.param_groups:
                group["lr"] = rate * (1 - self.done / total) ** POWER
            optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            nn.utils.clip_grad_norm_(parameters, CLIP)
            optimiser.step()
            self.done += 1
            self.pending = {name: float(loss.detach()) for name, loss in losses.items()}
        optimiser.zero_grad()

    def _report(self, stage: Stage, total: int) -> Iterator[Event]:
        """Report the losses of the last step; if paused meanwhile, again when resumed.

        Only after the step, because its pass has updated running statistics already.
        """
        if self.pending is None:
            return
        yield Progress(step=self.done, total=total)
        if self.done % max(1, total // 50) == 0 or self.done == total:
            for name, loss in self.pending.items():
                if not isfinite(loss):
                    raise FloatingPointError(
                        f"The loss ({name}) of {self._text(stage)} became infinite or NaN at step "
                        f"{self.done}."
                    )
                yield Metric(name=f"{stage.name}/{name}", value=loss, step=self.done)
        self.pending = None

    def _first_phase(self, images: Tensor, labels: Tensor, step: int) -> dict[str, Tensor]:
        auto = self.method.autoencoder
        auto.train()
        return {"loss": first_phase_loss(auto, auto.input_of(images, labels), labels)}

    def _second_phase(self, images: Tensor, labels: Tensor, step: int) -> dict[str, Tensor]:
        auto = self.method.autoencoder
        auto.eval()
        auto.norm.train()
        return {"loss": second_phase_loss(auto, auto.input_of(images, labels), labels)}

    def _fit(self, stage: Stage, steps: int) -> Iterator[Event]:
        """Begin codes of the whole map where least squares lead."""
        method, material = self.method, self.material
        auto = method.autoencoder
        if stage.name == "codes":
            yield from fit_codes(auto, material, steps, self._text(stage))
        elif stage.name.endswith("_alignment"):
            role: Role = "teacher" if stage.name == "teacher_alignment" else "student"
            yield from fit_alignment(method, material, role, self._seen, steps, self._text(stage))

    def _student_loss(self, images: Tensor, labels: Tensor, step: int) -> dict[str, Tensor]:
        """Return the supervised loss of the last stage, without the teacher."""
        method, student = self.method, adapter_of(self.material.student)
        student.train()
        share = method.options.share
        logits = student.logits(images).float()
        losses = {"supervised": (1 - share) * method.base(logits, labels)}
        if share:
            found = method.augmented(student, images, labels, "alone", step)
            losses["augmented"] = share * found
        return losses

    def _alignment(
        self,
        role: Role,
        aligned: AlignmentNetwork,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        step: int,
    ) -> dict[str, Tensor]:
        """Return the terms of alignment consistency training.

        Intensities are changed, and the mask is not, so that two renderings of one anatomy get the
        same code; a fifth of the steps leaves them as they are.
        """
        method, network = self.method, adapter_of(network)
        with torch.no_grad(), frozen(network):
            encoded = method.encode(role, network, self._seen(images, step))
            auto = method.autoencoder
            wanted = auto.standardised(auto.input_of(images, labels))
        codes, expanded = aligned(encoded.bottleneck)
        with frozen(network):
            logits = encoded.decode(expanded)
        return alignment_losses(codes, wanted, expanded, encoded.bottleneck, logits, labels)

    def _seen(self, images: Tensor, step: int) -> Tensor:
        """Return the images of a step of an alignment network, most with other intensities."""
        method = self.method
        random = random_stream(method.config.seed, "alignment", step)
        if random.random() < CLEAN:
            return images
        kind = int(random.integers(method.options.views))
        return method.view(images, kind, "alignment", step)

    def _finish_codes(self, given: bool) -> Iterator[Event]:
        if not given:
            yield from measure_codes(self.method, self.material)
        yield from gate_autoencoder(self.method, self.material)

    def _finish_student(self, given: bool) -> Iterator[Event]:
        material = self.material
        yield from measure_reliance(self.method, material, "teacher", material.teacher)
        yield from measure_reliance(self.method, material, "student", material.student)

    def _finish_alignment(
        self, role: Role, aligned: AlignmentNetwork, network: nn.Module
    ) -> Iterator[Event]:
        yield from gate_alignment(self.method, self.material, role, aligned, network)

    def checkpoint(self) -> dict[str, Any]:
        """Return the progress."""
        state: dict[str, Any] = {
            "stage": self.number,
            "done": self.done,
            "pending": self.pending,
        }
        if self.optimiser is not None:
            state["stage_optimiser"] = self.optimiser.state_dict()
        elif self._saved is not None:
            state["stage_optimiser"] = self._saved
        if self.initial is not None:
            state["initial"] = self.initial
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the progress of :meth:`checkpoint`."""
        self.number, self.done = state["stage"], state["done"]
        self.pending = state["pending"]
        self._saved = state.get("stage_optimiser")
        self.initial = state.get("initial")


def _shows_structure(labels: Tensor) -> bool:
    return bool(((labels > 0) & (labels != IGNORE)).any())


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode without gradients of its weights, for a while."""
    modes = [(layer, layer.training) for layer in network.modules()]
    needed = [(weight, weight.requires_grad) for weight in network.parameters()]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
        for weight, required in needed:
            weight.requires_grad_(required)
