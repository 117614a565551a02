"""Networks and methods of other installed packages, by their entry points."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from napari_graphflow.config.entry_points import method_entries, network_entries

INFO = """
from typing import Literal
from napari_graphflow.config.method_info import MethodInfo
from napari_graphflow.config.settings import Frozen

class Options(Frozen):
    '''Options of the mean square.

    Parameters
    ----------
    weight
        Weight of the loss.
    '''

    name: Literal["square"] = "square"
    weight: float = 0.5

INFO = MethodInfo("Mean square", "Squares.", "Squared differences.", "own_method:Square", Options)
"""
METHOD = """
from napari_graphflow.distillation.method import Method

class Square(Method):
    def __init__(self, config, shapes):
        super().__init__(config, shapes)
        self.weights = {"square": config.method.weight}

    def terms(self, student, teacher, weight):
        return {"square": (student.logits - teacher.logits).square().mean()}
"""
NETWORK = """
from torch import nn
from napari_graphflow.networks.taps import TapAdapter

def network(in_channels, classes, dims, width=None):
    conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
    width = width or 8
    module = nn.Sequential(
        conv(in_channels, width, 3, padding=1), nn.ReLU(), conv(width, classes, 1)
    )
    return TapAdapter(module, {}, multiple=1)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with an installed package that has a network and a method."""
    files = {"own_info.py": INFO, "own_method.py": METHOD, "own_network.py": NETWORK}
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    about = tmp_path / "own-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n", "utf-8")
    lines = """
        [napari_graphflow.networks]
        tiny = own_network:network
        enet = own_network:network
        [napari_graphflow.methods]
        square = own_info:INFO
        gone = not_there:INFO
    """
    (about / "entry_points.txt").write_text(textwrap.dedent(lines), "utf-8")
    return tmp_path


def run(package: Path, code: str) -> str:
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_own_network_and_an_own_method_are_settings_of_a_run(package: Path) -> None:
    code = """
import sys
import own_info
from napari_graphflow.config.networks import NETWORKS, network_title
from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.run import DistillationConfig
run = DistillationConfig(dataset="d", teacher="t", network="tiny", method={"name": "square"})
again = DistillationConfig.model_validate_json(run.model_dump_json())
assert again == run and "torch" not in sys.modules
print(run.method.weight, METHODS["square"].title, network_title("tiny"), NETWORKS["enet"].path)
"""
    assert run(package, code) == "0.5 Mean square tiny"


def test_a_name_in_use_and_a_method_that_cannot_be_loaded_are_left_out_with_a_warning(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(package))
    with pytest.warns(UserWarning, match=r"enet .* of own is left out"):
        assert [entry.name for entry in network_entries({"enet"})] == ["tiny"]
    with pytest.warns(UserWarning, match=r"gone .* of own cannot be loaded"):
        assert [name for name, _ in method_entries(())] == ["square"]


@pytest.mark.slow
def test_an_own_method_distils_into_an_own_network(
    package: Path, blobs: Path, teacher: Path, tmp_path: Path
) -> None:
    code = f"""
from pathlib import Path
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import load_model
from napari_graphflow.training.loop import distill
config = DistillationConfig(
    dataset={str(blobs)!r}, teacher={str(teacher)!r}, network="tiny", steps=2, threads=1,
    batch_size=1, patch_size=(16, 16, 16), teacher_min_dice=0, method={{"name": "square"}},
)
folder = Path({str(tmp_path / "job")!r})
terms = {{event.name for event in distill(config, folder) if event.event == "metric"}}
model = load_model(JobPaths(folder).model)
print("loss/square" in terms, model.card.network, model.card.provenance.run.method.name)
"""
    assert run(package, code) == "True tiny square"
