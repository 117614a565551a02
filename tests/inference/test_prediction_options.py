"""Mirroring, only the largest parts, and ensembles: the same for every model and way."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_graphflow as gf
from napari_graphflow.cli import main
from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.config.prediction import PredictionOptions
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.models.ensemble import join
from napari_graphflow.models.saved import load_model, save_model
from napari_graphflow.networks import build

CLASSES = {"background": 0, "organ": 1}
PART = ("organ",)


def saved(folder: Path, seed: int = 0, **changes: object) -> Path:
    torch.manual_seed(seed)
    settings = {
        "name": "model", "role": "student", "network": "plain_conv_unet", "dims": 2, "width": 4,
        "in_channels": 1, "classes": CLASSES, "patch_size": (32, 32),
        "preprocessing": Preprocessing(intensity="none", orientation="stored"),
    }  # fmt: skip
    save_model(folder, ModelCard(**settings | changes), build("plain_conv_unet", 1, 2, 2, 4))
    return folder


def picture(size: tuple[int, ...] = (32, 32)) -> Volume:
    noise = np.random.default_rng(0).normal(size=size).astype(np.float32)
    return Volume(noise, (1.0,) * len(size), (0.0,) * len(size), tuple(np.eye(len(size)).ravel()))


def logits(folder: Path, array: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found = load_model(folder).adapter.logits(torch.from_numpy(array.copy())[None, None])
    return np.asarray(found[0])


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_mirroring_on_request_averages_the_logits_of_the_axes_of_the_training(
    tmp_path: Path,
) -> None:
    folder, image = saved(tmp_path / "model", trained_mirrored=(1,)), picture()
    flipped = logits(folder, image.array[:, ::-1])[..., ::-1]
    expected = (logits(folder, image.array) + flipped).argmax(0)
    model = load_for_inference(folder, "cpu")
    mirrored = segment(model, image, options=PredictionOptions(mirror=True)).labels.array
    np.testing.assert_array_equal(mirrored, expected)
    plain = segment(model, image).labels.array
    np.testing.assert_array_equal(plain, logits(folder, image.array).argmax(0))
    assert (plain != mirrored).any()
    np.testing.assert_array_equal(gf.segment(model, image, mirror=True).array, expected)


def test_an_imported_model_that_mirrors_by_default_can_be_told_not_to(tmp_path: Path) -> None:
    model = load_for_inference(saved(tmp_path / "model", mirror=(0, 1)), "cpu")
    image = picture()
    plain = segment(model, image, options=PredictionOptions(mirror=False)).labels.array
    np.testing.assert_array_equal(plain, logits(tmp_path / "model", image.array).argmax(0))


def test_a_model_that_never_saw_mirrored_images_does_not_mirror(tmp_path, capsys) -> None:
    folder = saved(tmp_path / "model")
    write_volume(tmp_path / "scan.nii.gz", picture((3, 32, 32)))
    words = ("segment", tmp_path / "scan.nii.gz", "--model", folder, "--mirror")
    assert run(*words, "--out", tmp_path / "mask.nii.gz") == 2
    assert "not trained on mirrored images" in capsys.readouterr().err
    assert not (tmp_path / "mask.nii.gz").exists()


def test_only_the_largest_part_is_kept_unless_switched_off_and_the_result_counts_the_rest(
    tmp_path: Path, capsys
) -> None:
    folder, scan = saved(tmp_path / "model", largest_part=PART), picture((3, 32, 32))
    model = load_model(folder)
    background, organ = logits(folder, scan.array[1])
    with torch.no_grad():  # a tenth of the image becomes organ, in many parts
        *_, last = (one for one in model.module.modules() if hasattr(one, "kernel_size"))
        last.bias[1] -= float(np.quantile(organ - background, 0.9))
    save_model(folder, model.card, model.module)
    write_volume(tmp_path / "scan.nii.gz", scan)
    words = ("segment", tmp_path / "scan.nii.gz", "--model", folder, "--json", "--out")
    assert run(*words, tmp_path / "a.nii.gz") == 0
    removed = json.loads(capsys.readouterr().out)[0]["removed"]
    assert run(*words, tmp_path / "b.nii.gz", "--no-postprocess") == 0
    assert json.loads(capsys.readouterr().out)[0]["removed"] == {}
    kept, whole = (gf.read_volume(tmp_path / f"{name}.nii.gz").array for name in "ab")
    assert removed["organ"] == int((whole != kept).sum()) > 0
    assert not kept[whole != kept].any()
    np.testing.assert_array_equal(gf.segment(folder, scan).array, kept)
    np.testing.assert_array_equal(gf.segment(folder, scan, postprocess=False).array, whole)


def test_an_ensemble_returns_the_mean_logits_and_what_holds_for_all_members(tmp_path, capsys):
    members = [
        saved(tmp_path / "a", 1, largest_part=PART, trained_mirrored=(0, 1)),
        saved(tmp_path / "b", 2, trained_mirrored=(1,)),
    ]
    out, image = tmp_path / "both", picture()
    assert run("models", "ensemble", *members, "--out", out, "--name", "both") == 0
    mean = np.mean([logits(one, image.array) for one in members], 0)
    np.testing.assert_allclose(logits(out, image.array), mean, atol=1e-5)
    np.testing.assert_array_equal(gf.segment(out, image).array, mean.argmax(0))
    card = read_model_card(out)
    assert (card.name, card.members, card.largest_part) == ("both", 2, ())
    assert card.trained_mirrored == (1,)
    assert card.parameters == 2 * sum(p.numel() for p in load_model(members[0]).module.parameters())
    assert run("models", "ensemble", *members, "--out", out) == 2, "it exists"
    assert run("models", "ensemble", members[0], "--out", tmp_path / "one") == 2


def test_models_that_differ_in_more_than_their_weights_are_not_joined(tmp_path: Path) -> None:
    a = saved(tmp_path / "a")
    b = saved(tmp_path / "b", classes={"background": 0, "other": 1})
    with pytest.raises(UserError, match="another classes than"):
        join([a, b], tmp_path / "both")
    join([a, saved(tmp_path / "c")], tmp_path / "two")
    with pytest.raises(UserError, match="several networks"):
        join([tmp_path / "two"] * 2, tmp_path / "four")
