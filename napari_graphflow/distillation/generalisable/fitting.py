"""Codes of the whole map begin as solutions of linear problems, from patches that a stage sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_graphflow.distillation.generalisable.autoencoder import (
    MaskAutoencoder,
    pooled,
)
from napari_graphflow.networks.bottleneck import adapter_of
from napari_graphflow.networks.taps import evaluating
from napari_graphflow.system.events import Event, Phase, Progress

if TYPE_CHECKING:
    from napari_graphflow.config.networks import Role
    from napari_graphflow.distillation.generalisable.method import Generalisable
    from napari_graphflow.distillation.method import Material

#: Most training patches, and most numbers in their maps, which take 256 MB.
FITTED, MOST_NUMBERS = 2048, 2**26


@torch.no_grad()
def fit_codes(auto: MaskAutoencoder, material: Material, steps: int, name: str) -> Iterator[Event]:
    """Begin codes of masks or images with the principal components of their maps."""
    yield Phase(kind="preparing", name=f"fitting {name}")
    auto.eval()
    maps: list[Tensor] = []
    for progress, images, labels in _patches(material, steps, maps):
        yield progress
        maps.append(pooled(auto.features(auto.input_of(images, labels)), auto.grid))
    auto.fit(torch.cat(maps))


@torch.no_grad()
def fit_alignment(
    method: Generalisable,
    material: Material,
    role: Role,
    seen: Callable[[Tensor, int], Tensor],
    steps: int,
    name: str,
) -> Iterator[Event]:
    """Begin the codes of a network with those of the auto-encoder, by least squares.

    Parameters
    ----------
    method
        The method, whose auto-encoder is trained.
    material, role
        The networks, and which one is aligned.
    seen
        Changes the intensities of the images of a step as the stage does.
    steps
        Steps of the stage, whose patches are used.
    name
        The stage in words.
    """
    yield Phase(kind="preparing", name=f"fitting {name}")
    auto = method.autoencoder
    aligned = method.teacher_alignment if role == "teacher" else method.student_alignment
    network = adapter_of(material.teacher if role == "teacher" else material.student)
    maps: list[Tensor] = []
    codes: list[Tensor] = []
    for progress, images, labels in _patches(material, steps, maps):
        yield progress
        with evaluating(network):
            features = method.encode(role, network, seen(images, progress.step)).bottleneck
        maps.append(pooled(features.float(), aligned.grid))
        codes.append(auto.standardised(auto.input_of(images, labels)))
    aligned.fit(torch.cat(maps), torch.cat(codes))


def _patches(
    material: Material, steps: int, maps: list[Tensor]
) -> Iterator[tuple[Progress, Tensor, Tensor]]:
    """Yield the patches of the steps until there are maps enough."""
    total = steps
    for step in range(steps):
        yield Progress(step=step, total=total), *material.patches(step)
        wanted = min(FITTED, MOST_NUMBERS // maps[0][0].numel())
        total = min(steps, ceil(wanted / len(maps[0])))
        if sum(map(len, maps)) >= wanted:
            return
