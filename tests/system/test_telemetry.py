"""OpenVINO reports its use to a server unless its package for reports is absent."""

import re
import subprocess
import sys
from pathlib import Path

import napari_graphflow

PACKAGE = Path(napari_graphflow.__file__).parent
REFUSED = "openvino_telemetry", "refuse_telemetry()"


def test_openvino_does_without_its_reports() -> None:
    code = (
        "import sys; from napari_graphflow.system.telemetry import refuse_telemetry as refuse; "
        "refuse(); import openvino; print('openvino.tools.ovc.telemetry_stub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_each_import_of_openvino_refuses_them_before() -> None:
    found = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines):
            typing = "TYPE_CHECKING" in lines[number - 1]
            if re.fullmatch(r" +import (openvino|nncf)", line) and not typing:
                before = " ".join(lines[max(0, number - 3) : number])
                assert any(one in before for one in REFUSED), f"{path}:{number + 1}"
                found += 1
    assert found > 2
