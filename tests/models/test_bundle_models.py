"""MONAI bundles as teachers: read as data, taps found, code refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from monai.transforms import ScaleIntensityRange

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import prepare, restore_maps
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.models.importing import ImportOptions, import_teacher

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


def test_labels_equal_those_of_monais_own_steps(bundle: Path, tmp_path: Path) -> None:
    """On a volume stored as LPS, which MONAI turns to RAS with the axes in the order x, y, z."""
    torch.manual_seed(0)
    options = ARGUMENTS | {"spatial_dims": 3}
    plain = UNet(**options).eval()
    torch.save(plain.state_dict(), bundle / "models" / "model.pt")
    size = [32, 40, 24]
    write(
        bundle, network_def={"_target_": "UNet", **options},
        inferer={"_target_": "SlidingWindowInferer", "roi_size": size},
    )  # fmt: skip
    stored = np.random.default_rng(0).normal(50, 80, size[::-1]).astype(np.int16)
    turned = np.ascontiguousarray(stored.transpose(2, 1, 0)[::-1, ::-1], np.float32)
    scaled = ScaleIntensityRange(-57, 164, 0, 1, clip=True)(torch.from_numpy(turned))
    with torch.no_grad():
        labels = plain(scaled[None, None]).argmax(1)[0].numpy()
    expected = labels[::-1, ::-1].transpose(2, 1, 0)
    model = load_for_inference(import_teacher(bundle, tmp_path / "teacher").folder)
    volume = Volume(stored, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    found = segment(model, volume).labels.array
    assert len(np.unique(expected)) == 3
    assert (found == expected).mean() > 0.999


def test_statistics_over_all_channels_are_refused(bundle: Path, tmp_path: Path) -> None:
    step = {"_target_": "NormalizeIntensityd", "keys": "image"}
    network = {"_target_": "UNet", **ARGUMENTS, "in_channels": 2}
    torch.save(UNet(**ARGUMENTS | {"in_channels": 2}).state_dict(), bundle / "models" / "model.pt")
    write(bundle, network_def=network, preprocessing={"transforms": [step]})
    with pytest.raises(UserError, match="all channels by the same numbers"):
        import_teacher(bundle, tmp_path / "teacher")
    write(
        bundle, network_def=network, preprocessing={"transforms": [step | {"channel_wise": True}]}
    )
    assert import_teacher(bundle, tmp_path / "teacher").card.preprocessing.intensity == "zscore"


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
        ({"postprocessing": {"transforms": [{"_target_": "MapLabelValued"}]}}, "after the network"),
        (
            {
                "preprocessing": {
                    "transforms": [{"_target_": "mine.Orientationd", "axcodes": "RAS"}]
                }
            },
            "mine.Orientationd",
        ),
        (
            {"preprocessing": {"transforms": [{"_target_": "Orientationd", "axcodes": "XYZ"}]}},
            "not an orientation",
        ),
        ({"preprocessing": {"transforms": [{**TRANSFORMS[2], "b_min": 1}]}}, "not valid"),
        ({"inferer": {"roi_size": [10**6, 10**6]}}, "a patch must have at most"),
        ({"inferer": {"roi_size": [17, 19]}}, "cannot process its window of 17 x 19"),
        ({"network_def": {"_target_": "UNet", **ARGUMENTS, "in_channels": 10**9}}, "in_channels"),
    ],
)
def test_what_would_run_code_or_has_no_equivalent_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    write(bundle, **changes)
    with pytest.raises(UserError, match=words):
        import_teacher(bundle, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_a_spacing_along_other_axes_than_those_of_the_network_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    step = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 0.7, 1.1]}
    network = {"_target_": "UNet", **ARGUMENTS, "spatial_dims": 3}
    weights = UNet(**ARGUMENTS | {"spatial_dims": 3}).state_dict()
    torch.save(weights, bundle / "models" / "model.pt")
    inferer = {"roi_size": [16, 16, 16]}
    first, *rest = TRANSFORMS
    write(bundle, network_def=network, inferer=inferer,
          preprocessing={"transforms": [first, step, *rest]})  # fmt: skip
    with pytest.raises(UserError, match="resamples before it turns the image"):
        import_teacher(bundle, tmp_path / "teacher")


def test_largest_parts_are_kept_as_in_the_bundle(bundle: Path, tmp_path: Path) -> None:
    step = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1]}
    write(bundle, postprocessing={"transforms": [step]})
    assert import_teacher(bundle, tmp_path / "teacher").card.largest_part == ("spleen",)
    options = ImportOptions(classes={"both": ["spleen", "tumour"]})
    assert import_teacher(bundle, tmp_path / "both", options).card.largest_part == ()


def test_voxels_are_those_of_monais_spacing(bundle: Path, tmp_path: Path, monkeypatch) -> None:
    from monai.data import MetaTensor, meta_obj
    from monai.transforms import Spacing

    monkeypatch.setattr(meta_obj, "_TRACK_META", True)  # a training in this process turns it off
    step = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 0.7, 1.1],
            "mode": "bilinear"}  # fmt: skip
    network = {"_target_": "UNet", **ARGUMENTS, "spatial_dims": 3}
    weights = UNet(**ARGUMENTS | {"spatial_dims": 3}).state_dict()
    torch.save(weights, bundle / "models" / "model.pt")
    transforms = [TRANSFORMS[0], step]
    write(bundle, network_def=network, preprocessing={"transforms": transforms},
          inferer={"roi_size": [32, 32, 32]})  # fmt: skip
    steps = import_teacher(bundle, tmp_path / "teacher").card.preprocessing
    stored = np.random.default_rng(0).normal(50, 80, (20, 31, 26)).astype(np.float32)
    # A bundle's axes are x, y, z of the file.
    affine = torch.diag(torch.tensor([0.9, 1.3, 1.1, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.from_numpy(stored.transpose(2, 1, 0)[None].copy()), affine=affine)
    spacing = Spacing(step["pixdim"], mode="bilinear")
    expected = spacing(image).numpy()
    volume = Volume(stored, (1.1, 1.3, 0.9), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    prepared = prepare(volume, steps)
    assert prepared.array.shape == expected.shape
    assert np.abs(prepared.array - expected).max() < 0.01
    back = restore_maps(prepared.array, prepared).array[..., 0]
    inverse = spacing.inverse(spacing(image)).numpy()[0].transpose(2, 1, 0)
    assert np.abs(back - inverse).max() < 0.01
