"""The inference worker as it is used: the real command with a real network.

Its loop is tested in ``test_worker.py``, with quick handlers.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.worker.client import InferenceWorker, Reply


def image(*shape: int) -> Volume:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return Volume(array, (1.0,) * 3, (0.0,) * 3, (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="sees the libraries of a process on Linux")
def test_the_real_process_reports_a_wrong_model_without_loading_torch(tmp_path: Path) -> None:
    worker = InferenceWorker()
    with pytest.raises(UserError, match=r"no model\.json"):
        worker.run("segment", model=tmp_path, image=image(4, 4, 4))
    libraries = {Path(m.path).name for m in psutil.Process(worker.pid).memory_maps()}
    assert not any(name.startswith("libtorch") for name in libraries)
    worker.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, saved by a separate process."""
    folder = tmp_path_factory.mktemp("model") / "enet"
    card = ModelCard(
        name="untrained",
        role="student",
        network="enet",
        dims=3,
        in_channels=1,
        classes={"background": 0, "organ": 1},
        width=4,
        patch_size=(16, 16, 16),
        preprocessing=Preprocessing(),
    )
    code = """
import sys, torch
from pathlib import Path
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.models.saved import build_network, save_model
card = ModelCard.model_validate_json(sys.argv[2])
torch.manual_seed(0)
save_model(Path(sys.argv[1]), card, build_network(card))
"""
    subprocess.run([sys.executable, "-c", code, str(folder), card.model_dump_json()], check=True)
    return folder


@pytest.mark.slow
def test_the_real_process_segments_and_cancels(model: Path) -> None:
    worker = InferenceWorker()
    volume = image(24, 40, 40)
    phases: list[str] = []
    reply = worker.run(
        "segment",
        model=model,
        image=volume,
        probabilities=True,
        on_progress=lambda r: phases.append(r["phase"]),
    )
    assert reply["labels"].shape == volume.shape
    assert reply["probabilities"].shape == (*volume.shape, 2)
    np.testing.assert_allclose(reply["probabilities"].sum(-1), 1, atol=2e-3)
    assert reply["classes"] == {"background": 0, "organ": 1}
    assert reply["device"]
    assert reply["seconds"] > 0
    assert list(dict.fromkeys(phases)) == [
        "starting", "loading the model", "preparing the image", "segmenting",
        "back to the scan's grid",
    ]  # fmt: skip

    drawn = worker.run("heatmap", student=model, image=volume)
    assert drawn["student"].shape == volume.shape
    assert drawn["teacher"] is None

    maps = worker.run("importance", student=model, teacher=model, image=volume)
    assert maps["student"].shape == maps["teacher"].shape == volume.shape
    assert maps["agreement"] == pytest.approx(1)
    mask = np.zeros(volume.shape, np.uint8)
    mask[8:16, 8:24, 8:24] = 1
    found = worker.run("affinity", student=model, teacher=model, labels=mask, image=volume)
    assert found["classes"] == ["background", "organ"]
    assert found["voxels"] == [mask.size - 8 * 16 * 16, 8 * 16 * 16]
    np.testing.assert_allclose(found["student"].diagonal(), 1)
    np.testing.assert_allclose(found["difference"], 0)
    own = worker.run("affinity", student=model, image=volume)
    assert own["teacher"] is None
    assert any("predicted by the student" in note for note in own["notes"])
    graph = worker.run("graph", student=model, teacher=model, image=volume)
    rows, channels = graph["student"].shape
    assert rows == channels + 1
    np.testing.assert_allclose(graph["difference"], 0, atol=1e-12)
    one = worker.run("heatmap", student=model, image=volume, kind="variation", channel=0)
    assert 0 < one["student"].sum() < drawn["student"].sum()

    asked: list[Reply] = []

    def cancel_between_windows(reply: Reply) -> None:
        if reply["done"] and not asked:
            worker.cancel(reply["id"])
            asked.append(reply)

    large = image(96, 200, 200)
    reply = worker.run("segment", model=model, image=large, on_progress=cancel_between_windows)
    assert reply["event"] == "cancelled"
    assert asked[0]["done"] < asked[0]["total"]
    worker.close()
