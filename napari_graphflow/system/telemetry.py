"""OpenVINO and NNCF report their use to a server by default; nothing here may reach a network."""

import sys


def refuse_telemetry() -> None:
    """Let OpenVINO and NNCF, imported afterwards, do without their package for reports."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
