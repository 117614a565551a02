"""How well masks of vessels are kept by the codes of the mask auto-encoder, by what a code reads.

The two phases of the auto-encoder alone, on 64 x 64 patches of the masks of HRF: Dice of held-out
patches, decoded from the deepest map itself and from the code. Four minutes on one core::

    python benchmarks/generalisable/mask_codes.py --data DIR
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from napari_graphflow.distillation.generalisable.alignment import mean_dice
from napari_graphflow.distillation.generalisable.autoencoder import (
    MaskAutoencoder,
    first_phase_loss,
    one_hot,
    second_phase_loss,
)
from napari_graphflow.distillation.generalisable.stages import (
    CLIP,
    CODES_RATE,
    FITTED,
    POWER,
    WEIGHT_DECAY,
)
from napari_graphflow.imaging.labels import IGNORE

SIDE, BATCH, LENGTH, RATE = 64, 8, 128, 1e-3
HELD_OUT = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300, help="of the first phase")
    parser.add_argument("--codes", nargs="*", default=["channels", "map"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    split = json.loads((options.data / "splits.json").read_text())["hrf_quarter"]
    training, held_out = (
        [_mask(options.data / "hrf_quarter" / "masks" / f"{name}.png") for name in split[part]]
        for part in ("train", "val")
    )
    shown = patches(held_out, HELD_OUT, np.random.default_rng(5))
    for codes in options.codes:
        torch.manual_seed(0)
        cells = SIDE // 8
        net = MaskAutoencoder(2, 2, LENGTH, (cells, cells), codes)
        random = np.random.default_rng(0)

        def first(net: MaskAutoencoder = net, random: np.random.Generator = random) -> Tensor:
            net.train()
            labels = patches(training, BATCH, random)
            return first_phase_loss(net, one_hot(labels, 2, IGNORE), labels)

        def second(net: MaskAutoencoder = net, random: np.random.Generator = random) -> Tensor:
            net.eval()
            net.norm.train()
            labels = patches(training, BATCH, random)
            return second_phase_loss(net, one_hot(labels, 2, IGNORE), labels)

        train(net, net.convolutions(), first, options.steps, RATE)
        whole = dice(net, shown, from_code=False)
        fit(net, training, np.random.default_rng(7))
        train(net, net.header(), second, options.steps, RATE * CODES_RATE[codes])
        kept = dice(net, shown, from_code=True)
        print(
            f"{codes}: Dice {whole:.3f} from the deepest map, {kept:.3f} from the code", flush=True
        )


def train(
    net: MaskAutoencoder,
    parameters: list[torch.nn.Parameter],
    loss_of: Callable[[], Tensor],
    steps: int,
    rate: float,
) -> None:
    """Train some of the parameters, as a stage of a run does."""
    net.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, rate, weight_decay=WEIGHT_DECAY)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps) ** POWER
        optimiser.zero_grad()
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()


@torch.no_grad()
def fit(net: MaskAutoencoder, masks: list[NDArray[np.int64]], random: np.random.Generator) -> None:
    """Begin with principal components, as a stage of a run does."""
    net.eval()
    count = range(FITTED // BATCH)
    drawn = (one_hot(patches(masks, BATCH, random), 2, IGNORE) for _ in count)
    net.fit(torch.cat([net.features(one) for one in drawn]))


def patches(masks: list[NDArray[np.int64]], count: int, random: np.random.Generator) -> Tensor:
    """Return random patches (count, SIDE, SIDE)."""
    cut = []
    for _ in range(count):
        mask = masks[random.integers(len(masks))]
        y, x = (int(random.integers(side - SIDE + 1)) for side in mask.shape)
        cut.append(mask[y : y + SIDE, x : x + SIDE])
    return torch.from_numpy(np.stack(cut))


@torch.no_grad()
def dice(net: MaskAutoencoder, labels: Tensor, *, from_code: bool) -> float:
    """Return the Dice of masks that are decoded from their codes, or from the map itself."""
    net.eval()
    masks = one_hot(labels, 2, IGNORE)
    size = labels.shape[1:]
    logits = net(masks).logits if from_code else net.decode(net.features(masks), size)
    both, total = mean_dice(logits, labels)
    return float(2 * both / total)


def _mask(path: Path) -> NDArray[np.int64]:
    return (np.asarray(Image.open(path).convert("L")) > 127).astype(np.int64)


if __name__ == "__main__":
    main()
