"""Codes of the whole map begin as solutions of linear problems, from patches that a stage sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_graphflow.distillation.generalisable.alignment import AlignmentNetwork
from napari_graphflow.distillation.generalisable.autoencoder import (
    MaskAutoencoder,
    one_hot,
    pooled,
)
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.networks.bottleneck import adapter_of, encode
from napari_graphflow.networks.taps import evaluating
from napari_graphflow.system.events import Event, Phase, Progress

if TYPE_CHECKING:
    from napari_graphflow.distillation.method import Material

#: Most training patches, and most numbers in their maps, which take 256 MB.
FITTED, MOST_NUMBERS = 2048, 2**26


@torch.no_grad()
def fit_codes(auto: MaskAutoencoder, material: Material, steps: int, name: str) -> Iterator[Event]:
    """Begin codes of masks with the principal components of their maps."""
    yield Phase(kind="preparing", name=f"fitting {name}")
    auto.eval()
    maps: list[Tensor] = []
    for step, _, labels in _patches(material, steps, maps):
        yield Progress(step=step, total=steps)
        maps.append(pooled(auto.features(one_hot(labels, auto.classes, IGNORE)), auto.grid))
    auto.fit(torch.cat(maps))


@torch.no_grad()
def fit_alignment(
    aligned: AlignmentNetwork,
    network: nn.Module,
    auto: MaskAutoencoder,
    material: Material,
    seen: Callable[[Tensor, int], Tensor],
    steps: int,
    name: str,
) -> Iterator[Event]:
    """Begin the codes of a network with those of the masks, by least squares.

    Parameters
    ----------
    aligned, network
        The alignment network, and the network whose bottleneck it reads.
    auto
        The mask auto-encoder, which is trained.
    seen
        Changes the intensities of the images of a step as the stage does.
    steps
        Steps of the stage, whose patches are used.
    name
        The stage in words.
    """
    yield Phase(kind="preparing", name=f"fitting {name}")
    network = adapter_of(network)
    maps: list[Tensor] = []
    codes: list[Tensor] = []
    for step, images, labels in _patches(material, steps, maps):
        yield Progress(step=step, total=steps)
        with evaluating(network):
            features = encode(network, seen(images, step)).bottleneck
        maps.append(pooled(features.float(), aligned.grid))
        codes.append(auto.standardised(one_hot(labels, auto.classes, IGNORE)))
    aligned.fit(torch.cat(maps), torch.cat(codes))


def _patches(
    material: Material, steps: int, maps: list[Tensor]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the patches of the steps until there are maps enough."""
    for step in range(steps):
        yield step, *material.patches(step)
        if sum(map(len, maps)) >= min(FITTED, MOST_NUMBERS // maps[0][0].numel()):
            return
