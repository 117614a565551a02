"""What every test may rely on: one thread, a home of its own, the shared data folder."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from napari.settings import get_settings

# Read when numpy and torch are first loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# napari neither reads nor writes the settings of the person who runs the tests, here and in the
# processes that tests start.
get_settings(None)
os.environ["NAPARI_CONFIG"] = ""

settings.register_profile("graphflow", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("graphflow")

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which jobs and models of this test are kept."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GRAPHFLOW_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images, from ``GRAPHFLOW_DATA`` or from beside the checkout."""
    folder = Path(os.environ.get("GRAPHFLOW_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (folder / "splits.json").is_file():
        pytest.skip(f"the shared data folder is not at {folder}; set GRAPHFLOW_DATA to it")
    return folder
