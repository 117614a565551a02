"""How well masks are kept by the codes of the mask auto-encoder, by what a code reads.

The two phases of the auto-encoder alone, on patches of masks: Dice of held-out patches, decoded
from the deepest map itself and from the code. Vessels (HRF), then two structures in 3D::

    python benchmarks/generalisable/mask_codes.py --data DIR
    python benchmarks/generalisable/mask_codes.py --data DIR --task hippocampus --codes map
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_graphflow.distillation.generalisable.alignment import mean_dice
from napari_graphflow.distillation.generalisable.autoencoder import (
    STRIDE,
    MaskAutoencoder,
    first_phase_loss,
    one_hot,
    second_phase_loss,
)
from napari_graphflow.distillation.generalisable.fitting import FITTED
from napari_graphflow.distillation.generalisable.stages import (
    CLIP,
    CODES_RATE,
    POWER,
    WEIGHT_DECAY,
)
from napari_graphflow.imaging.labels import IGNORE

LENGTH, RATE = 128, 1e-3
HELD_OUT = 32


@dataclass(frozen=True)
class Task:
    """The masks, how many of them train, their classes, and the patches that are cut of them."""

    masks: str
    suffix: str
    labelled: int | None
    classes: int
    side: tuple[int, ...]
    batch: int

    def read(self, data: Path, part: str) -> list[NDArray[np.int64]]:
        """Read the masks of a part of the split."""
        names = json.loads((data / "splits.json").read_text())[self.masks][part]
        paths = [data / self.masks / "masks" / f"{name}{self.suffix}" for name in names]
        arrays = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in paths]
        return [np.minimum(array, self.classes - 1).astype(np.int64) for array in arrays]

    def patches(
        self, masks: list[NDArray[np.int64]], count: int, random: np.random.Generator
    ) -> Tensor:
        """Return random patches (count, *side); masks that are smaller are padded."""
        cut = []
        for _ in range(count):
            mask = masks[random.integers(len(masks))]
            short = [max(0, want - have) for want, have in zip(self.side, mask.shape, strict=True)]
            mask = np.pad(mask, [(one // 2, one - one // 2) for one in short])
            starts = [
                int(random.integers(have - want + 1))
                for want, have in zip(self.side, mask.shape, strict=True)
            ]
            cut.append(mask[tuple(map(slice, starts, np.add(starts, self.side)))])
        return torch.from_numpy(np.stack(cut))


TASKS = {
    "hrf": Task("hrf_quarter", ".png", None, 2, (64, 64), 8),
    "hippocampus": Task("hippocampus_msd", ".nii.gz", 12, 3, (32, 48, 32), 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", choices=TASKS, default="hrf")
    parser.add_argument("--steps", type=int, default=300, help="of each phase")
    parser.add_argument("--codes", nargs="*", default=["channels", "map"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = TASKS[options.task]
    training = task.read(options.data, "train")[: task.labelled]
    held_out = task.read(options.data, "val")
    shown = task.patches(held_out, HELD_OUT, np.random.default_rng(5))
    for codes in options.codes:
        torch.manual_seed(0)
        cells = tuple(one // STRIDE for one in task.side)
        net = MaskAutoencoder(task.classes, len(task.side), LENGTH, cells, codes)
        random = np.random.default_rng(0)

        def loss_of(
            phase: Callable[[MaskAutoencoder, Tensor, Tensor], Tensor],
            trained: Callable[[], torch.nn.Module],
            net: MaskAutoencoder = net,
            random: np.random.Generator = random,
        ) -> Tensor:
            net.eval()
            trained().train()
            labels = task.patches(training, task.batch, random)
            return phase(net, one_hot(labels, task.classes, IGNORE), labels)

        first = partial(loss_of, first_phase_loss, lambda net=net: net)
        train(net.convolutions(), net, first, options.steps, RATE)
        whole = dice(net, shown, from_code=False)
        fit(net, partial(task.patches, training, task.batch, np.random.default_rng(7)))
        second = partial(loss_of, second_phase_loss, lambda net=net: net.norm)
        train(net.header(), net, second, options.steps, RATE * CODES_RATE[codes])
        kept = dice(net, shown, from_code=True)
        print(
            f"{codes}: Dice {whole:.3f} from the deepest map, {kept:.3f} from the code", flush=True
        )


def train(
    parameters: list[torch.nn.Parameter],
    net: MaskAutoencoder,
    loss_of: Callable[[], Tensor],
    steps: int,
    rate: float,
) -> None:
    """Train some of the parameters of the auto-encoder, as a stage of a run does."""
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
def fit(net: MaskAutoencoder, draw: Callable[[], Tensor]) -> None:
    """Begin with principal components, as a stage of a run does."""
    net.eval()
    maps: list[Tensor] = []
    while sum(map(len, maps)) < FITTED:
        maps.append(net.features(one_hot(draw(), net.classes, IGNORE)))
    net.fit(torch.cat(maps))


@torch.no_grad()
def dice(net: MaskAutoencoder, labels: Tensor, *, from_code: bool) -> float:
    """Return the Dice of masks that are decoded from their codes, or from the map itself."""
    net.eval()
    masks = one_hot(labels, net.classes, IGNORE)
    size = labels.shape[1:]
    logits = net(masks).logits if from_code else net.decode(net.features(masks), size)
    both, total = mean_dice(logits, labels)
    return float((2 * both / total).mean())


if __name__ == "__main__":
    main()
