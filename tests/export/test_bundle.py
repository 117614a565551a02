"""Export as a MONAI bundle: its files, refusals, and masks by `monai.bundle`."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from export_cases import CLASSES, save

from napari_graphflow.errors import UserError
from napari_graphflow.export.bundle import write_bundle
from napari_graphflow.export.folder import export_model
from napari_graphflow.models.saved import load_model

needs_ignite = pytest.mark.skipif(find_spec("ignite") is None, reason="pytorch-ignite")


@needs_ignite
@pytest.mark.slow
def test_a_bundle_computes_the_same_masks_and_names_its_channels(tmp_path: Path) -> None:
    model = save(tmp_path / "model", 3, intensity="ct_window", spacing=None)
    parity = export_model(model, "monai-bundle", tmp_path / "out")
    assert parity.problem == ""
    facts = json.loads((tmp_path / "out" / "configs" / "metadata.json").read_text("utf-8"))
    channels = facts["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert channels == {str(value): name for name, value in CLASSES.items()}
    assert facts["copyright"] == "CC0"


@needs_ignite
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (3, {"intensity": "zscore", "channels": 2}),
        (3, {"intensity": "percentile", "axes": ("x", "z", "y")}),
        (2, {"intensity": "mean_std", "mean": (5.0,), "std": (2.0,), "clip": (-3.0, 9.0)}),
    ],
)
def test_bundles_of_all_kinds_of_preprocessing(tmp_path: Path, dims, options) -> None:
    model = save(tmp_path / "model", dims, spacing=None, **options)
    assert export_model(model, "monai-bundle", tmp_path / "out").problem == ""


@needs_ignite
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_network_of_a_bundle_is_verified_by_monai(tmp_path: Path) -> None:
    from monai.bundle import verify_net_in_out

    (tmp_path / "out").mkdir()
    write_bundle(load_model(save(tmp_path / "model", 3)), tmp_path / "out")
    configs = tmp_path / "out" / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        bundle_root=str(tmp_path / "out"),
        device="cpu",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"orientation": "stored"}, "as they are stored"),
        ({"size": (32, 32), "spacing": None}, "2D images"),
    ],
)
def test_steps_that_monai_cannot_describe_are_refused(tmp_path: Path, options, words) -> None:
    model = load_model(save(tmp_path / "model", **options))
    with pytest.raises(UserError, match=words):
        write_bundle(model, tmp_path)
