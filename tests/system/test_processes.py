"""Processes that outlive this one."""

import sys
from pathlib import Path

import psutil
import pytest

from napari_graphflow.system import processes
from napari_graphflow.system.processes import start_detached


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other priorities")
def test_a_detached_process_gives_way_to_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "NICE", 10)
    child = start_detached(
        [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, tmp_path / "log"
    )
    try:
        assert psutil.Process(child.pid).nice() == 10
        assert psutil.Process().nice() < 10
    finally:
        child.kill()
        child.wait()
