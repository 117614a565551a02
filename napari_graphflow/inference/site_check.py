"""Whether images are like those that a model learnt from, from codes of its bottleneck.

The code of an image is the mean of the student's bottleneck over windows side by side: a student
needs nothing else, so that this works for any network with a bottleneck. The codes of source images
are saved with the model. It says how differently the network describes the images, never how good
its masks are.
"""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.inference.whole_volume import window_size
from napari_graphflow.inference.windows import plan_windows
from napari_graphflow.system.install import install_hint

if TYPE_CHECKING:
    from torch import nn

    from napari_graphflow.distillation.generalisable.distances import SiteGap
    from napari_graphflow.inference.predict import LoadedModel

#: File of the codes in a model's folder.
SOURCE = "source.safetensors"
#: Source images that are described, at most, and windows of an image.
MOST_IMAGES, MOST_WINDOWS = 60, 64
#: Probability below which a gap is not by chance.
SURE = 0.05

Codes = NDArray[np.float32]
Describe = Callable[[NDArray[np.float32]], Codes]


@dataclass(frozen=True)
class SiteReport:
    """What is said about the site of some images.

    Attributes
    ----------
    text
        One or two sentences.
    unlike
        Whether the images differ from the source by more than chance and its own spread.
    found
        The numbers; None if there are too few images.
    """

    text: str
    unlike: bool = False
    found: "SiteGap | None" = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        numbers = {} if self.found is None else self.found._asdict()
        return {"text": self.text, "unlike": self.unlike, **numbers}


def image_code(module: "nn.Module", array: NDArray[np.float32], patch: Sequence[int]) -> Codes:
    """Return the code (d,) of a preprocessed image (C, *spatial).

    Parameters
    ----------
    module
        The network, in evaluation mode.
    array
        The image.
    patch
        Patch size; with fewer axes than the image, its slices are described.
    """
    import torch

    from napari_graphflow.networks.bottleneck import encode

    shape = array.shape[1:]
    slices = len(shape) > len(patch)
    size = window_size(shape[slices:], patch)
    windows = plan_windows(shape, (1, *size) if slices else size, 0.0, 0 if slices else None)
    short = [max(0, n - have) for n, have in zip(windows.shape, shape, strict=True)]
    padded = np.pad(array, [(0, 0), *((0, n) for n in short)], mode="edge") if any(short) else array
    positions = windows.positions
    step = -(-len(positions) // MOST_WINDOWS)
    device = next(module.parameters()).device
    total, count = torch.zeros(()), 0
    for position in positions[step // 2 :: step]:
        window = np.array(padded[(slice(None), *windows.region(position))])
        x = torch.from_numpy(window).float().to(device)[None]
        with torch.inference_mode():
            deepest = encode(module, x[:, :, 0] if slices else x).bottleneck
            total = total + deepest.float().flatten(2).mean(2)[0].cpu()
        count += 1
    code: Codes = (total / count).numpy().astype(np.float32)
    return code


def image_quantiles(array: NDArray[np.float32]) -> Codes:
    """Return 101 quantiles of each channel of a preprocessed image, (C, 101)."""
    flat = array.reshape(len(array), -1)
    # A regular sample of large images; quantiles of all voxels take longer than the network.
    step = max(1, flat.shape[1] // 1_000_000)
    found: Codes = np.quantile(flat[:, ::step], np.linspace(0, 1, 101), axis=1).T
    return found.astype(np.float32)


def matched(array: NDArray[np.float32], source: Codes) -> NDArray[np.float32]:
    """Map the intensities of a preprocessed image to the quantiles of the source, by channel.

    Parameters
    ----------
    array
        (C, *spatial).
    source
        (C, 101), mean of `image_quantiles` over source images.
    """
    own = image_quantiles(array)
    result = np.empty_like(array, np.float32)
    for channel, (x, before, after) in enumerate(zip(array, own, source, strict=True)):
        levels, first = np.unique(before, return_index=True)  # np.interp needs them to increase
        result[channel] = np.interp(x, levels, after[first])
    return result


def save_codes(
    folder: Path, codes: Sequence[Codes], quantiles: Sequence[Codes] | None = None
) -> None:
    """Write the codes of source images into a model's folder; a file that was there is replaced.

    Parameters
    ----------
    codes
        (d,) of each image.
    quantiles
        `image_quantiles` of each image, whose mean is saved.
    """
    from safetensors.numpy import save_file

    from napari_graphflow.system.files import written_aside

    content = {"codes": np.stack(codes).astype(np.float32)}
    if quantiles:
        content["quantiles"] = np.mean(quantiles, 0).astype(np.float32)
    with written_aside(folder / SOURCE) as aside:
        aside.touch()
        mode = stat.S_IMODE(aside.stat().st_mode)
        save_file(content, aside)
        aside.chmod(mode)  # safetensors lets only this user read its files


def read_quantiles(folder: Path) -> Codes:
    """Return the quantiles (C, 101) of the intensities of source images.

    Raises
    ------
    UserError
        If the model has none.
    """
    if find_spec("safetensors") is None:
        raise UserError("Matching intensities needs PyTorch.", f"{install_hint('train')}.")
    from safetensors.numpy import load_file

    path = Path(folder) / SOURCE
    found = load_file(path) if path.is_file() else {}
    if "quantiles" not in found:
        raise UserError(
            "The model does not know the intensities of the images it learnt from.",
            f"Run “napari-graphflow models describe {folder} --dataset DATASET” with its dataset, "
            "or do not match intensities.",
        )
    quantiles: Codes = found["quantiles"]
    return quantiles


def read_codes(folder: Path) -> Codes | None:
    """Return the codes (n, d) of the source images of a model; None if it has none."""
    from safetensors.numpy import load_file

    path = Path(folder) / SOURCE
    if not path.is_file():
        return None
    codes: Codes = load_file(path)["codes"]
    return codes


def site_report(source: Codes, codes: Sequence[Codes]) -> SiteReport:
    """Compare the codes of images with those of the source.

    Parameters
    ----------
    source
        (n, d), saved with the model.
    codes
        (d,) of each image.
    """
    from napari_graphflow.distillation.generalisable.distances import FEWEST_IMAGES, site_gap

    few = min(len(source), len(codes))
    if few < FEWEST_IMAGES:
        whose = f"Too few images ({len(codes)})"
        if len(source) < FEWEST_IMAGES:
            whose = f"Too few images were described when this model was trained ({len(source)})"
        return SiteReport(
            f"{whose} to say whether these are like what it learnt from: {FEWEST_IMAGES} are "
            "needed."
        )
    found = site_gap(source, np.stack(codes))
    unlike = found.p_value <= SURE and found.gap > max(found.control, 0)
    numbers = (
        f"site gap {found.gap:.2f}, same site {found.control:.2f}, p = {found.p_value:.3f}, "
        f"{found.m} images against {found.n}"
    )
    if unlike:
        text = f"These images are unlike what this model learnt from ({numbers}). Check its masks."
    else:
        text = f"These images are like what this model learnt from ({numbers})."
    return SiteReport(f"{text} This does not say how accurate the masks are.", unlike, found)


#: Codes of the images that were segmented in this process, by model; each image once.
_seen: dict[str, dict[bytes, Codes]] = {}


def session_report(folder: str, model: "LoadedModel", code: Codes | None) -> dict[str, Any] | None:
    """Compare all images that this process segmented with a model; None if it knows no source."""
    if model.source is None or code is None:
        return None
    seen = _seen.setdefault(folder, {})
    seen[code.tobytes()] = code
    return site_report(model.source, list(seen.values())).as_dict()
