"""Write a student as the results folder of a training by nnU-Net, for its own predictor."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.padding import padded_size
from napari_graphflow.config.preprocessing import AXES, Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.export.script import copy_script
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.models.saved import Model
from napari_graphflow.networks.plain_conv_unet import LEVELS, features

NETWORK = "plain_conv_unet"
_WIDEST = 1e9
_LINEAR = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": False}


def write_nnunet(model: Model, folder: Path, images: Sequence[Volume] = ()) -> None:
    """Write ``plans.json``, ``dataset.json`` and ``fold_all/checkpoint_final.pth``.

    Raises
    ------
    UserError
        If nnU-Net has no equivalent of the network or of a step before it.
    """
    card = model.card
    if card.network != NETWORK:
        raise UserError(
            f"nnU-Net cannot rebuild the network {card.network}.",
            f"Distil a student with --network {NETWORK}.",
        )
    if card.members > 1:
        raise UserError(
            f"{card.name} is an ensemble, which this export does not contain.",
            "Export one of its models.",
        )
    configuration = "2d" if card.dims == 2 else "3d_fullres"
    plans = plans_of(card, configuration)
    (folder / "plans.json").write_text(json.dumps(plans, indent=1), "utf-8")
    labels = {"background" if value == 0 else name: value for name, value in card.classes.items()}
    dataset = {
        "channel_names": {str(index): f"channel {index}" for index in range(card.in_channels)},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "licence": card.purpose.licence,
    }
    (folder / "dataset.json").write_text(json.dumps(dataset, indent=1), "utf-8")
    fold = folder / "fold_all"
    fold.mkdir()
    checkpoint = {
        "network_weights": weights_for_nnunet(model.module.state_dict(), len(card.classes)),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": configuration, "fold": "all"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    (folder / "settings.json").write_text(
        json.dumps({"orientation": card.preprocessing.orientation, "channels": card.in_channels}),
        "utf-8",
    )
    copy_script("nnunet_script", folder)


def weights_for_nnunet(state: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Return the weights under all names that nnU-Net's modules have.

    It registers each layer of a block twice (`conv` and `all_modules.0`, `norm` and
    `all_modules.1`), the encoder once more inside the decoder, and the layers of deep supervision,
    which are not used for predictions.
    """
    named = {}
    for name, tensor in state.items():
        doubled = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        for one in {name, doubled}:
            named[one] = tensor
            if one.startswith("encoder."):
                named[f"decoder.{one}"] = tensor
    last = state[f"decoder.seg_layers.{LEVELS - 2}.weight"]
    for level in range(LEVELS - 2):
        channels = state[f"decoder.stages.{level}.convs.1.conv.weight"].shape[0]
        shape = (classes, channels, *last.shape[2:])
        named[f"decoder.seg_layers.{level}.weight"] = torch.zeros(shape)
        named[f"decoder.seg_layers.{level}.bias"] = torch.zeros(classes)
    return named


def plans_of(card: ModelCard, configuration: str) -> dict[str, Any]:
    """Return ``plans.json``.

    Raises
    ------
    UserError
        If nnU-Net has no equivalent of a step before the network.
    """
    steps, dims = card.preprocessing, card.dims
    patch = padded_size(card.patch_size, 2 ** (LEVELS - 1))
    spacing = _spacing(steps, dims)
    forward = [AXES.index(axis) for axis in steps.axes]
    norm, properties = _intensity(steps, card.in_channels)
    levels = range(LEVELS)
    convolution, instance = f"torch.nn.Conv{dims}d", f"torch.nn.InstanceNorm{dims}d"
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": LEVELS,
            "features_per_stage": features(card.width or 8),
            "conv_op": convolution.replace("nn.", "nn.modules.conv."),
            "kernel_sizes": [[3] * dims for _ in levels],
            "strides": [[2 if level else 1] * dims for level in levels],
            "n_conv_per_stage": [2] * LEVELS,
            "n_conv_per_stage_decoder": [2] * (LEVELS - 1),
            "conv_bias": True,
            "norm_op": instance.replace("nn.", "nn.modules.instancenorm."),
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    resampling = {
        f"resampling_fn_{what}{end}": value
        for what in ("data", "seg", "probabilities")
        for end, value in (
            ("", "resample_data_or_seg_to_shape"),
            ("_kwargs", _LINEAR | {"is_seg": what == "seg"}),
        )
    }
    return {
        "dataset_name": f"Dataset900_{card.name}",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, *spacing][-3:],
        "original_median_shape_after_transp": [1, *patch][-3:],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": forward,
        "transpose_backward": np.argsort(forward).tolist(),
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": properties,
        "configurations": {
            configuration: {
                "data_identifier": f"nnUNetPlans_{configuration}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": patch,
                "median_image_size_in_voxels": patch,
                "spacing": spacing,
                "normalization_schemes": [norm] * card.in_channels,
                "use_mask_for_norm": [False] * card.in_channels,
                **resampling,
                "architecture": architecture,
                "batch_dice": False,
            }
        },
    }


def _spacing(steps: Preprocessing, dims: int) -> list[float]:
    spacing = list(steps.spacing or ())
    kept = spacing[: len(spacing) - dims]
    wanted = spacing[-dims:]
    if steps.size is not None or not wanted or not all(wanted) or any(kept):
        raise UserError(
            "nnU-Net resamples every image to one voxel size along the axes of the network, and "
            "this model does not.",
            f"Distil a student with --preprocessing.spacing, {dims} numbers in mm"
            f"{' after a 0' if dims == 2 else ''}.",
        )
    return wanted


def _intensity(steps: Preprocessing, channels: int) -> tuple[str, dict[str, dict[str, float]]]:
    """Return the name of the scaling, and its numbers by channel."""
    low, high = [-_WIDEST] * channels, [_WIDEST] * channels
    if steps.clip:
        pairs = list(zip(steps.clip[::2], steps.clip[1::2], strict=True))
        pairs = pairs * channels if len(pairs) == 1 else pairs
        low, high = [one[0] for one in pairs], [one[1] for one in pairs]
    mean, std = [0.0] * channels, [1.0] * channels
    kind = steps.intensity
    plain = not steps.clip and steps.percentiles == (0, 100)
    if steps.channel_intensity or not (
        kind in ("ct_window", "mean_std", "none") or (kind == "zscore" and plain)
    ):
        raise UserError(
            "nnU-Net cannot scale intensities as this model does.",
            "Distil a student with --preprocessing.intensity ct_window or mean_std, or with "
            "zscore and --preprocessing.percentiles 0 100.",
        )
    if kind == "ct_window":
        bottom, top = steps.window
        low = [max(one, bottom) for one in low]
        high = [min(one, top) for one in high]
        mean, std = [bottom] * channels, [top - bottom] * channels
    elif kind == "mean_std":
        mean, std = (
            list(one) * channels if len(one) == 1 else list(one) for one in (steps.mean, steps.std)
        )
    properties = {
        str(index): {
            "mean": mean[index],
            "std": std[index],
            "percentile_00_5": low[index],
            "percentile_99_5": high[index],
        }
        for index in range(channels)
    }
    return ("ZScoreNormalization" if kind == "zscore" else "CTNormalization"), properties
