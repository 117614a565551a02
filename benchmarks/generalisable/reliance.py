"""How much a network uses a feature map: its Dice, less that with the map of another image.

On random patches of the validation cases of a site; TAP is ``bottleneck`` where none is given::

    python benchmarks/generalisable/reliance.py WORK/vessels HRF MODEL MODEL@decoder MODEL@decoder_2
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.distillation.generalisable.alignment import mean_dice
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.models.saved import load_model
from napari_graphflow.networks.bottleneck import BOTTLENECK, encode
from napari_graphflow.networks.taps import evaluating

PATCHES, SIDE = 16, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("site")
    parser.add_argument("models", nargs="+", metavar="MODEL[@TAP]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = Dataset.open(options.dataset)
    cases = [case for case in dataset.labelled("val") if case.site == options.site]
    for given in options.models:
        model, _, tap = given.partition("@")
        own, other = measured(Path(model), tap or BOTTLENECK, dataset, cases)
        name = f"{Path(model).name} at {tap or BOTTLENECK}"
        print(f"{name}: Dice {own:.3f}, with that of another image {other:.3f}", flush=True)


@torch.no_grad()
def measured(folder: Path, tap: str, dataset: Dataset, cases: list[Case]) -> tuple[float, float]:
    """Return the Dice with the map of the image itself, and with that of the patch before."""
    card, network = read_model_card(folder), load_model(folder).module
    random, counts = np.random.default_rng(0), torch.zeros(2, 2, len(card.classes) - 1)
    for case in cases:
        image = torch.as_tensor(prepare(read_case(case), card.preprocessing).array).float()
        labels = torch.as_tensor(read_case_labels(dataset, case).array.astype(np.int64))
        images, masks = patches(image, labels, random)
        with evaluating(network):
            encoded = encode(network, images, tap=tap)
            here = encoded.bottleneck
            for row, shown in enumerate((here, here.roll(1, 0))):
                counts[row] += torch.stack(mean_dice(encoded.decode(shown), masks))
    own, other = (2 * both / size.clamp_min(1) for both, size in counts)
    return float(own.mean()), float(other.mean())


def patches(image: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return random patches (N, C, SIDE, SIDE) of an image and of its labels."""
    height, width = labels.shape
    places = [
        (random.integers(height - SIDE + 1), random.integers(width - SIDE + 1))
        for _ in range(PATCHES)
    ]
    cut = [(..., slice(y, y + SIDE), slice(x, x + SIDE)) for y, x in places]
    return torch.stack([image[one] for one in cut]), torch.stack([labels[one] for one in cut])


if __name__ == "__main__":
    main()
