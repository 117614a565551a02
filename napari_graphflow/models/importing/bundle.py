"""A MONAI bundle as a saved model, read as data: nothing of its configuration is run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_graphflow.config.model_card import ModelCard, Purpose
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.models.importing.files import read_json, refuse_large
from napari_graphflow.models.saved import build_network, read_state
from napari_graphflow.networks.automatic_taps import find_taps, total_stride
from napari_graphflow.networks.monai_any import SEGMENTATION

METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
WEIGHTS = ("models/model.safetensors", "models/model.pt")
#: Transforms that change neither grid nor intensities.
_PLAIN = {"LoadImaged", "EnsureChannelFirstd", "AddChanneld", "EnsureTyped", "ToTensord",
          "CastToTyped", "ToDeviced"}  # fmt: skip
#: Transforms after the network that keep the class of each voxel.
_AFTER = {"Activationsd", "AsDiscreted", "Invertd", "SaveImaged"}
_LARGEST = "KeepLargestConnectedComponentd"
#: Transforms with statistics of the image, here always of each channel.
_STATISTICS = {"ScaleIntensityd", "ScaleIntensityRangePercentilesd", "NormalizeIntensityd"}
_REMEDY = "Import its weights with a card that describes it: --card."


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a MONAI bundle."""
    return (folder / METADATA).is_file()


def read_bundle(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights of a MONAI bundle.

    Raises
    ------
    UserError
        If its network is not a segmentation network of MONAI with plain arguments, or its
        preprocessing has no equivalent here.
    """
    metadata, config = read_json(folder / METADATA), read_json(folder / INFERENCE)
    try:
        return _read(folder, metadata, config)
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(
            f"The configuration of the bundle {folder.name} is not valid: {first_problem(error)}.",
            _REMEDY,
        ) from None


def _read(
    folder: Path, metadata: dict[str, Any], config: dict[str, Any]
) -> tuple[ModelCard, dict[str, Tensor]]:
    class_name, arguments = _network(config)
    dims = arguments.pop("spatial_dims", 3)
    channels = arguments.pop("in_channels", None)
    outputs = arguments.pop("out_channels", arguments.pop("num_classes", None))
    whole = all(isinstance(one, int) for one in (dims, channels, outputs))
    if not whole or dims not in (2, 3):
        raise UserError(
            f"The network {class_name} of {folder.name} does not name its axes and channels.",
            _REMEDY,
        )
    path = next((folder / one for one in WEIGHTS if (folder / one).is_file()), folder / WEIGHTS[-1])
    refuse_large(path)
    state = read_state(path)
    patch = _patch(config, metadata, dims)
    classes = _classes(metadata, config, outputs)
    card = ModelCard(
        name=str(metadata.get("name") or folder.name),
        role="teacher",
        network=f"monai:{class_name}",
        arguments=arguments | {"multiple": 1},
        dims=dims,
        in_channels=channels,
        classes=classes,
        patch_size=patch,
        windows="patch",
        largest_part=_largest_parts(config, classes),
        overlap=_overlap(config),
        preprocessing=_preprocessing(config, dims, channels),
        purpose=_purpose(metadata, folder),
    )
    return _with_taps(card), state


def _with_taps(card: ModelCard) -> ModelCard:
    """Return a card with the stride and the taps of its network, of which the sizes are checked."""
    example = torch.zeros(1, card.in_channels, *card.patch_size)
    network = build_network(card)
    try:
        multiple = math.gcd(total_stride(network, example), *card.patch_size)
        network.multiple = multiple
        taps = find_taps(network, example)
    except (RuntimeError, ValueError) as error:
        size = " x ".join(map(str, card.patch_size))
        raise UserError(
            f"The network of this bundle cannot process its window of {size} voxels "
            f"({type(error).__name__}).",
            _REMEDY,
        ) from None
    arguments = card.arguments | {"multiple": multiple}
    return card.model_copy(update={"arguments": arguments, "taps": taps})


def _network(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    definition = config.get("network_def", config.get("network"))
    if not isinstance(definition, Mapping) or "_target_" not in definition:
        raise UserError(f"{INFERENCE} does not describe a network under network_def.", _REMEDY)
    target = str(definition["_target_"])
    package, _, name = target.rpartition(".")
    known = package in ("", "monai.networks.nets") or package.startswith("monai.networks.nets.")
    if not known or name not in SEGMENTATION:
        raise UserError(
            f"The network of this bundle is {target}, which would run its own code.",
            f"Only {', '.join(SEGMENTATION)} of MONAI can be imported.",
        )
    plain = {
        key: _value(value, config)
        for key, value in definition.items()
        if key not in ("_target_", "_desc_", "_disabled_")
    }
    return name, plain


def _value(value: Any, config: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value of a configuration with its references replaced, if it is plain data.

    Raises
    ------
    UserError
        If it is an expression, or would build something.
    """
    if isinstance(value, str) and value.startswith("@") and depth < 10:
        if value[1:] in config:
            return _value(config[value[1:]], config, depth + 1)
        raise UserError(f"{INFERENCE} refers to {value}, which it does not hold.", _REMEDY)
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise UserError(f"{INFERENCE} builds {value['_target_']} as an argument.", _REMEDY)
        return {key: _value(one, config, depth) for key, one in value.items()}
    if isinstance(value, list):
        return [_value(one, config, depth) for one in value]
    if isinstance(value, str) and value[:1] in ("$", "%", "@"):
        raise UserError(
            f"{INFERENCE} holds the expression {value[:60]!r}, which is not run.", _REMEDY
        )
    return value


def _overlap(config: dict[str, Any]) -> float:
    inferer = config.get("inferer")
    found = inferer.get("overlap") if isinstance(inferer, Mapping) else None
    return min(max(float(found), 0.0), 0.9) if isinstance(found, (int, float)) else 0.25


def _patch(config: dict[str, Any], metadata: dict[str, Any], dims: int) -> tuple[int, ...]:
    inferer = config.get("inferer")
    size = inferer.get("roi_size") if isinstance(inferer, Mapping) else None
    if size is None:
        image = _described(metadata, "inputs")
        size = image.get("spatial_shape")
    size = _value(size, config)
    sides = [size] * dims if isinstance(size, int) else size
    if not isinstance(sides, list) or not all(isinstance(one, int) and one > 0 for one in sides):
        raise UserError(f"{INFERENCE} does not state the size of a window (roi_size).", _REMEDY)
    return tuple(sides[:dims])


def _after(config: dict[str, Any]) -> list[Mapping[str, Any]]:
    """Return the transforms after the network."""
    after = config.get("postprocessing")
    listed = after.get("transforms", []) if isinstance(after, Mapping) else []
    return [one for one in listed if isinstance(one, Mapping) and not one.get("_disabled_")]


def _largest_parts(config: dict[str, Any], classes: Mapping[str, int]) -> tuple[str, ...]:
    """Return the structures of which the bundle keeps only the largest part."""
    kept: set[int] = set()
    for step in _after(config):
        if _transform(step) == _LARGEST:
            labels = _value(step.get("applied_labels"), config)
            labels = list(classes.values()) if labels is None else labels
            kept |= set(labels if isinstance(labels, list) else [labels])
    return tuple(name for name, index in classes.items() if index and index in kept)


def _classes(metadata: dict[str, Any], config: dict[str, Any], outputs: int) -> dict[str, int]:
    steps = _after(config)
    if outputs < 2 or any(one.get("sigmoid") or one.get("threshold") for one in steps):
        raise UserError(
            "The outputs of this bundle are separate sigmoids, not classes of a softmax.", _REMEDY
        )
    for one in steps:
        name, each = _transform(one), one.get("independent", True) is True
        if name not in _PLAIN | _AFTER and not (name == _LARGEST and each):
            raise UserError(
                f"The transform {name} after the network of this bundle has no equivalent here.",
                _REMEDY,
            )
    found = _described(metadata, "outputs")
    names = found.get("channel_def") or {}
    named = {index: str(names.get(str(index)) or f"class {index}") for index in range(1, outputs)}
    if len(set(named.values()) | {"background"}) < outputs:
        raise UserError(f"{METADATA} names a class twice.", _REMEDY)
    return {"background": 0, **{name: index for index, name in named.items()}}


def _preprocessing(config: dict[str, Any], dims: int, channels: int) -> Preprocessing:
    """Return our steps for the transforms before the network."""
    before = config.get("preprocessing")
    listed = before.get("transforms") if isinstance(before, Mapping) else None
    if not isinstance(listed, list):
        raise UserError(f"{INFERENCE} does not list its transforms under preprocessing.", _REMEDY)
    # MONAI's arrays are in the order of the axes in the file, x first.
    found: dict[str, Any] = {
        "orientation": "stored",
        "axes": ("x", "y", "z") if dims == 3 else ("z", "x", "y"),
        "intensity": "none",
    }
    for transform in listed:
        if not isinstance(transform, Mapping):
            raise UserError(f"{INFERENCE} has a transform that is not plain data.", _REMEDY)
        if transform.get("_disabled_"):
            continue
        name = _transform(transform)
        if name in _PLAIN:
            continue
        options = {key: one for key, one in transform.items() if key not in ("_target_", "keys")}
        if channels > 1 and name in _STATISTICS and not options.get("channel_wise"):
            raise UserError(f"{name} of this bundle scales all channels by the same numbers, which "
                            "has no equivalent here.", _REMEDY)  # fmt: skip
        try:
            steps = _steps(name, _value(options, config), dims)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"The transform {name} of this bundle lacks {error}.", _REMEDY
            ) from None
        pixels = found.get("spacing", ())
        if "orientation" in steps and len(set(pixels)) > 1:
            raise UserError("This bundle resamples before it turns the image, which has no "
                            "equivalent here.", _REMEDY)  # fmt: skip
        if found["intensity"] != "none" and "intensity" in steps:
            raise UserError("This bundle scales intensities twice, which has no equivalent here.",
                            _REMEDY)  # fmt: skip
        found |= steps
    return Preprocessing(**found)


def _transform(definition: Mapping[str, Any]) -> str:
    """Return the name of a transform of MONAI; with its package if it is of another one."""
    target = str(definition.get("_target_", ""))
    package, _, name = target.rpartition(".")
    return name if f"{package}.".startswith(("monai.transforms.", ".")) else target


def _steps(name: str, options: dict[str, Any], dims: int) -> dict[str, Any]:
    """Return our settings for a transform of MONAI."""
    if name == "Orientationd" and options.get("axcodes"):
        return {"orientation": options["axcodes"]}
    if name == "Spacingd" and dims == len(options["pixdim"]) == 3:
        spacing = [float(one) for one in options["pixdim"]]
        return {"spacing": spacing, "grid": "extent" if options.get("scale_extent") else "centres"}
    scaling = _scaling(name, options)
    if scaling is None:
        raise UserError(
            f"The transform {name} of this bundle, with its options, has no equivalent here.",
            _REMEDY,
        )
    return scaling


def _scaling(name: str, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return our settings for a transform that scales intensities, None if there are none."""
    if name == "ScaleIntensityRanged":
        return _range(options)
    if name == "ScaleIntensityd" and (options.get("minv", 0.0), options.get("maxv", 1.0)) == (0, 1):
        return {"intensity": "percentile", "percentiles": (0.0, 100.0)}
    if name == "ScaleIntensityRangePercentilesd" and (options["b_min"], options["b_max"]) == (0, 1):
        bounds = (options["lower"], options["upper"])
        if options.get("clip") and not options.get("relative"):
            return {"intensity": "percentile", "percentiles": bounds}
    if name == "NormalizeIntensityd" and not options.get("nonzero"):
        mean, std = options.get("subtrahend"), options.get("divisor")
        if mean is None and std is None:
            return {"intensity": "zscore", "percentiles": (0.0, 100.0)}
        if mean is not None and std is not None:
            return {"intensity": "mean_std", "mean": mean, "std": std}
    return None


def _range(options: dict[str, Any]) -> dict[str, Any]:
    low, high = float(options["a_min"]), float(options["a_max"])
    bottom, top = options.get("b_min"), options.get("b_max")
    bottom, top = 0.0 if bottom is None else bottom, 1.0 if top is None else top
    if options.get("clip") and (bottom, top) == (0, 1):
        return {"intensity": "ct_window", "window": (low, high)}
    std = (high - low) / (top - bottom)
    scaled = {"intensity": "mean_std", "mean": low - bottom * std, "std": std}
    return scaled | ({"clip": (low, high)} if options.get("clip") else {})


def _described(metadata: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the first of the inputs or outputs that the metadata describe."""
    described = metadata.get("network_data_format", {}).get(what, {})
    found: dict[str, Any] = next(iter(described.values()), {})
    return found


def _purpose(metadata: dict[str, Any], folder: Path) -> Purpose:
    image = _described(metadata, "inputs")
    modality = str(image.get("modality") or "").upper()
    licence = metadata.get("license") or metadata.get("licence") or metadata.get("copyright") or ""
    version = metadata.get("version", "")
    return Purpose(
        modality={"CT": "CT", "MR": "MR", "MRI": "MR", "PT": "PT"}.get(modality, ""),
        source=f"MONAI bundle {metadata.get('name') or folder.name} {version}".strip(),
        licence=str(licence),
    )
