"""What is measured at the end of each stage, on unaugmented patches of source cases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_graphflow.config.generalisable import (
    LARGEST_LOSS,
    LEAST_DICE,
    LEAST_MASK_DICE,
    LEAST_R2,
    LEAST_RELIANCE,
    LEAST_SPREAD,
)
from napari_graphflow.distillation.generalisable.alignment import (
    AlignmentNetwork,
    mean_dice,
    r_squared,
    spread,
)
from napari_graphflow.distillation.generalisable.autoencoder import ImageAutoencoder, feature_error
from napari_graphflow.networks.bottleneck import adapter_of
from napari_graphflow.networks.taps import evaluating
from napari_graphflow.system.events import Event, Metric, Progress, Warned

if TYPE_CHECKING:
    from napari_graphflow.config.networks import Role
    from napari_graphflow.distillation.generalisable.method import Generalisable
    from napari_graphflow.distillation.method import Material, Patches


@torch.no_grad()
def measure_codes(method: Generalisable, material: Material) -> Iterator[Event]:
    """Measure mean and deviation of the codes of the training masks."""
    auto, codes = method.autoencoder, []
    for number, (images, labels) in enumerate(material.training, 1):
        yield Progress(step=number, total=len(material.training))
        codes.append(auto.codes(auto.features(auto.input_of(images, labels))))
    joined = torch.cat(codes).double().cpu()
    auto.mean.copy_(joined.mean(0))
    auto.deviation.copy_(joined.std(0, unbiased=False))


@torch.no_grad()
def gate_autoencoder(method: Generalisable, material: Material) -> Iterator[Event]:
    """Measure the Dice of masks, or R2 of images, that are decoded from their codes."""
    auto, score, errors = method.autoencoder, _Dice(), []
    of_images = isinstance(auto, ImageAutoencoder)
    patches = _held_out(material)
    for number, (images, labels) in enumerate(patches, 1):
        yield Progress(step=number, total=len(patches))
        seen = auto.input_of(images, labels)
        decoded = auto(seen).logits
        if of_images:
            errors.append(feature_error(decoded, seen))
        else:
            score.add(decoded, labels)
    if of_images:
        yield from _gate_images(method, material, 1 - float(torch.stack(errors).mean()))
        return
    dice = score.value()
    yield from _recorded(method, material, {"masks_dice": dice})
    if dice < LEAST_MASK_DICE:
        yield Warned(
            code="gate",
            text=f"The mask auto-encoder reproduces masks with a Dice of only {dice:.2f}, so that "
            "its codes say little about the anatomy. Train it longer (autoencoder steps).",
        )


def _gate_images(method: Generalisable, material: Material, r2: float) -> Iterator[Event]:
    yield from _recorded(method, material, {"images_r2": r2})
    if not r2 > LEAST_R2:
        yield Warned(
            code="gate",
            text=f"The image auto-encoder explains only {r2:.2f} of the variance of images (more "
            f"than {LEAST_R2} is wanted), so that its codes say little about them. Train it longer "
            "(autoencoder steps).",
        )


@torch.no_grad()
def measure_reliance(
    method: Generalisable, material: Material, role: Role, network: nn.Module
) -> Iterator[Event]:
    """Measure how much Dice depends on the bottleneck: that of another image takes its place."""
    own, shuffled, network = _Dice(), _Dice(), adapter_of(network)
    before: Tensor | None = None
    patches = _held_out(material)
    for number, (images, labels) in enumerate(patches, 1):
        yield Progress(step=number, total=len(patches))
        with evaluating(network):
            encoded = method.encode(role, network, images)
            here = encoded.bottleneck
            other = here.roll(1, 0) if len(here) > 1 else before
            if other is not None and other.shape == here.shape:
                own.add(encoded.decode(here), labels)
                shuffled.add(encoded.decode(other), labels)
            before = here
    reliance = own.value() - shuffled.value()
    yield from _recorded(method, material, {f"{role}_bottleneck_reliance": reliance})
    # Of a network that finds next to nothing, this says nothing.
    if reliance < LEAST_RELIANCE and own.value() >= LEAST_DICE:
        yield Warned(
            code="gate",
            text=f"The {role} hardly uses its feature map {method.recorded[role]}: its Dice of "
            f"{own.value():.2f} changes by {reliance:.3f} with that of another image. This method "
            f"teaches through this map, so expect little of it. Choose one nearer to the output "
            f"({role}_tap), another network, or logits distillation.",
        )


@torch.no_grad()
def gate_alignment(
    method: Generalisable,
    material: Material,
    role: Role,
    aligned: AlignmentNetwork,
    network: nn.Module,
) -> Iterator[Event]:
    """Measure codes against those of the masks, and Dice through the header."""
    auto, network = method.autoencoder, adapter_of(network)
    own, through, codes, wanted, errors = _Dice(), _Dice(), [], [], []
    patches = _held_out(material)
    for number, (images, labels) in enumerate(patches, 1):
        yield Progress(step=number, total=len(patches))
        with evaluating(network):
            encoded = method.encode(role, network, images)
            code, expanded = aligned(encoded.bottleneck)
            own.add(encoded.decode(encoded.bottleneck), labels)
            through.add(encoded.decode(expanded), labels)
        codes.append(code)
        wanted.append(auto.standardised(auto.input_of(images, labels)))
        errors.append(feature_error(expanded, encoded.bottleneck))
    z, target = torch.cat(codes), torch.cat(wanted)
    explained, loss = r_squared(z, target), own.value() - through.value()
    width = spread(z) / max(spread(target), 1e-12)
    numbers = {
        "r2": explained,
        "dice": own.value(),
        "dice_through_header": through.value(),
        "feature_error": float(torch.stack(errors).mean()),
        "code_spread": width,
    }
    yield from _recorded(method, material, {f"{role}_{name}": n for name, n in numbers.items()})
    whose = f"{method.options.autoencoder_input}s'"
    failed = {
        f"its codes explain {explained:.2f} of the {whose} codes (more than {LEAST_R2} is wanted)":
            not explained > LEAST_R2,
        f"its header costs {loss:.3f} of Dice (at most {LARGEST_LOSS})": not loss <= LARGEST_LOSS,
        f"its codes hardly differ between images ({width:.2f} of the {whose})":
            not width > LEAST_SPREAD,
    }  # fmt: skip
    if any(failed.values()):
        reasons = "; ".join(text for text, bad in failed.items() if bad)
        yield Warned(
            code="gate",
            text=f"The alignment of the {role} is weak: {reasons}. Train it longer (alignment "
            "steps), or add labelled cases.",
        )


class _Dice:
    """Mean Dice over the structures, pooled over patches."""

    def __init__(self) -> None:
        self.both = self.size = torch.zeros((), dtype=torch.float64)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        both, size = mean_dice(logits, labels)
        self.both, self.size = self.both + both, self.size + size

    def value(self) -> float:
        present = self.size > 0
        if not bool(present.any()):
            return float("nan")
        return float((2 * self.both[present] / self.size[present]).mean())


def _held_out(material: Material) -> Patches:
    return material.held_out if len(material.held_out) else material.training


def _recorded(
    method: Generalisable, material: Material, numbers: dict[str, float]
) -> Iterator[Event]:
    """Keep numbers for the model card and report them."""
    for name, value in numbers.items():
        method.measured[name] = value
        held_out = len(material.held_out) > 0
        yield Metric(name=f"gate/{name}", value=value, step=0, split="val" if held_out else "train")
