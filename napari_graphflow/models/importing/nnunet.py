"""The results folder of a training by nnU-Net v2 as a saved model."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from napari_graphflow.config.model_card import ModelCard, Purpose
from napari_graphflow.config.preprocessing import Intensity, NnUNetSteps, Preprocessing
from napari_graphflow.config.settings import first_problem
from napari_graphflow.dataset.compatibility import modality_of_channels
from napari_graphflow.errors import UserError
from napari_graphflow.models.importing.files import read_json, refuse_large
from napari_graphflow.networks.ensemble import MEMBER
from napari_graphflow.networks.nnunet import CLASSES, cumulated, taps_at

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
#: Orientation in which each reader of nnU-Net returns the images.
_READERS = {
    "SimpleITKIO": "stored",
    "NibabelIO": "stored",
    "NibabelIOWithReorient": "RAS",
    "NaturalImage2DIO": "stored",
    "Tiff3DIO": "stored",
}
_SCHEMES: dict[str, Intensity] = {
    "CTNormalization": "mean_std",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "percentile",
    "RGBTo01Normalization": "range",
}
_RESAMPLING = "resample_data_or_seg_to_shape"
#: Negative slope of a leaky ReLU, and stages of the largest network.
_SLOPE, _MOST_STAGES = 0.01, 16
_ACTIVATIONS = {"LeakyReLU": "leaky", "ReLU": "relu"}
_REMEDY = "Import a model that nnU-Net v2 trained with its default planner."


class Labels(NamedTuple):
    """Classes of a dataset of nnU-Net, and the order in which regions are painted."""

    classes: dict[str, int]
    regions: tuple[int, ...] = ()


def read_nnunet(
    folder: Path, folds: Sequence[str] = (), configuration: str = "", *, mirror: bool = False
) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights of a training by nnU-Net v2.

    Parameters
    ----------
    folder
        With ``plans.json``, ``dataset.json`` and ``fold_*/checkpoint_final.pth``.
    folds
        Folds to use, such as 0 or all; several become an ensemble. Default: all that are finished.
    configuration
        ``2d``, ``3d_fullres`` or ``3d_lowres``. Default: that of the checkpoint.
    mirror
        Whether the model also mirrors its windows, as ``nnUNetv2_predict`` does by default.

    Raises
    ------
    UserError
        If a file is missing or damaged, or the model needs what cannot be rebuilt here.
    """
    plans, dataset = read_json(folder / PLANS), read_json(folder / DATASET)
    checkpoints = [read_checkpoint(path) for path in _checkpoint_files(folder, folds)]
    name = _configuration_of(folder, checkpoints[0], configuration)
    axes = checkpoints[0].get("inference_allowed_mirroring_axes") or ()
    updates: dict[str, Any] = {
        "mirror": axes if mirror else (),
        "trained_mirrored": axes,
        "members": len(checkpoints),
    }
    try:
        card = _card(folder, plans, dataset, name)
        strides = cumulated(card.arguments["strides"], card.dims)
        first = MEMBER.format(0) if len(checkpoints) > 1 else ""
        updates["taps"] = {name: f"{first}{path}" for name, path in taps_at(strides).items()}
        card = ModelCard.model_validate(card.model_dump() | updates)
    except KeyError as error:
        raise UserError(f"{PLANS} or {DATASET} in {folder} lacks {error}.", _REMEDY) from None
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(
            f"{PLANS} or {DATASET} in {folder} is not valid: {first_problem(error)}.", _REMEDY
        ) from None
    weights = [_weights(one, card.arguments["features_per_stage"]) for one in checkpoints]
    return card, _joined(weights)


def _joined(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the weights of an ensemble of several networks."""
    if len(weights) == 1:
        return weights[0]
    return {
        f"{MEMBER.format(index)}{name}": value
        for index, one in enumerate(weights)
        for name, value in one.items()
    }


def _checkpoint_files(folder: Path, folds: Sequence[str]) -> list[Path]:
    names = [f"fold_{fold}" for fold in folds] or sorted(
        path.name for path in folder.glob("fold_*") if path.is_dir()
    )
    if not folds and len(names) > 1:  # as nnU-Net
        names = [name for name in names if name != "fold_all"]
    found = []
    for name in names:
        present = [folder / name / file for file in CHECKPOINTS if (folder / name / file).is_file()]
        if present and (folds or present[0].name == CHECKPOINTS[0]):
            found.append(present[0])
        elif folds:
            raise UserError(f"{folder / name} has no {CHECKPOINTS[0]}.", "Choose another fold.")
    if not found:
        raise UserError(
            f"{folder} has no fold_*/{CHECKPOINTS[0]}.",
            "Wait until the training of a fold is finished, or name one with --fold.",
        )
    return found


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint of nnU-Net, which holds tensors, numbers and numpy's scalars.

    Raises
    ------
    UserError
        If it holds anything else, which could run code, or is damaged.
    """
    refuse_large(path)
    types: list[Any] = [
        np.dtype,
        type(np.float64(0)).__reduce__(np.float64(0))[0],
        *(type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "u1", "bool")),
    ]
    try:
        with torch.serialization.safe_globals(types):
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds, pickle.UnpicklingError among them
        raise UserError(
            f"{path} is damaged, or holds more than tensors and numbers ({type(error).__name__}); "
            "files that could run code are rejected.",
            "Copy the file again, or ask for it from whoever trained the model.",
        ) from None
    weights = found.get("network_weights") if isinstance(found, dict) else None
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(one, Tensor) for name, one in weights.items()
    ):
        raise UserError(f"{path} is not a checkpoint of nnU-Net v2.", _REMEDY)
    return found


def _configuration_of(folder: Path, checkpoint: Mapping[str, Any], wanted: str) -> str:
    arguments = checkpoint.get("init_args")
    named = arguments.get("configuration") if isinstance(arguments, Mapping) else None
    if wanted and named and wanted != named:
        raise UserError(
            f"The networks in {folder} were trained as {named}, not as {wanted}.",
            f"Leave out --configuration, or choose the results folder of {wanted}.",
        )
    return str(wanted or named or folder.name.rpartition("__")[2])


def _card(folder: Path, plans: dict[str, Any], dataset: dict[str, Any], name: str) -> ModelCard:
    if name not in plans["configurations"]:
        raise UserError(
            f"{PLANS} has no configuration {name!r}.",
            f"Choose one of {', '.join(plans['configurations'])}.",
        )
    settings = _inherited(plans["configurations"], name)
    if settings.get("previous_stage") or "cascade" in name:
        raise UserError(
            f"The configuration {name} is a cascade, which needs the masks of another model.",
            "Import 3d_fullres, 3d_lowres or 2d.",
        )
    architecture = settings.get("architecture")
    if architecture is None:
        raise UserError(
            f"{PLANS} does not describe its network, as those before nnU-Net 2.3.",
            "Plan again with a newer nnU-Net, and train with these plans.",
        )
    class_name = architecture["network_class_name"].rpartition(".")[2]
    if class_name not in CLASSES:
        raise UserError(
            f"The network {class_name} of nnU-Net cannot be rebuilt here.",
            f"Import a model with {' or '.join(CLASSES)}.",
        )
    channels = dataset.get("channel_names") or dataset["modality"]
    labels = labels_of(dataset)
    patch = tuple(settings["patch_size"])
    return ModelCard(
        name=str(plans.get("dataset_name") or folder.parent.name),
        role="teacher",
        network=f"nnunet:{class_name}",
        arguments=_arguments(architecture["arch_kwargs"]),
        dims=3 if len(patch) == 3 else 2,
        in_channels=len(channels),
        classes=labels.classes,
        regions=labels.regions,
        patch_size=patch,
        windows="even",
        preprocessing=_preprocessing(plans, settings, len(channels)),
        purpose=Purpose(
            modality=modality_of_channels(tuple(channels.values())),
            spacing=_median_spacing(plans),
            source=f"nnU-Net v2, {plans.get('dataset_name', '')}, {name}",
            licence=str(dataset.get("licence") or dataset.get("license") or ""),
        ),
    )


def _inherited(configurations: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the settings of a configuration, completed by those that it inherits from."""
    own = dict(configurations[name])
    parent = own.pop("inherits_from", None)
    return own if parent is None else {**_inherited(configurations, parent), **own}


def _median_spacing(plans: dict[str, Any]) -> tuple[float, ...] | None:
    spacing = plans.get("original_median_spacing_after_transp")
    if not spacing:
        return None
    return tuple(float(spacing[axis]) for axis in np.argsort(plans["transpose_forward"]))


def labels_of(dataset: Mapping[str, Any]) -> Labels:
    """Return the classes without the ignore label, which no network returns."""
    labels = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    order = dataset.get("regions_class_order")
    if not order:
        classes = {name: int(value) for name, value in labels.items()}
        return Labels(classes)
    regions = [name for name, value in labels.items() if value not in (0, [0])]
    if len(regions) != len(order):
        raise ValueError(f"{len(regions)} regions, but {len(order)} numbers in regions_class_order")
    painted = dict(zip(regions, map(int, order), strict=True))
    return Labels({"background": 0, **painted}, tuple(painted.values()))


def regions_inside(folder: Path) -> dict[str, list[str]]:
    """Return the regions that contain the voxels painted as a region, the smallest first."""
    dataset = read_json(folder / DATASET)
    painted = {name: value for name, value in labels_of(dataset).classes.items() if value}
    parts = {
        name: set(value if isinstance(value, list) else [value])
        for name, value in dataset["labels"].items()
        if name in painted
    }
    return {
        name: sorted(
            (one for one in parts if one != name and value in parts[one]),
            key=lambda one: len(parts[one]),
        )
        for name, value in painted.items()
    }


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of our network for those of nnU-Net's."""
    norm = str(options.get("norm_op") or "").rpartition(".")[2]
    activation = str(options.get("nonlin") or "").rpartition(".")[2]
    odd = [
        name
        for name in ("squeeze_excitation", "stochastic_depth_p", "disable_default_stem")
        if options.get(name)
    ]
    slope = (options.get("nonlin_kwargs") or {}).get("negative_slope", _SLOPE)
    odd += [f"a negative slope of {slope}"] * (activation == "LeakyReLU" and slope != _SLOPE)
    block = str(options.get("block") or "BasicBlockD").rpartition(".")[2]
    kind = re.fullmatch(r"(Instance|Batch)Norm[23]d", norm)
    if kind is None or activation not in _ACTIVATIONS or odd or block != "BasicBlockD":
        layers = [norm or "no normalisation", activation or "no activation", block, *odd]
        raise UserError(
            "The network of these plans has layers that cannot be rebuilt here: "
            f"{', '.join(layers)}.",
            _REMEDY,
        )
    stages = int(options["n_stages"])
    if not 2 <= stages <= _MOST_STAGES:
        raise ValueError(f"{stages} stages, not 2 to {_MOST_STAGES}")
    counts = "n_blocks_per_stage" if "n_blocks_per_stage" in options else "n_conv_per_stage"
    return {
        "features_per_stage": _each(options["features_per_stage"], stages),
        "kernel_sizes": _each(options["kernel_sizes"], stages),
        "strides": _each(options["strides"], stages),
        counts: _each(options[counts], stages),
        "n_conv_per_stage_decoder": _each(options["n_conv_per_stage_decoder"], stages - 1),
        "conv_bias": bool(options.get("conv_bias")),
        "norm": kind.group(1).lower(),
        "norm_options": options.get("norm_op_kwargs") or {},
        "activation": _ACTIVATIONS[activation],
        "activation_first": bool(options.get("nonlin_first")),
    }


def _each(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


def _preprocessing(plans: dict[str, Any], settings: dict[str, Any], channels: int) -> Preprocessing:
    reader = plans["image_reader_writer"]
    if reader not in _READERS:
        raise UserError(
            f"The images of this model are read by {reader}, which is unknown here.", _REMEDY
        )
    schemes = settings["normalization_schemes"]
    unknown = [one for one in schemes if one not in _SCHEMES]
    if unknown or settings.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
        named = unknown[0] if unknown else settings["preprocessor_name"]
        raise UserError(f"The preprocessing {named} of these plans is unknown here.", _REMEDY)
    numbers = plans["foreground_intensity_properties_per_channel"]
    each = [numbers[str(index)] for index in range(channels)]
    kinds = tuple(_SCHEMES[one] for one in schemes)
    fingerprint: dict[str, Any] = {}
    if "mean_std" in kinds:
        widest = float(np.finfo(np.float32).max)
        pairs = [
            (one["percentile_00_5"], one["percentile_99_5"])
            if kind == "mean_std"
            else (-widest, widest)
            for kind, one in zip(kinds, each, strict=True)
        ]
        fingerprint = {
            "clip": pairs,
            "mean": [one["mean"] for one in each],
            "std": [max(one["std"], 1e-8) for one in each],
        }
    spacing = [float(size) for size in settings["spacing"]]
    flat = reader == "NaturalImage2DIO"
    return Preprocessing(
        orientation=_READERS[reader],
        axes=plans["transpose_forward"],
        spacing=tuple(spacing if len(spacing) == 3 or flat else [0.0, *spacing]),
        intensity=kinds[0],
        channel_intensity=kinds if len(set(kinds)) > 1 else (),
        nnunet=_steps(settings),
        **fingerprint,
    )


def _steps(settings: dict[str, Any]) -> NnUNetSteps:
    for what in ("data", "probabilities"):
        if settings[f"resampling_fn_{what}"] != _RESAMPLING:
            raise UserError(
                f"The resampling {settings[f'resampling_fn_{what}']} of these plans is unknown "
                "here.",
                _REMEDY,
            )
    data = settings["resampling_fn_data_kwargs"]
    logits = settings["resampling_fn_probabilities_kwargs"]
    return NnUNetSteps(
        masked=tuple(settings["use_mask_for_norm"]),
        order=data["order"],
        order_z=data["order_z"],
        logits_order=logits["order"],
        logits_order_z=logits["order_z"],
        separate_z=data["force_separate_z"],
    )


def _weights(checkpoint: Mapping[str, Any], features: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights without those that nnU-Net registers twice or does not predict with."""
    last = f"decoder.seg_layers.{len(features) - 2}."
    found = {}
    for key, value in checkpoint["network_weights"].items():
        name = key.removeprefix("module.").removeprefix("_orig_mod.")
        doubled = ".all_modules." in name or name.startswith("decoder.encoder.")
        deep = name.startswith("decoder.seg_layers.") and not name.startswith(last)
        if not doubled and not deep:
            found[name] = value
    return found
