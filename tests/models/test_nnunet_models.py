"""Results folders of nnU-Net v2 as teachers: what is rebuilt, mapped and refused."""

import json
import pickle
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_cases import save

from napari_graphflow.cli import main
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.export.folder import export_model
from napari_graphflow.export.nnunet import write_nnunet
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.spline_labels import spline_labels
from napari_graphflow.models.importing import ImportOptions, files, import_teacher, nnunet
from napari_graphflow.models.saved import load_model
from napari_graphflow.networks import build

IDENTITY = tuple(np.eye(3).ravel().tolist())
STORED = Preprocessing(orientation="stored", axes=("z", "y", "x"))
STEPS = {"intensity": "ct_window", "window": (-100.0, 300.0), "spacing": (0.0, 1.5, 1.0)}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder as nnU-Net writes it, of a network with three classes."""
    model = load_model(
        save(tmp_path / "model", 2, "plain_conv_unet", patch=32, **STEPS, axes=("x", "z", "y"))
    )
    folder = tmp_path / "Dataset900_small" / "nnUNetTrainer__nnUNetPlans__2d"
    folder.mkdir(parents=True)
    write_nnunet(model, folder)
    (folder / "fold_all").rename(folder / "fold_0")
    return folder


def change(path: Path, **updates: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | updates), "utf-8")


def test_an_imported_folder_computes_the_same_logits(results: Path, tmp_path: Path) -> None:
    model = import_teacher(results, tmp_path / "teacher", ImportOptions(licence="CC0"))
    card = model.card
    assert (card.role, card.windows, card.purpose.licence) == ("teacher", "even", "CC0")
    assert card.preprocessing.axes == ("x", "z", "y")
    assert card.preprocessing.nnunet is not None
    image = torch.rand((1, 1, 32, 32))
    with torch.no_grad():
        found = model.module(image)
        torch.testing.assert_close(
            found.logits, load_model(tmp_path / "model").module(image).logits
        )
    strides = {name: 32 // tap.shape[-1] for name, tap in found.taps.items()}
    assert strides == {
        "encoder": 4, "decoder": 4, "encoder_2": 2, "decoder_2": 2, "encoder_3": 8, "decoder_3": 8,
        "bottleneck": 16, "lo": 2, "hi": 8,
    }  # fmt: skip


def test_several_folds_average_their_logits(results: Path, tmp_path: Path) -> None:
    first = results / "fold_0" / "checkpoint_final.pth"
    (results / "fold_1").mkdir()
    checkpoint = torch.load(first, weights_only=True)
    weights = checkpoint["network_weights"]
    checkpoint["network_weights"] = {name: value * 0.5 for name, value in weights.items()}
    torch.save(checkpoint, results / "fold_1" / first.name)
    image = torch.rand((1, 1, 32, 32))
    with torch.no_grad():
        single = [
            import_teacher(results, tmp_path / fold, ImportOptions(folds=(fold,))).module(image)
            for fold in "01"
        ]
        both = import_teacher(results, tmp_path / "both").module(image)
    torch.testing.assert_close(both.logits, (single[0].logits + single[1].logits) / 2)
    torch.testing.assert_close(both.taps["encoder"], single[0].taps["encoder"])


def test_a_checkpoint_that_would_run_code_is_refused(results: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "attacked",)

    (results / "fold_0" / "checkpoint_final.pth").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(UserError, match="could run code"):
        import_teacher(results, tmp_path / "teacher")
    assert not (tmp_path / "attacked").exists()
    assert not (tmp_path / "teacher").exists()


def test_a_checkpoint_that_unpacks_to_more_than_any_model_is_refused(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results / "fold_0" / "checkpoint_final.pth"
    torch.save({"network_weights": {"a": torch.zeros(1_000_000)}}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    largest = 100_000
    assert path.stat().st_size < largest
    monkeypatch.setattr(nnunet, "refuse_large", partial(files.refuse_large, largest=largest))
    with pytest.raises(UserError, match="more than any model"):
        import_teacher(results, tmp_path / "teacher")


@pytest.mark.parametrize("weights", [[1], {"a": "x"}, {5: torch.zeros(1)}])
def test_a_checkpoint_without_tensors_by_name_is_refused(
    results: Path, tmp_path: Path, weights: Any
) -> None:
    torch.save({"network_weights": weights}, results / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(UserError, match="is not a checkpoint of nnU-Net v2"):
        import_teacher(results, tmp_path / "teacher")


def test_numpy_numbers_in_a_checkpoint_are_read(results: Path, tmp_path: Path) -> None:
    path = results / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["logging"] = {"ema": [np.float32(0.5), np.float64(0.25)]}
    torch.save(checkpoint, path)
    import_teacher(results, tmp_path / "teacher")


def test_its_export_is_refused(results: Path, tmp_path: Path) -> None:
    import_teacher(results, tmp_path / "teacher")
    with pytest.raises(UserError, match="steps of nnU-Net around its network"):
        export_model(tmp_path / "teacher", "nnunet", tmp_path / "out")


def test_the_ignore_label_is_no_class(results: Path, tmp_path: Path) -> None:
    labels = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
    change(results / "dataset.json", labels=labels)
    card = import_teacher(results, tmp_path / "teacher").card
    assert card.classes == {"background": 0, "organ": 1, "lesion": 2}


@pytest.mark.parametrize(
    ("table", "classes", "mapping"),
    [
        (["both=ORGAN,lesion"], {"background": 0, "both": 1}, ["background", "both", "both"]),
        (["Lesion"], {"background": 0, "Lesion": 1}, ["background", "background", "Lesion"]),
    ],
)
def test_classes_are_mapped_several_to_one_and_some_to_none(
    results: Path, tmp_path: Path, table: list[str], classes: Any, mapping: list[str]
) -> None:
    plain = import_teacher(results, tmp_path / "plain")
    out = tmp_path / "mapped"
    with pytest.raises(SystemExit) as ended:
        main(["models", "import", str(results), "--out", str(out), "--classes", *table])
    assert not ended.value.code
    mapped = load_model(out)
    assert mapped.card.classes == classes
    assert list(mapped.card.mapping.values()) == mapping
    image = torch.rand((1, 1, 32, 32))
    with torch.no_grad():
        before = plain.module(image).logits.softmax(1)
        after = mapped.module(image).logits.softmax(1)
    for name, index in classes.items():
        those = [i for i, one in enumerate(mapping) if one == name]
        torch.testing.assert_close(after[:, index], before[:, those].sum(1))


def test_an_unknown_class_is_refused_with_similar_names(results: Path, tmp_path: Path) -> None:
    options = ImportOptions(classes={"tumour": ["lesions"]})
    with pytest.raises(UserError, match=r"no class 'lesions' for tumour; similar ones are lesion"):
        import_teacher(results, tmp_path / "teacher", options)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"image_reader_writer": "MyReader"}, "read by MyReader"),
        ({"configurations": {"3d_fullres": {}}}, "no configuration '2d'"),
        ({"configurations": {"2d": {"previous_stage": "3d_lowres"}}}, "cascade"),
        ({"configurations": {"2d": {"patch_size": 1}}}, "does not describe its network"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(
    results: Path, tmp_path: Path, what: dict[str, Any], words: str
) -> None:
    change(results / "plans.json", **what)
    with pytest.raises(UserError, match=words):
        import_teacher(results, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def of_2d(**settings: Any) -> Any:
    return lambda plans: plans["configurations"]["2d"].update(settings)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (of_2d(patch_size=[1 << 20, 1 << 20]), "a patch must have at most"),
        (of_2d(spacing=["x", 1]), "could not convert string"),
        (of_2d(inherits_from="2d"), "recursion"),
        (lambda plans: plans.update(transpose_forward=[0, 0, 1]), "axes must name"),
        (lambda plans: plans["configurations"]["2d"]["architecture"]["arch_kwargs"].update(
            n_stages=10**9), "1000000000 stages, not 2 to 16"),
        (lambda plans: plans["configurations"]["2d"]["architecture"]["arch_kwargs"].update(
            nonlin_kwargs={"negative_slope": 0.3}), "a negative slope of 0.3"),
    ],
)  # fmt: skip
def test_plans_with_wrong_numbers_are_refused_before_anything_is_allocated(
    results: Path, tmp_path: Path, damage: Any, words: str
) -> None:
    plans = json.loads((results / "plans.json").read_text("utf-8"))
    damage(plans)
    (results / "plans.json").write_text(json.dumps(plans), "utf-8")
    with pytest.raises(UserError, match=words):
        import_teacher(results, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_another_configuration_than_that_of_the_training_is_refused(
    results: Path, tmp_path: Path
) -> None:
    path = results / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    torch.save(checkpoint | {"init_args": {"configuration": "2d"}}, path)
    with pytest.raises(UserError, match="were trained as 2d, not as 2d_lowres"):
        import_teacher(results, tmp_path / "teacher", ImportOptions(configuration="2d_lowres"))


def test_a_region_that_is_not_named_is_part_of_the_one_around_it(
    results: Path, tmp_path: Path
) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    change(results / "dataset.json", labels=labels, regions_class_order=[1, 2, 3])
    options = ImportOptions(classes={"tumour": ["whole"], "active": ["enhancing"]})
    card = import_teacher(results, tmp_path / "teacher", options).card
    assert card.mapping == {
        "background": "background", "whole": "tumour", "core": "tumour", "enhancing": "active",
    }  # fmt: skip


def test_regions_are_painted_after_windows_are_merged(results: Path, tmp_path: Path) -> None:
    """Engines return the logits of regions; classes are those of the network's own head."""
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    change(results / "dataset.json", labels=labels, regions_class_order=[1, 3, 2])
    options = ImportOptions(classes={"tumour": ["whole"], "active": ["enhancing"]})
    model = import_teacher(results, tmp_path / "teacher", options)
    image = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    (raw,) = in_torch(model).engine.compute([image.numpy()], "logits")
    with torch.no_grad():
        expected = model.module(image).logits.softmax(1)[0].numpy()
        assert np.allclose(raw, model.adapter.module(image).numpy(), atol=0.01)
    image = Volume(np.ones((1, 32, 32), np.float32), (1.0, 1.5, 1.0), (0.0,) * 3, IDENTITY)
    prepared = prepare(image, STORED)
    soft = np.zeros((3, 1, 32, 32), np.float32)
    found = spline_labels(raw[0][:, None], prepared, model.card, soft)
    assert np.allclose(soft[:, 0], expected, atol=1e-3)
    assert (found[0] == expected.argmax(0)).mean() > 0.99


def test_overlapping_regions_are_painted_in_their_order() -> None:
    """The label is that of the last region whose sigmoid is above 0.5, as in nnU-Net."""
    from napari_graphflow.networks.taps import Head

    z = torch.randn((1, 3, 50, 50), generator=torch.Generator().manual_seed(0))
    regions = (1, 3, 2)
    expected = torch.zeros(50, 50, dtype=torch.long)
    for channel, value in enumerate(regions):
        expected[z[0, channel] > 0] = value
    assert torch.equal(Head(regions)(z).argmax(1)[0], expected)


def test_a_residual_encoder_has_the_names_of_nnunet() -> None:
    network = build(
        "nnunet:ResidualEncoderUNet", 1, 2, 2,
        features_per_stage=[4, 8, 8], kernel_sizes=[[3, 3]] * 3, strides=[1, [2, 2], [1, 2]],
        n_blocks_per_stage=[1, 2, 2], n_conv_per_stage_decoder=[1, 1],
    )  # fmt: skip
    assert network.multiple == (2, 4)
    assert network(torch.rand((1, 1, 8, 16))).logits.shape == (1, 2, 8, 16)
    names = set(network.state_dict())
    for name in (
        "encoder.stem.convs.0.conv.weight",
        "encoder.stages.1.blocks.0.skip.1.conv.weight",
        "encoder.stages.2.blocks.1.conv2.norm.bias",
        "decoder.seg_layers.1.bias",
    ):
        assert name in names
    assert "encoder.stages.2.blocks.0.skip.1.conv.weight" not in names  # as many channels before


def test_a_card_that_names_an_axis_too_many_is_refused(results: Path, tmp_path: Path) -> None:
    import_teacher(results, tmp_path / "teacher")
    change(tmp_path / "teacher" / "model.json", mirror=[3])
    with pytest.raises(UserError):
        read_model_card(tmp_path / "teacher")


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["models", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_taps_are_listed_and_changed(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "teacher"
    assert command("import", results, "--out", model) == 0
    assert command("taps", model, "--use", "encoder=encoder.stages.1") == 0
    capsys.readouterr()
    assert command("taps", model, "--json") == 0
    rows = {row.pop("tap"): row for row in json.loads(capsys.readouterr().out)}
    assert rows["encoder"] == {"layer": "encoder.stages.1", "channels": 16, "stride": [2, 2]}
    assert rows["decoder"] == {"layer": "decoder.stages.1", "channels": 32, "stride": [4, 4]}
    assert command("taps", model, "--use", "encoder=nowhere") == 2


def test_a_model_is_shown_and_removed_only_on_request(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "teacher"
    assert command("import", results, "--out", model, "--licence", "CC0") == 0
    capsys.readouterr()
    assert command("show", model, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["licence"], shown["orientation"], len(shown["sha256"])) == ("CC0", "stored", 64)
    assert command("remove", model) == 2
    (model / "notes.txt").write_text("mine", "utf-8")
    assert command("remove", model, "--yes") == 2
    (model / "notes.txt").unlink()
    assert command("remove", model, "--yes") == 0
    assert not model.exists()
