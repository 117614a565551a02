"""What the page on teachers from elsewhere imports: small networks with random weights, masks."""

import json
from pathlib import Path

import numpy as np
import torch
from docs_cases import SHAPE, phantom
from monai.networks.nets import UNet
from torch import nn

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.export.nnunet import write_nnunet
from napari_graphflow.imaging.files import read_volume, write_labels
from napari_graphflow.models.saved import load_model, save_model
from napari_graphflow.networks import build

PILOT = {"background": 0, "liver": 1, "tumour": 2}
SPLEEN = {"background": 0, "spleen": 1}


def write_teachers(folder: Path) -> None:
    torch.manual_seed(0)
    write_results(folder / "nnUNetTrainer__nnUNetPlans__3d_fullres", PILOT)
    write_results(folder / "FOLDER", {"background": 0, "lung_left": 1, "lung_right": 2, "liver": 3})
    write_checkpoint(folder)
    write_bundle(folder / "spleen_ct_segmentation")
    write_predictions(folder / "predictions", folder / "liver-pilot")
    write_networks(folder)


def write_results(folder: Path, classes: dict[str, int]) -> None:
    """Write a results folder as nnU-Net does."""
    card = ModelCard(
        name="results", role="student", network="plain_conv_unet", dims=3, in_channels=1,
        classes=classes, patch_size=(32, 32, 32), width=8,
        preprocessing=Preprocessing(intensity="mean_std", mean=50, std=50, spacing=(2, 1.5, 1)),
    )  # fmt: skip
    model = folder.with_name(f"model of {folder.name}")
    save_model(model, card, build(card.network, 1, len(classes), 3, 8))
    folder.mkdir()
    write_nnunet(load_model(model), folder)
    (folder / "fold_all").rename(folder / "fold_0")


def write_checkpoint(folder: Path) -> None:
    """Write the weights of a network of MONAI as a .pt file of tensors, and its card."""
    arguments = {"channels": [4, 8, 16], "strides": [2, 2]}
    network = UNet(spatial_dims=3, in_channels=1, out_channels=3, **arguments)
    torch.save(network.state_dict(), folder / "weights.pt")
    card = {
        "name": "mine", "role": "teacher", "network": "monai:UNet", "arguments": arguments,
        "dims": 3, "in_channels": 1, "classes": PILOT, "patch_size": [16, 16, 16],
        "preprocessing": {"intensity": "zscore"},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card), "utf-8")


def write_bundle(folder: Path) -> None:
    arguments = {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8, 16],
        "strides": [2, 2],
    }  # fmt: skip
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    torch.save(UNet(**arguments).state_dict(), folder / "models" / "model.pt")
    described = {
        "inputs": {"image": {"modality": "CT"}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}},
    }
    metadata = {"name": "Spleen", "version": "1", "network_data_format": described}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    config = {
        "network_def": {"_target_": "UNet", **arguments},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.5},
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
            {"_target_": "NormalizeIntensityd", "keys": "image"},
        ]},
    }  # fmt: skip
    (folder / "configs" / "inference.json").write_text(json.dumps(config), "utf-8")


def write_predictions(folder: Path, dataset: Path) -> None:
    """Write a mask for each training case of a dataset, the tumour as a lesion and a cyst."""
    folder.mkdir()
    for path in sorted((dataset / "imagesTr").iterdir()):
        case = path.name.removesuffix("_0000.nii.gz")
        labels = phantom(int(case.removeprefix("scan_")))[1]
        cyst = (labels == 2) & (np.arange(SHAPE[2]) < 8)
        write_labels(folder / f"{case}.nii.gz", np.where(cyst, 3, labels), read_volume(path))
    names = {"labels": {"background": 0, "liver": 1, "lesion": 2, "cyst": 3}}
    (folder / "dataset.json").write_text(json.dumps(names), "utf-8")


class ByIntensity(nn.Module):
    """Finds the phantom's structures by their intensity."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x / 100, 0.5 - (x / 100 - 1).abs(), x / 100 - 1.5], 1)


def write_networks(folder: Path) -> None:
    """Write a whole network in the formats of ONNX and of torch.export."""
    image = torch.rand(1, 1, 16, 16, 16)
    sizes = {"x": {2: "z", 3: "y", 4: "w"}}
    torch.onnx.export(
        ByIntensity(), image, folder / "network.onnx", input_names=["x"], dynamic_axes=sizes,
        dynamo=False,
    )  # fmt: skip
    torch.export.save(torch.export.export(ByIntensity().eval(), (image,)), folder / "network.pt2")
    card = {
        "dims": 3, "in_channels": 1, "classes": PILOT, "patch_size": [16, 16, 16],
        "preprocessing": {"intensity": "none"},
    }  # fmt: skip
    (folder / "network.json").write_text(json.dumps(card), "utf-8")
