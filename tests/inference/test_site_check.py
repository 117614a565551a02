"""Codes of images against those that a model learnt from."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from training_cases import training

from napari_graphflow.cli import main
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.inference import loading, site_check
from napari_graphflow.inference import segment_files as segment_files_module
from napari_graphflow.inference.describing import describe_dataset
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.segment_files import segment_files
from napari_graphflow.inference.site_check import (
    SOURCE,
    image_code,
    image_quantiles,
    matched,
    read_codes,
    save_codes,
    session_report,
    site_report,
)
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import load_model
from napari_graphflow.networks import build
from napari_graphflow.training.loop import train


def codes(n: int, shift: float = 0.0, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    return (random.normal(size=(n, 6)) + shift).astype(np.float32)


@pytest.fixture(scope="module")
def model(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    list(train(training(blobs, steps=1, validate_every=1), folder))
    return JobPaths(folder).model


def test_images_of_another_site_are_named_as_such_with_both_numbers() -> None:
    found = site_report(codes(30), list(codes(12, shift=3, seed=1)))
    assert found.unlike
    assert found.found is not None
    assert found.text.startswith("These images are unlike what this model learnt from (site gap")
    assert f"{found.found.gap:.2f}, same site {found.found.control:.2f}" in found.text
    assert "12 images against 30" in found.text
    assert "does not say how accurate" in found.text


def test_images_of_the_same_site_are_not_alarming() -> None:
    found = site_report(codes(30), list(codes(12, seed=1)))
    assert not found.unlike
    assert found.text.startswith("These images are like what this model learnt from")


@pytest.mark.parametrize(
    ("source", "images", "words"),
    [
        (30, 7, "Too few images (7) to say"),
        (5, 20, "Too few images were described when this model was trained (5)"),
    ],
)
def test_too_few_images_are_said_as_such(source: int, images: int, words: str) -> None:
    found = site_report(codes(source), list(codes(images)))
    assert not found.unlike
    assert found.found is None
    assert words in found.text
    assert "8 are needed" in found.text


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_the_code_of_a_small_image_is_the_mean_of_its_bottleneck(dims: int) -> None:
    torch.manual_seed(0)
    network = build("unet", 1, 2, dims, 4).eval()
    array = np.random.default_rng(0).normal(size=(1, *[32] * dims)).astype(np.float32)
    tap = network(torch.from_numpy(array)[None]).taps["bottleneck"]
    found = image_code(network, array, (32,) * dims)
    np.testing.assert_allclose(found, tap.flatten(2).mean(2)[0].numpy(), rtol=1e-4, atol=1e-5)


def test_an_image_smaller_than_a_patch_and_slices_of_a_volume_are_described() -> None:
    network = build("unet", 1, 2, 2, 4).eval()
    volume = np.ones((1, 3, 10, 12), np.float32)
    assert image_code(network, volume, (32, 32)).shape == (64,)


def test_codes_that_are_saved_are_read_again(tmp_path: Path) -> None:
    assert read_codes(tmp_path) is None
    save_codes(tmp_path, list(codes(4)))
    found = read_codes(tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found, codes(4))


def test_described_images_are_compared_when_files_are_segmented(
    model: Path, blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = segment_files([blobs / "imagesTs"], model, tmp_path / "before")
    assert not any("site" in row for row in rows)
    with pytest.raises(SystemExit) as ended:
        main(["models", "describe", str(model), "--dataset", str(blobs)])
    assert ended.value.code in (0, None)
    assert "6 images" in capsys.readouterr().out
    rows = segment_files([blobs / "imagesTs"], model, tmp_path / "few")
    assert [("site" in row) for row in rows] == [False, True]
    assert "Too few images were described" in rows[-1]["site"]["text"]
    (model / SOURCE).unlink()


def test_noise_instead_of_the_structures_learnt_is_unlike(
    model: Path, blobs: Path, tmp_path: Path
) -> None:
    network = load_model(model)
    like = read_volume(Dataset.open(blobs).cases[0].images[0])
    random = np.random.default_rng(0)

    def image(kind: str) -> np.ndarray[Any, Any]:
        noise = random.normal(0, 10, like.shape)
        return noise + (100 * (random.random(like.shape) > 0.5) if kind == "noise" else like.array)

    def described(kind: str) -> Any:
        prepared = prepare(like.with_array(image(kind)), network.card.preprocessing)
        return image_code(network.module, prepared.array, network.card.patch_size)

    save_codes(model, [described("like") for _ in range(12)])
    for kind in ("noise", "like"):
        (tmp_path / kind).mkdir()
        for number in range(8):
            write_volume(tmp_path / kind / f"{number}.nii.gz", like.with_array(image(kind)))
    unlike = segment_files([tmp_path / "noise"], model, tmp_path / "out1")[-1]["site"]
    alike = segment_files([tmp_path / "like"], model, tmp_path / "out2")[-1]["site"]
    assert unlike["unlike"]
    assert unlike["gap"] > 0.5
    assert alike["gap"] < unlike["gap"] / 2
    (model / SOURCE).unlink()


def test_a_session_counts_each_image_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_check, "_seen", {})
    loaded = load_for_inference(model, "cpu")
    assert session_report("m", loaded, codes(1)[0]) is None  # it knows no source
    save_codes(model, list(codes(10)))
    loaded = load_for_inference(model, "cpu")
    for _ in range(3):
        found = session_report("m", loaded, codes(1)[0])
    assert found is not None
    assert "Too few images (1)" in found["text"]
    (model / SOURCE).unlink()


def test_matched_intensities_have_the_quantiles_of_the_source() -> None:
    random = np.random.default_rng(0)
    source = random.normal(5, 2, (2, 40, 50)).astype(np.float32)
    image = np.exp(random.normal(0, 1, (2, 30, 60))).astype(np.float32)
    quantiles = image_quantiles(source)
    assert quantiles.shape == (2, 101)
    found = matched(image, quantiles)
    np.testing.assert_allclose(image_quantiles(found), quantiles, atol=0.05)
    for one, other in zip(image, found, strict=True):  # the order of the voxels stays
        assert (np.diff(other.ravel()[np.argsort(one.ravel())]) >= 0).all()


def test_a_constant_image_can_be_matched() -> None:
    source = image_quantiles(np.random.default_rng(0).normal(size=(1, 9, 9)).astype(np.float32))
    assert np.isfinite(matched(np.ones((1, 4, 4), np.float32), source)).all()


def test_intensities_are_matched_only_if_asked_and_known(
    model: Path, blobs: Path, tmp_path: Path
) -> None:
    images = [blobs / "imagesTs"]
    with pytest.raises(UserError, match="does not know the intensities of the images it learnt"):
        segment_files(images, model, tmp_path / "no", match_intensities=True)
    assert not (tmp_path / "no").exists()
    describe_dataset(model, blobs, "cpu")
    brighter = tmp_path / "brighter"
    brighter.mkdir()
    original = read_volume(next((blobs / "imagesTs").iterdir()))
    write_volume(brighter / "one.nii.gz", original.with_array(np.cbrt(original.array)))
    for name, chosen in (("as_is", False), ("matched", True)):
        segment_files([brighter], model, tmp_path / name, match_intensities=chosen)
    as_is, alike = (read_volume(tmp_path / n / "one.nii.gz").array for n in ("as_is", "matched"))
    assert not np.array_equal(as_is, alike)
    (model / SOURCE).unlink()


def test_without_pytorch_it_is_said_that_the_check_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_codes(tmp_path, list(codes(9)))
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    source, describe = loading._description(tmp_path, Mock(), None)
    assert describe is None
    assert source is not None
    assert "needs PyTorch" in segment_files_module._site(source, [], 3).text
    (tmp_path / SOURCE).unlink()
    assert loading._description(tmp_path, Mock(), None) == (None, None)
