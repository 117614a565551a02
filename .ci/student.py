"""Write a student with its OpenVINO form, which is run without torch: student.py FOLDER."""

import sys
from pathlib import Path

import torch

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.models.openvino_form import convert
from napari_graphflow.models.saved import load_model, save_model
from napari_graphflow.networks import build

folder = Path(sys.argv[1])
torch.manual_seed(0)
card = ModelCard(
    name="student", role="student", network="enet", dims=3, in_channels=1, width=8,
    classes={"background": 0, "organ": 1}, patch_size=(16, 16, 16),
    preprocessing=Preprocessing(intensity="zscore"),
)  # fmt: skip
save_model(folder, card, build("enet", 1, 2, 3, 8))
convert(load_model(folder))
