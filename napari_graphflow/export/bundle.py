"""Write a model as a MONAI bundle, for `monai.bundle`, MONAI Label and 3D Slicer."""

import json
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.errors import UserError
from napari_graphflow.export.script import copy_script
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.models.openvino_form import example_window, plain_logits
from napari_graphflow.models.saved import Model

Transform = dict[str, Any]


def write_bundle(model: Model, folder: Path, images: Sequence[Volume] = ()) -> None:
    """Write ``configs/metadata.json``, ``configs/inference.json`` and ``models/model.ts``.

    Raises
    ------
    UserError
        If MONAI has no equivalent of a step before the network.
    """
    card = model.card
    config, facts = inference(card), metadata(card)
    for name in ("configs", "models"):
        (folder / name).mkdir()
    for name, content in (("inference", config), ("metadata", facts)):
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content, indent=1), "utf-8")
    with warnings.catch_warnings(action="ignore"):  # torch deprecates TorchScript, MONAI needs it
        plain = torch.jit.trace(plain_logits(model.adapter), example_window(model))
        torch.jit.script(_Padded(plain, list(model.multiples))).save(folder / "models" / "model.ts")
    copy_script("bundle_script", folder)


class _Padded(nn.Module):
    """A network with its padding, as `networks.taps.TapAdapter`, in TorchScript."""

    def __init__(self, network: nn.Module, multiple: list[int]) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple

    def forward(self, x: Tensor) -> Tensor:
        target: list[int] = []
        single, several = True, False
        for axis, m in enumerate(self.multiple):
            target.append(-(-x.size(axis + 2) // m) * m)
            single = single and target[axis] == m
            several = several or m > 1
        if single and several:
            target[-1] *= 2
        extra: list[int] = []
        for axis in range(len(target) - 1, -1, -1):
            extra.extend([0, target[axis] - x.size(axis + 2)])
        y: Tensor = self.network(functional.pad(x, extra, mode="replicate"))
        for axis in range(len(target)):
            y = y.narrow(axis + 2, 0, x.size(axis + 2))
        return y


def inference(card: ModelCard) -> dict[str, Any]:
    """Return ``inference.json``."""
    classes = len(card.classes)
    several = f"[f'{{i[:-12]}}_{{c:04}}.nii.gz' for c in range({card.in_channels})]"
    pattern, one = ("*.nii.gz", "i") if card.in_channels == 1 else ("*_0000.nii.gz", several)
    inferer: Transform = {
        "_target_": "SlidingWindowInferer" if card.dims == 3 else "SliceInferer",
        "roi_size": list(card.patch_size),
        "sw_batch_size": 2 if card.dims == 3 else 8,
        "overlap": card.overlap,
        "mode": "gaussian",
    }
    after: list[Transform] = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_dtype": "$np.uint8" if classes <= 256 else "$np.uint16",
            "separate_folder": False,
            "resample": False,
        },
    ]
    return {
        "imports": ["$import glob", "$import numpy as np"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "images": f"$[{one} for i in sorted(glob.glob(@dataset_dir + '/{pattern}'))]",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "@device",
        },
        "network": "@network_def",
        "preprocessing": {"_target_": "Compose", "transforms": before(card)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @images]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": inferer | ({"spatial_dim": 0} if card.dims == 2 else {}),
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def before(card: ModelCard) -> list[Transform]:
    """Return the transforms before the network.

    Raises
    ------
    UserError
        If MONAI has no equivalent.
    """
    steps = card.preprocessing
    flat = steps.size is not None or (card.dims == 2 and card.modality == "RGB")
    if flat or steps.orientation == "stored" or steps.channel_intensity:
        what = (
            "2D images" if flat else
            "images as they are stored" if steps.orientation == "stored" else
            "channels that are scaled in several ways"
        )  # fmt: skip
        raise UserError(
            f"A MONAI bundle cannot describe the steps of {card.name}: {what}.",
            "Export it to onnx or openvino, whose script computes all steps itself.",
        )
    image = {"keys": "image"}
    transforms: list[Transform] = [
        {"_target_": "LoadImaged", **image, "ensure_channel_first": True},
        # MONAI's arrays are in the order of the axes in the file, x first.
        {"_target_": "Orientationd", **image, "axcodes": steps.code("")[::-1]},
    ]
    if steps.spacing is not None:
        transforms.append(
            {
                "_target_": "Spacingd",
                **image,
                "pixdim": list(steps.spacing),
                "mode": "bilinear",
                "scale_extent": steps.grid == "extent",
                "align_corners": steps.grid == "extent",
            }
        )
    return [*transforms, *_intensity(card), {"_target_": "EnsureTyped", **image}]


def _intensity(card: ModelCard) -> list[Transform]:
    steps, image = card.preprocessing, {"keys": "image"}
    found: list[Transform] = []
    if steps.clip:
        if len(steps.clip) > 2:
            raise UserError(
                f"A MONAI bundle cannot describe the steps of {card.name}: bounds per channel.",
                "Export it to onnx or openvino, whose script computes all steps itself.",
            )
        found.append(_scaled(*steps.clip, *steps.clip))
    lower, upper = steps.percentiles
    by_channel = {**image, "lower": lower, "upper": upper, "channel_wise": True}
    if steps.intensity == "ct_window":
        found.append(_scaled(*steps.window, 0.0, 1.0))
    elif steps.intensity == "range":
        found.append(_scaled(0.0, 255.0, 0.0, 1.0))
    elif steps.intensity == "percentile":
        scaled = {"b_min": 0.0, "b_max": 1.0, "clip": True}
        found.append({"_target_": "ScaleIntensityRangePercentilesd", **by_channel, **scaled})
    elif steps.intensity == "zscore":
        found.append({"_target_": "ClipIntensityPercentilesd", **by_channel})
        found.append({"_target_": "NormalizeIntensityd", **image, "channel_wise": True})
    elif steps.intensity == "mean_std":
        mean, std = (
            list(one) * card.in_channels if len(one) == 1 else list(one)
            for one in (steps.mean, steps.std)
        )
        numbers = {"subtrahend": mean, "divisor": std, "channel_wise": True}
        found.append({"_target_": "NormalizeIntensityd", **image, **numbers})
    return found


def _scaled(a_min: float, a_max: float, b_min: float, b_max: float) -> Transform:
    bounds = {"a_min": a_min, "a_max": a_max, "b_min": b_min, "b_max": b_max}
    return {"_target_": "ScaleIntensityRanged", "keys": "image", **bounds, "clip": True}


def metadata(card: ModelCard) -> dict[str, Any]:
    """Return ``metadata.json``."""
    names = {str(value): name for name, value in card.classes.items()}
    shape = list(card.patch_size)
    modality = card.modality or "n/a"
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "version": "0.1.0",
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {
            "nibabel": version("nibabel"),
            "pytorch-ignite": version("pytorch-ignite"),
        },
        "name": card.name,
        "task": f"Segmentation: {card.purpose_text}",
        "description": f"{card.name}, exported from napari-graphflow.",
        "authors": card.purpose.source or "not stated",
        "copyright": card.purpose.licence or "not stated",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if modality == "CT" else "magnitude",
                    "modality": modality,
                    "num_channels": card.in_channels,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {
                        str(index): f"channel {index}" for index in range(card.in_channels)
                    },
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(card.classes),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": names,
                }
            },
        },
    }
