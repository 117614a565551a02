"""Write the network of a model in the format of an export."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.padding import padded_size
from napari_graphflow.errors import UserError
from napari_graphflow.export.script import STEPS, copy_script
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.windows import plan_windows
from napari_graphflow.models.openvino_form import example_window, plain_logits, to_openvino
from napari_graphflow.models.openvino_package import import_openvino
from napari_graphflow.models.saved import Model
from napari_graphflow.system.telemetry import refuse_telemetry

#: Version of ONNX's operators, since 2022 in every runtime.
OPSET = 17


def write_onnx(model: Model, folder: Path, images: Sequence[Volume] = ()) -> None:
    """Write ``model.onnx``: any number and size of windows, what the model is in its properties."""
    import onnx

    card, path = model.card, folder / "model.onnx"
    spatial = ("depth", "height", "width")[-card.dims :]
    axes = {0: "batch", **dict(enumerate(spatial, start=2))}
    try:
        # torch deprecates tracing, and warns of each size that the network looks at.
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                plain_logits(model.adapter),
                (example_window(model),),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": axes, "logits": axes},
            )
    except OSError:
        raise
    except Exception as error:  # of torch and of onnx, of many kinds
        raise UserError(
            f"The network {card.network} cannot be converted to ONNX ({type(error).__name__}).",
            "Export it to OpenVINO, or as a MONAI bundle.",
        ) from None
    network = onnx.load(path)
    onnx.helper.set_model_props(network, properties(card) | {"opset": str(OPSET)})
    onnx.checker.check_model(network)
    onnx.save(network, path)
    _write_steps(model, path.name, folder)


def write_openvino(model: Model, folder: Path, images: Sequence[Volume] = ()) -> None:
    """Write ``model.xml`` and ``model.bin``, with what the model is under ``rt_info``."""
    openvino = import_openvino()
    network = to_openvino(model)
    for name, text in properties(model.card).items():
        network.set_rt_info(text, ["graphflow", name])
    openvino.save_model(network, folder / "model.xml", compress_to_fp16=False)
    _write_steps(model, "model.xml", folder)


def write_int8(model: Model, folder: Path, images: Sequence[Volume]) -> None:
    """Write ``model.xml`` with weights and feature maps in 8 bits, calibrated on some images."""
    refuse_telemetry()
    import nncf
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    windows = list(calibration_windows(model, images))
    with warnings.catch_warnings(action="ignore"):
        network = nncf.quantize(to_openvino(model), nncf.Dataset(windows), subset_size=len(windows))
    openvino.save_model(network, folder / "model.xml", compress_to_fp16=False)
    _write_steps(model, "model.xml", folder)


def calibration_windows(
    model: Model, images: Sequence[Volume], most: int = 64
) -> Iterator[NDArray[np.float32]]:
    """Return padded windows (1, C, *window) that are spread evenly over some images."""
    card, each = model.card, max(1, most // len(images))
    for image in images:
        array = prepare(image, card.preprocessing).array
        slices = array.ndim - 1 > card.dims
        size = (1, *card.patch_size) if slices else card.patch_size
        windows = plan_windows(array.shape[1:], size, 0.5, axis=0 if slices else None)
        for index in np.unique(np.linspace(0, len(windows.positions) - 1, each).astype(int)):
            window = array[(slice(None), *windows.region(windows.positions[index]))]
            window = window[:, 0] if slices else window
            target = padded_size(card.patch_size, model.multiples)
            extra = [(0, t - n) for t, n in zip(target, window.shape[1:], strict=True)]
            yield np.pad(window, [(0, 0), *extra], mode="edge")[None]


def properties(card: ModelCard) -> dict[str, str]:
    """Return what a model is and needs, as texts for the properties of its file."""
    steps = card.preprocessing
    return {
        "name": card.name,
        "classes": json.dumps(card.classes),
        "spacing": json.dumps(steps.spacing),
        "orientation": steps.orientation,
        "intensity": json.dumps(steps.channel_intensity or steps.intensity),
        "window": json.dumps(steps.window if steps.intensity == "ct_window" else None),
        "patch_size": json.dumps(card.patch_size),
        "licence": card.purpose.licence or "not stated",
        "source": card.purpose.source,
    }


def _write_steps(model: Model, network: str, folder: Path) -> None:
    """Write the script, and ``settings.json`` with all that it needs to know."""
    card = model.card
    settings = {
        "name": card.name,
        "network": network,
        "dims": card.dims,
        "in_channels": card.in_channels,
        "classes": card.classes,
        "patch_size": card.patch_size,
        "multiple": model.multiples,
        "windows": card.windows,
        "overlap": card.overlap,
        "largest_part": card.largest_part,
        "preprocessing": card.preprocessing.model_dump()
        | {"channels": card.preprocessing.channels},
        "purpose": card.purpose.model_dump() | {"modality": card.modality},
    }
    (folder / "settings.json").write_text(json.dumps(settings, indent=1), "utf-8")
    copy_script("network_script", folder, STEPS)
