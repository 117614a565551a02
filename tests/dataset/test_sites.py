"""Sites of a dataset: sources are trained on, targets only reported."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from import_cases import mask_of, scan
from training_cases import training

from napari_graphflow.cli import main
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.dataset.sites import FILE, of_sources, read_sites
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import write_volume
from napari_graphflow.inference.evaluate import evaluate_split
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.training.loop import train

#: Of the cases blob_0 to blob_7, the masks of 2, 3 and 4 are missing; 5 is for validation, 6 and 7
#: for testing.
SITES = {0: "A", 1: "B", 2: "A", 3: "B", 4: "B", 5: "A", 6: "A", 7: "B"}


@pytest.fixture
def two_sites(blobs: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "sites"
    shutil.copytree(blobs, folder)
    rows = [f"blob_{number},{site}" for number, site in SITES.items()]
    (folder / FILE).write_text("\n".join(["case,site", *rows]), "utf-8")
    return folder


def names(dataset: Dataset) -> set[str]:
    return {case.name for case in dataset.cases}


def test_cases_carry_the_site_of_the_table(two_sites: Path) -> None:
    dataset = Dataset.open(two_sites)
    assert {case.name: case.site for case in dataset.cases} == {
        f"blob_{number}": site for number, site in SITES.items()
    }
    assert any("Cases of 2 sites: A (4) and B (4)." in one.text for one in dataset.findings)


def test_a_run_with_sources_uses_no_case_of_another_site(two_sites: Path, tmp_path: Path) -> None:
    config = training(two_sites, sources=("A",), steps=1, validate_every=1)
    dataset = Dataset.of_run(config)
    assert names(dataset) == {"blob_0", "blob_2", "blob_5", "blob_6"}
    assert any("4 cases of B are never used for training" in f.text for f in dataset.findings)
    run = tmp_path / "run"
    list(train(config, run))
    used = json.loads(JobPaths(run).cases_file.read_text())
    assert {name for some in used.values() for name in some} == {"blob_0", "blob_5"}
    scores = evaluate_split(two_sites, "test", model=JobPaths(run).model, device="cpu")
    # All labelled cases of the target, and the test case of the source.
    assert set(scores["cases"]) == {"blob_1", "blob_6", "blob_7"}
    assert {n: (s["role"], s["cases"]) for n, s in scores["sites"].items()} == {
        "A": ("source", 1),
        "B": ("target", 2),
    }
    only = evaluate_split(two_sites, "test", model=JobPaths(run).model, sites=["A"], device="cpu")
    assert set(only["cases"]) == {"blob_6"}
    with pytest.raises(UserError, match="'C' is not a site of blobs"):
        evaluate_split(two_sites, "test", model=JobPaths(run).model, sites=["C"])


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (("C",), "'C' is not a site of this dataset"),
        (("A", "B"), "All cases are of A and B, so that there is no other site to report"),
    ],
)
def test_sources_that_leave_no_choice_are_refused(
    two_sites: Path, sources: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        Dataset.open(two_sites, sources=sources)


def test_a_dataset_of_one_site_or_of_none_has_no_sources(blobs: Path, two_sites: Path) -> None:
    with pytest.raises(UserError, match="have no sites"):
        Dataset.open(blobs, sources=("A",))
    table = two_sites / FILE
    table.write_text(table.read_text().replace(",B", ",A"))
    with pytest.raises(UserError, match="All cases are of A, so that there is no other site"):
        Dataset.open(two_sites, sources=("A",))


def test_a_case_without_a_site_is_refused(two_sites: Path) -> None:
    table = two_sites / FILE
    table.write_text(table.read_text().replace("blob_3,B\n", ""))
    with pytest.raises(UserError, match="1 case has no site, such as blob_3"):
        Dataset.open(two_sites, sources=("A",))


def test_the_same_image_on_both_sides_is_refused(two_sites: Path) -> None:
    images = two_sites / "imagesTr"
    shutil.copy(images / "blob_0_0000.nii.gz", images / "blob_1_0000.nii.gz")
    with pytest.raises(UserError, match=r"same image is in a source.*\(blob_0, blob_1\)"):
        Dataset.open(two_sites, sources=("A",))


def test_the_same_patient_on_both_sides_is_refused(two_sites: Path) -> None:
    path = two_sites / "dataset.json"
    description = json.loads(path.read_text())
    description["napari_graphflow"] = {"patients": {"blob_0": "Smith", "blob_1": "Smith"}}
    path.write_text(json.dumps(description))
    with pytest.raises(UserError, match="The patient Smith is in a source and in a target site"):
        Dataset.open(two_sites, sources=("A",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,site\nblob_0,A", "needs the columns case and site"),
        ("case,site\nblob_0,", "needs the columns case and site"),
        ("case,site\nblob_0,A\nblob_0,B", "two sites for the case blob_0: A and B"),
    ],
)
def test_a_table_that_is_not_one_of_sites_is_refused(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / FILE).write_text(text, "utf-8")
    with pytest.raises(UserError, match=sentence):
        read_sites(tmp_path)


def test_the_command_line_trains_on_sources_and_lists_scores_by_site(
    two_sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: list[Any] = [
        "evaluate",
        str(two_sites),
        "--predictions",
        str(two_sites / "labelsTs"),
    ]
    with pytest.raises(SystemExit):
        main(arguments)
    printed = capsys.readouterr().out
    assert "A: mean Dice 1.000, cases 1" in printed
    assert "B: mean Dice 1.000, cases 1" in printed
    with pytest.raises(SystemExit) as ended:
        main(["train", "--dataset", str(two_sites), "--sources", "C", "--dims", "3"])
    assert ended.value.code == 2


@pytest.fixture
def hospitals(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of images and masks with two hospitals that number their patients alike."""
    images, masks = tmp_path / "scans", tmp_path / "masks"
    for place, (site, count) in enumerate((("hospital 1", 4), ("hospital 2", 3))):
        (images / site).mkdir(parents=True)
        (masks / site).mkdir(parents=True)
        for number in range(count):
            volume = scan(10 * place + number)
            write_volume(images / site / f"0{number}.nii.gz", volume)
            if number != 2:
                write_volume(masks / site / f"0{number}.nii.gz", mask_of(volume, 1))
    return images, masks


def test_folders_of_sites_are_imported_with_their_sites(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    images, masks = hospitals
    (images / "notes.txt").write_text("x", "utf-8")
    out = tmp_path / "data"
    command = ["datasets", "import", "--images", str(images), "--masks", str(masks)]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", str(out), "--site-folders"])
    assert ended.value.code == 0
    dataset = Dataset.open(out)
    assert {case.name: (case.site, case.label is not None) for case in dataset.cases} == {
        f"{site}_0{number}": (site, number != 2)
        for site, count in (("hospital 1", 4), ("hospital 2", 3))
        for number in range(count)
    }
    assert len(dataset.labelled("test")) == 1 and len(dataset.labelled("val")) == 1
    said = " ".join(one.text for one in [*dataset.findings, *check(dataset)])
    assert "3 names are used at several sites (00, 01, 02), for different patients." in said
    assert "notes.txt (in no folder of a site)" in " ".join(dataset.record["not_used"])
    assert "in several splits" not in said  # hospital 1 is no patient
    used, _ = of_sources(dataset.cases, ["hospital 1"], dataset.record["patients"])
    assert {case.site for case in used} == {"hospital 1"}
    with pytest.raises(SystemExit) as ended:
        main(["datasets", "folds", str(out), "--number", "4", "--overwrite"])
    assert ended.value.code == 0


def test_an_image_of_one_hospital_never_gets_the_mask_of_another(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    images, masks = hospitals
    (masks / "hospital 2" / "00.nii.gz").unlink()
    dataset = import_dataset(images, masks, tmp_path / "data", site_folders=True)
    labels = {case.name: case.label is not None for case in dataset.cases}
    assert labels["hospital 1_00"] and not labels["hospital 2_00"]


def test_without_folders_of_sites_nothing_is_imported(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    images, _ = hospitals
    with pytest.raises(UserError, match="contains no folders of sites"):
        import_dataset(images / "hospital 1", None, tmp_path / "data", site_folders=True)
    assert not (tmp_path / "data").exists()
