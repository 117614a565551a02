"""Convert the model of a finished run to OpenVINO."""

from collections.abc import Iterator
from pathlib import Path

from napari_graphflow.config.openvino_form import openvino_is_used
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import Event, Phase, Warned


def convert_result(folder: Path) -> Iterator[Event]:
    """Write the OpenVINO form of a job's model; the job is done even if it cannot be converted."""
    if not (openvino_is_used() and JobPaths(folder).model.is_dir()):
        return
    yield Phase(kind="converting", name="converting to OpenVINO")
    from napari_graphflow.models.openvino_form import convert

    try:
        convert(load_model(JobPaths(folder).model))
    except UserError as error:
        yield Warned(text=str(error))
