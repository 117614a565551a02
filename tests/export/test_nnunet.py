"""Export to nnU-Net: the files, the refusals, and the masks of its own predictor."""

import json
from pathlib import Path

import pytest
import torch
from export_cases import save

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.export.folder import export_model
from napari_graphflow.export.nnunet import plans_of, weights_for_nnunet, write_nnunet
from napari_graphflow.models.saved import load_model
from napari_graphflow.networks import build

STEPS = {"intensity": "ct_window", "window": (-100.0, 300.0), "spacing": (2.0, 1.5, 1.0)}


def test_the_folder_has_the_plans_and_the_names_of_nnunet(tmp_path: Path) -> None:
    model = load_model(
        save(tmp_path / "model", 3, "plain_conv_unet", **STEPS, axes=("x", "z", "y"))
    )
    folder = tmp_path / "out"
    folder.mkdir()
    write_nnunet(model, folder)
    plans = json.loads((folder / "plans.json").read_text("utf-8"))
    assert plans["transpose_forward"] == [2, 0, 1]
    assert plans["transpose_backward"] == [1, 2, 0]
    channel = plans["foreground_intensity_properties_per_channel"]["0"]
    assert channel == {
        "mean": -100.0, "std": 400.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0,
    }  # fmt: skip
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["spacing"] == [2.0, 1.5, 1.0]
    dataset = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert dataset["labels"] == {"background": 0, "organ": 1, "lesion": 2}
    saved = torch.load(folder / "fold_all" / "checkpoint_final.pth", weights_only=True)
    assert saved["inference_allowed_mirroring_axes"] is None
    assert len(saved["network_weights"]) > 2 * len(model.module.state_dict())


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ("enet", STEPS, "cannot rebuild the network enet"),
        ("plain_conv_unet", STEPS | {"intensity": "zscore"}, "cannot scale intensities"),
        ("plain_conv_unet", STEPS | {"spacing": None}, "resamples every image"),
        ("plain_conv_unet", STEPS | {"spacing": (0.0, 1.0, 1.0)}, "resamples every image"),
    ],
)
def test_what_nnunet_cannot_do_is_refused(tmp_path: Path, network, options, words) -> None:
    model = load_model(save(tmp_path / "model", 3, network, **options))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=words) as caught:
        write_nnunet(model, tmp_path / "out")
    assert caught.value.remedy.startswith("Distil a student with --")


@pytest.mark.parametrize("dims", [2, 3])
def test_nnunet_builds_the_same_network(dims: int, tmp_path: Path) -> None:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    from pydoc import locate

    ours = build("plain_conv_unet", 2, 3, dims, 4).eval()
    spacing = (1.0,) * 3 if dims == 3 else (0.0, 1.0, 1.0)
    card = read_model_card(
        save(tmp_path / "model", dims, "plain_conv_unet", **STEPS | {"spacing": spacing})
    )
    plans = plans_of(card.model_copy(update={"width": 4}), "any")
    architecture = plans["configurations"]["any"]["architecture"]
    options = dict(architecture["arch_kwargs"])
    for name in architecture["_kw_requires_import"]:
        options[name] = options[name] and locate(options[name])
    theirs = unet.PlainConvUNet(input_channels=2, num_classes=3, deep_supervision=False, **options)
    theirs.load_state_dict(weights_for_nnunet(ours.state_dict(), 3))
    image = torch.rand((2, 2, *(32,) * dims))
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(image), ours(image).logits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (3, STEPS),
        (3, STEPS | {"intensity": "zscore", "percentiles": (0.0, 100.0), "orientation": "stored"}),
        (2, STEPS | {"spacing": (0.0, 1.5, 1.0)}),
    ],
)
def test_the_predictor_of_nnunet_computes_the_same_masks(tmp_path: Path, dims, options) -> None:
    pytest.importorskip("nnunetv2")
    model = save(tmp_path / "model", dims, "plain_conv_unet", patch=32, **options)
    parity = export_model(model, "nnunet", tmp_path / "out")
    assert parity.problem == ""
    assert parity.device == "cpu, nnU-Net"
