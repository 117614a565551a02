"""Saved models for exports."""

from pathlib import Path
from typing import Any

import torch

from napari_graphflow.config.model_card import ModelCard, Purpose
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.models.saved import save_model
from napari_graphflow.networks import build

CLASSES = {"background": 0, "organ": 1, "lesion": 2}


def save(
    folder: Path,
    dims: int = 2,
    network: str = "enet",
    channels: int = 1,
    patch: int = 16,
    **options: Any,
) -> Path:
    """Save a network with random weights and return its folder."""
    torch.manual_seed(0)
    options = {"intensity": "zscore", "spacing": (2.0, 1.0, 1.0)} | options
    card = ModelCard(
        name="model", role="student", network=network, dims=dims, in_channels=channels,
        classes=CLASSES, patch_size=(patch,) * dims, width=8,
        preprocessing=Preprocessing(**options), purpose=Purpose(licence="CC0"),
        largest_part=("lesion",),
    )  # fmt: skip
    module = build(network, channels, len(CLASSES), dims, 8)
    with torch.no_grad():
        # Otherwise all classes are equally likely, and differences would not be noticed.
        *_, last = (one for one in module.modules() if hasattr(one, "kernel_size"))
        last.weight *= 100
    save_model(folder, card, module)
    return folder
