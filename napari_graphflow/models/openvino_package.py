"""OpenVINO, where it is installed."""

from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.system.install import install_hint
from napari_graphflow.system.telemetry import refuse_telemetry


def import_openvino() -> Any:
    """Return the package ``openvino``, which then reports its use to nobody.

    Raises
    ------
    UserError
        If it is not installed.
    """
    refuse_telemetry()
    try:
        import openvino
    except ModuleNotFoundError:
        raise UserError("OpenVINO is not installed.", install_hint("openvino")) from None
    return openvino
