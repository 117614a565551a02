"""What a model is for, and whether an image or a dataset is that."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graphflow.config.model_card import ModelCard, Purpose
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.compatibility import (
    ImageFacts,
    cautions,
    check_classes,
    image_facts,
    modality_of_channels,
    reason_for_caution,
    reason_not_to_fit,
    reason_not_to_fit_dataset,
    reason_not_to_pair,
    refuse_distillation,
)
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume

CLASSES = {"background": 0, "liver": 1, "spleen": 2}
CT = ImageFacts(3, modality="CT", spacing=(5.0, 0.8, 0.8), hounsfield=True)
MR = ImageFacts(3, modality="MR", spacing=(4.0, 1.0, 1.0), hounsfield=False)
UNKNOWN = ImageFacts(3, spacing=(5.0, 0.8, 0.8))
PHOTOGRAPH = ImageFacts(2, channels=3, rgb=True)


def card(modality: str = "CT", **changes: Any) -> ModelCard:
    settings: dict[str, Any] = {
        "name": "model", "role": "teacher", "network": "unet", "dims": 3, "in_channels": 1,
        "classes": CLASSES, "preprocessing": Preprocessing(),
        "patch_size": (8,) * int(changes.get("dims", 3)),
        "purpose": Purpose(modality=modality, spacing=(5.0, 0.8, 0.8)),
    }  # fmt: skip
    return ModelCard(**(settings | changes))


def photographs() -> ModelCard:
    return card("RGB", dims=2, in_channels=3, purpose=Purpose(modality="RGB"))


def volume(array: np.ndarray[Any, Any], **changes: Any) -> Volume:
    eye = tuple(np.eye(array.ndim).ravel().tolist())
    plain = Volume(array, (1.0,) * array.ndim, (0.0,) * array.ndim, eye)
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("model", "image", "reason"),
    [
        (card(), MR, "it is for CT, and this is MR"),
        (card("MR"), CT, "it is for MR, and this is CT"),
        (card(), replace(MR, modality=""), "the values of this image are not Hounsfield units"),
        (card("MR"), replace(CT, modality=""), "the values of this image are those of a CT"),
        (card(in_channels=2), CT, "it needs 2 channels, and this image has 1"),
        (card(), ImageFacts(2, modality="CT"), "it needs 3D volumes, and this image is 2D"),
        (card(), replace(CT, hounsfield=False), "values of this image are not Hounsfield units"),
        (photographs(), ImageFacts(2), "it needs 3 channels, and this image has 1"),
        (photographs(), ImageFacts(2, channels=3), "for colour photographs, and this is not one"),
        (
            card("MR", dims=2, in_channels=3),
            PHOTOGRAPH,
            "it is for MR, and this is a colour photograph",
        ),
    ],
)
def test_a_model_is_refused_with_the_reason(
    model: ModelCard, image: ImageFacts, reason: str
) -> None:
    assert reason in str(reason_not_to_fit(model, image))


@pytest.mark.parametrize(
    ("model", "image"),
    [
        (card(), CT),
        (card("MR"), MR),
        (card("MR"), replace(MR, modality="")),
        (card(""), MR),
        (card(), replace(CT, modality="")),
        (photographs(), PHOTOGRAPH),
        (card(dims=2), CT),
    ],
)
def test_a_model_on_the_images_it_is_for_is_neither_refused_nor_doubted(
    model: ModelCard, image: ImageFacts
) -> None:
    assert reason_not_to_fit(model, image) is None
    assert reason_for_caution(model, image) is None


def test_an_unknown_modality_is_a_doubt_and_no_refusal() -> None:
    assert reason_not_to_fit(card(), UNKNOWN) is None
    assert "the modality of this image is unknown" in str(reason_for_caution(card(), UNKNOWN))


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ((1.0, 0.8, 0.8), "voxels of 5 x 0.8 x 0.8 mm, and these are 1 x 0.8 x 0.8 mm"),
        ((5.0, 0.8, 2.5), "and these are 5 x 0.8 x 2.5 mm"),
        (None, "and the size of these is unknown"),
    ],
)
def test_a_very_different_voxel_size_is_a_doubt(
    spacing: tuple[float, ...] | None, words: str
) -> None:
    assert words in str(reason_for_caution(card(), replace(CT, spacing=spacing)))


def test_a_2d_model_does_not_depend_on_the_distance_of_slices() -> None:
    assert reason_for_caution(card(dims=2), replace(CT, spacing=(1.0, 0.8, 0.8))) is None


def test_an_older_card_for_ct_is_recognised_by_its_intensities() -> None:
    old = card(preprocessing=Preprocessing(intensity="ct_window"), purpose=Purpose())
    assert old.modality == "CT"
    assert "this is MR" in str(reason_not_to_fit(old, MR))


def test_hounsfield_units_are_recognised_by_the_values() -> None:
    random = np.random.default_rng(0)
    body = random.normal(40, 30, (8, 16, 16))
    ct = body.copy()
    ct[:, :4] = -1000
    assert image_facts(volume(ct)).hounsfield is True
    assert image_facts(volume(body)).hounsfield is None
    assert image_facts(volume(np.abs(body) * 10)).hounsfield is False
    assert image_facts(volume((body - 40) / 30)).hounsfield is False


def test_the_facts_of_a_photograph() -> None:
    photograph = volume(np.zeros((8, 8), np.uint8), channels=False, sized=False)
    colours = np.zeros((8, 8, 3), np.uint8)
    assert image_facts(photograph).spacing is None
    assert image_facts(replace(photograph, array=colours, channels=True)).rgb


def test_an_empty_result_names_what_was_not_found() -> None:
    empty = np.zeros((4, 4), np.uint8)
    assert cautions(card(), CT, empty) == ["model found none of: liver, spleen."]
    assert cautions(card(), CT, empty + 2) == []


def test_the_same_classes_with_other_values_are_said_with_their_values() -> None:
    other = dataset("CT", classes={name: value for value, name in enumerate(reversed(CLASSES))})
    reason = reason_not_to_fit_dataset(card(), other)
    assert reason is not None
    for name, value in CLASSES.items():
        assert f"{name} = {value}" in reason and f"{name} = {other.classes[name]}" in reason
    with pytest.raises(UserError, match=r" = 0, .* = 1"):
        check_classes(card(), other)


@pytest.mark.parametrize(
    ("names", "modality"),
    [
        (("CT",), "CT"),
        (("T1", "FLAIR", "T2-weighted"), "MR"),
        (("R", "G", "B"), "RGB"),
        (("image",), ""),
        (("CT", "PET"), ""),
    ],
)
def test_the_modality_follows_from_the_channel_names(names: tuple[str, ...], modality: str) -> None:
    assert modality_of_channels(names) == modality


def dataset(*channels: str, classes: dict[str, int] = CLASSES, ending: str = ".nii.gz") -> Dataset:
    return Dataset(Path("d"), "pilot", classes, channels, ending, (), (0, 1, 2))


@pytest.mark.parametrize(
    ("teacher", "data", "reason"),
    [
        (card(), dataset("MR"), "it is for CT, and pilot is MR"),
        (card(), dataset("CT", "PET"), "it needs 1 channel, and pilot has 2"),
        (
            card(),
            dataset("image", ending=".png"),
            "it needs 3D volumes, and the images of pilot are 2D",
        ),
        (card(), dataset("CT", classes={"background": 0, "liver": 1}), "has the classes"),
    ],
)
def test_a_teacher_that_does_not_fit_the_dataset_is_refused_with_the_reason(
    teacher: ModelCard, data: Dataset, reason: str
) -> None:
    assert reason in str(reason_not_to_fit_dataset(teacher, data))


def test_a_teacher_fits_the_dataset_it_is_for() -> None:
    assert reason_not_to_fit_dataset(card(), dataset("CT")) is None
    assert reason_not_to_fit_dataset(card(), dataset("image")) is None
    assert reason_not_to_fit_dataset(photographs(), dataset("R", "G", "B", ending=".png")) is None


@pytest.mark.parametrize(
    ("teacher", "student", "reason"),
    [
        ("unet", "resnet18", "needs a decoder, and ResNet-18 has none"),
        ("pspnet", "enet", "needs a decoder, and PSPNet has none"),
        ("unet", "enet", None),
    ],
)
def test_a_method_that_compares_decoders_refuses_networks_without_one(
    teacher: str, student: str, reason: str | None
) -> None:
    found = reason_not_to_pair("graph_flow", card(network=teacher), student)
    assert (found is None) if reason is None else (reason in str(found))
    assert reason_not_to_pair("logits", card(network=teacher), student) is None


def test_a_teacher_from_elsewhere_without_the_taps_of_a_method_is_refused() -> None:
    foreign = card(network="nnunet:PlainConvUNet").model_copy(
        update={"taps": {"encoder": "encoder.stages.2", "lo": "encoder.stages.1"}}
    )
    for method, tap in (("graph_flow", "decoder"), ("emkd", "hi"), ("generalisable", "bottleneck")):
        reason = reason_not_to_pair(method, foreign, "enet")
        assert reason is not None
        assert f"needs the tap {tap}, and this teacher has encoder, lo" in reason
    assert reason_not_to_pair("logits", foreign, "enet") is None
    assert reason_not_to_pair("generalisable", foreign, "enet", "encoder") is None
    assert reason_not_to_pair("generalisable", foreign, "enet", "encoder", "decoder") is None
    assert reason_not_to_pair("channel_wise", foreign, "enet", "lo") is None
    assert reason_not_to_pair("channel_wise", foreign, "enet", "hi") is not None


@pytest.mark.parametrize(
    ("taps", "missing"),
    [(("decoder", "encoder_2"), None), (("decodr", "lo"), "decodr"), (("hi", "up"), "up")],
)
def test_an_unknown_tap_of_a_network_of_ours_is_refused(
    taps: tuple[str, str], missing: str | None
) -> None:
    reason = reason_not_to_pair("generalisable", card(network="unet"), "enet", *taps)
    assert reason is None if missing is None else f"no tap {missing}; taps are b" in str(reason)
    # Networks of a package may name others.
    assert reason_not_to_pair("generalisable", card(network="theirs"), "theirs", "a", "b") is None


def test_a_distillation_that_cannot_run_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UserError, match="does not fit: it is 3D, and the student is 2D"):
        refuse_distillation(card(), dataset("CT"), "graph_flow", "enet", 2, whole=True)
    refuse_distillation(card(), dataset("CT"), "logits", "enet", 2, whole=True)
    with pytest.raises(UserError, match="does not fit: it is for CT, and pilot is MR"):
        refuse_distillation(card(), dataset("MR"), "logits", "enet", 3)
    refuse_distillation(card(), dataset("CT"), "graph_flow", "enet", 3)
