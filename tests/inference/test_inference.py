"""Networks on whole volumes, and variation maps from their taps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.graph_flow_maps import variation_maps
from napari_graphflow.inference.loading import in_torch, load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.inference.torch_engine import TorchEngine
from napari_graphflow.inference.torch_windows import over_windows
from napari_graphflow.inference.whole_volume import InferenceCancelled, label_array, window_size
from napari_graphflow.models.saved import Model, load_model, save_model
from napari_graphflow.networks import build
from napari_graphflow.networks.taps import Output

CLASSES = {"background": 0, "organ": 1, "lesion": 2}
OBLIQUE = (0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, -1.0)


class Threshold(nn.Module):
    """A network with known output: class 1 where the image is above 0, class 2 above 1."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor) -> Output:
        logits = torch.cat([torch.zeros_like(x), x * self.gain, (2 * x - 1) * self.gain], dim=1)
        return Output(logits, {})


def card(**changes: object) -> ModelCard:
    settings = {
        "name": "model", "role": "student", "network": "enet", "dims": 3, "in_channels": 1,
        "classes": CLASSES, "patch_size": (8, 8, 8), "width": 8,
        "preprocessing": Preprocessing(intensity="ct_window", window=(0, 1)),
    }  # fmt: skip
    return ModelCard(**(settings | changes))


def predict(
    module: nn.Module, array: np.ndarray, patch: tuple[int, ...], **calls: object
) -> np.ndarray:
    """Return the class probabilities (3, *spatial)."""
    soft = np.zeros((3, *array.shape[1:]), np.float32)
    engine = TorchEngine(module, len(patch))
    label_array(engine, array, patch, array.shape[1:], 3, probabilities=soft, **calls)
    return soft


def model(folder: Path, network: str = "enet", seed: int = 0, **changes: object) -> Model:
    torch.manual_seed(seed)
    described = card(network=network, **changes)
    module = build(network, described.in_channels, len(CLASSES), described.dims, described.width)
    save_model(folder, described, module)
    return load_model(folder)


def scan(shape: tuple[int, ...] = (21, 17, 19), seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).normal(0.4, 1, shape).astype(np.float32)
    return Volume(array, (2.5, 0.7, 0.8), (-30.0, 12.0, 100.0), OBLIQUE)


@pytest.mark.parametrize("patch", [(8, 8, 8), (8, 16, 8), (32, 32, 32)])
def test_sliding_windows_agree_with_the_whole_volume(patch):
    """The output of a network without context must not depend on the windows."""
    array = scan().array[None]
    torch.testing.assert_close(
        torch.from_numpy(predict(Threshold(), array, patch)),
        Threshold()(torch.from_numpy(array)[None]).logits[0].softmax(0).detach(),
        atol=1e-5,
        rtol=0,
    )


def test_2d_network_is_applied_to_the_slices_of_a_volume():
    array = scan((11, 18, 20)).array[None]
    whole = predict(Threshold(), array, (8, 8))
    assert whole.shape == (3, 11, 18, 20)
    for z in (0, 5, 10):
        np.testing.assert_allclose(
            whole[:, z], predict(Threshold(), array[:, z], (8, 8)), atol=1e-5
        )


def test_progress_counts_windows_and_cancellation_stops_between_them():
    seen: list[tuple[int, int]] = []
    array = scan().array[None]
    predict(Threshold(), array, (8, 8, 8), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1] > 8
    calls = iter([False, False, True])
    with pytest.raises(InferenceCancelled):
        predict(Threshold(), array, (8, 8, 8), cancelled=lambda: next(calls))


def test_small_volumes_are_one_window():
    assert window_size((40, 50, 40), (32, 48, 32)) == (40, 50, 40)
    assert window_size((100, 512, 512), (32, 48, 32)) == (32, 48, 32)


def test_overlapping_windows_are_merged_without_seams():
    array = np.ones((1, 30, 30, 30), np.float32)
    joined = over_windows(lambda windows: windows * 3, array, (8, 8, 8), device=torch.device("cpu"))
    torch.testing.assert_close(joined, torch.full((1, 30, 30, 30), 3.0))


@pytest.mark.parametrize("shape", [(21, 17, 19), (5, 33, 18), (1, 16, 16)])
def test_mask_is_in_the_grid_of_its_image(tmp_path, shape):
    volume = scan(shape)
    prediction = segment(in_torch(model(tmp_path / "m")), volume, probabilities=True)
    assert prediction.labels.array.shape == shape
    assert prediction.labels.same_grid(volume, 1e-9)
    assert prediction.probabilities.array.shape == (*shape, 3)
    np.testing.assert_allclose(prediction.probabilities.array.astype(float).sum(-1), 1, atol=2e-3)
    np.testing.assert_array_equal(
        prediction.probabilities.array.argmax(-1), prediction.labels.array
    )
    assert prediction.device == "CPU"
    assert prediction.peak_bytes > 1e6


def test_the_same_anatomy_in_three_orientations_gets_the_same_mask(tmp_path):
    network = model(tmp_path / "m")
    reference = scan()
    expected = segment(in_torch(network), reference).labels
    assert expected.array.any()
    for code in ("RAS", "PIR", "LPS"):
        stored = reference.oriented(code)
        found = segment(in_torch(network), stored).labels
        assert found.same_grid(stored, 1e-6)
        np.testing.assert_array_equal(found.oriented(reference.orientation).array, expected.array)


def test_saved_model_predicts_the_same_and_damaged_or_foreign_weights_are_refused(tmp_path):
    saved = model(tmp_path / "m")
    volume = scan()
    again = segment(load_for_inference(tmp_path / "m"), volume).labels.array
    np.testing.assert_array_equal(segment(in_torch(saved), volume).labels.array, again)
    weights = tmp_path / "m" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path / "m")
    model(tmp_path / "other", width=16)
    weights.write_bytes((tmp_path / "other" / "weights.safetensors").read_bytes())
    with pytest.raises(UserError, match="another network"):
        load_model(tmp_path / "m")
    with pytest.raises(UserError, match="not a saved model"):
        load_model(tmp_path)


def test_variation_maps_are_in_the_grid_of_the_volume(tmp_path):
    student, teacher = model(tmp_path / "s"), model(tmp_path / "t", "unet", width=4)
    volume = scan((33, 30, 34))
    maps = variation_maps(student, volume, teacher)
    for one in (maps.student, maps.teacher, maps.difference):
        assert one.array.shape == volume.shape
        assert one.same_grid(volume, 1e-9)
    assert (maps.student.array >= 0).all()
    assert maps.student.array.max() > 0
    np.testing.assert_allclose(maps.difference.array, maps.teacher.array - maps.student.array)
    assert any("not matched" in note for note in maps.notes)
    alone = variation_maps(student, volume)
    assert alone.teacher is None


def test_variation_map_is_that_of_the_taps(tmp_path):
    """Without windows and resampling it is the map of the loss, repeated by the stride."""
    from napari_graphflow.distillation.graph_flow.loss import patch_energy, variation_graph
    from napari_graphflow.distillation.graph_flow.maps import variation_map

    student = model(tmp_path / "s", patch_size=(32, 32, 32))
    volume = scan((32, 32, 32))
    volume = Volume(volume.array, volume.spacing, volume.origin, (1, 0, 0, 0, 1, 0, 0, 0, 1))
    image = torch.from_numpy(np.clip(volume.array, 0, 1))[None, None]
    with torch.no_grad():
        taps = student.module(image).taps
    graph = variation_graph(taps["encoder"], taps["decoder"], 3)
    cells = variation_map(graph)[0] / patch_energy(graph).sqrt()
    expected = cells.numpy().repeat(4, 0).repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(variation_maps(student, volume).student.array, expected, rtol=1e-4)
