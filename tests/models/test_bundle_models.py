"""MONAI bundles as teachers: read as data, taps found, code refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import UNet

from napari_graphflow.errors import UserError
from napari_graphflow.models.importing import import_teacher

ARGUMENTS = {
    "spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8, 8, 16],
    "strides": [2, 2, 2], "num_res_units": 1, "norm": ["INSTANCE", {"affine": True}],
}  # fmt: skip
TRANSFORMS = [
    {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164,
     "b_min": 0, "b_max": 1, "clip": True},
]  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a small U-Net of MONAI."""
    folder = tmp_path / "spleen"
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(UNet(**ARGUMENTS).state_dict(), folder / "models" / "model.pt")
    names = {"0": "background", "1": "spleen", "2": "tumour"}
    metadata = {
        "name": "Spleen", "version": "0.5", "copyright": "MONAI Consortium",
        "network_data_format": {
            "inputs": {"image": {"modality": "CT"}}, "outputs": {"pred": {"channel_def": names}},
        },
    }  # fmt: skip
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    write(folder)
    return folder


def write(folder: Path, **changes: Any) -> None:
    config = {
        "classes": 3,
        "network_def": {"_target_": "UNet", **ARGUMENTS, "out_channels": "@classes"},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32], "overlap": 0.5},
        "preprocessing": {"_target_": "Compose", "transforms": TRANSFORMS},
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config | changes), "utf-8")


def test_a_bundle_computes_the_same_logits_and_has_taps(bundle: Path, tmp_path: Path) -> None:
    model = import_teacher(bundle, tmp_path / "teacher")
    card = model.card
    assert card.classes == {"background": 0, "spleen": 1, "tumour": 2}
    assert (card.preprocessing.orientation, card.preprocessing.window) == ("RAS", (-57.0, 164.0))
    assert card.preprocessing.axes == ("z", "x", "y")
    assert (card.purpose.modality, card.purpose.licence) == ("CT", "MONAI Consortium")
    plain = UNet(**ARGUMENTS)
    plain.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    image = torch.rand((1, 1, 32, 32))
    with torch.no_grad():
        found = model.module(image)
        torch.testing.assert_close(found.logits, plain.eval()(image), rtol=1e-4, atol=1e-4)
    strides = {name: 32 // tap.shape[-1] for name, tap in found.taps.items()}
    assert strides == {
        "bottleneck": 8, "encoder": 4, "decoder": 4, "encoder_2": 2, "decoder_2": 2, "lo": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network_def": {"_target_": "os.system", "command": "x"}}, "os.system, which would run"),
        ({"network_def": {"_target_": "monai.networks.nets.Evil"}}, "Evil, which would run"),
        ({"network_def": {"_target_": "UNet", "channels": "$__import__('os')"}}, "expression"),
        ({"network_def": {"_target_": "UNet", "act": {"_target_": "x.Y"}}}, "builds x.Y"),
        ({"preprocessing": {"transforms": [{"_target_": "CropForegroundd"}]}}, "CropForegroundd"),
        ({"preprocessing": {"transforms": ["$evil()"]}}, "not plain data"),
        ({"postprocessing": {"transforms": [{"sigmoid": True}]}}, "separate sigmoids"),
    ],
)
def test_what_would_run_code_or_has_no_equivalent_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    write(bundle, **changes)
    with pytest.raises(UserError, match=words):
        import_teacher(bundle, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()
