"""Where a mask comes from."""

from pathlib import Path

import pytest
from labelling_cases import MODEL, box, make_dataset, propose

from napari_graphflow.errors import UserError
from napari_graphflow.labelling.masks import content_hash
from napari_graphflow.labelling.provenance import provenance
from napari_graphflow.labelling.store import Labelling


@pytest.fixture
def labelling(tmp_path: Path) -> Labelling:
    return Labelling(make_dataset(tmp_path / "scans"), "Ada")


def accept(labelling: Labelling) -> None:
    propose(labelling, "scan_2")
    labelling.accept("scan_2")


def edit(labelling: Labelling) -> None:
    propose(labelling, "scan_2")
    labelling.save(labelling.open_case("scan_2"), box(1))


def draw(labelling: Labelling) -> None:
    labelling.save(labelling.open_case("scan_2"), box(1))


def take_over(labelling: Labelling) -> None:
    labelling.save(labelling.open_case("scan_2"), box(1), source="3D Slicer")


@pytest.mark.parametrize(
    ("make", "kind", "algorithm", "version"),
    [
        (accept, "AUTOMATIC", "liver model", MODEL[:12]),
        (edit, "SEMIAUTOMATIC", "liver model", MODEL[:12]),
        (take_over, "SEMIAUTOMATIC", "3D Slicer", ""),
        (draw, "MANUAL", "", ""),
    ],
)
def test_a_mask_is_credited_to_whom_made_it(
    labelling: Labelling, make, kind: str, algorithm: str, version: str
) -> None:
    make(labelling)
    labelling.step("scan_2", "approve")
    found = provenance(labelling, "scan_2")
    assert (found.algorithm_type, found.algorithm, found.version) == (kind, algorithm, version)
    sidecar = found.sidecar()
    assert sidecar["Sources"] == ["bids:raw:imagesTr/scan_2_0000.nii.gz"]
    assert sidecar["GeneratedBy"][-1]["Name"] == "napari-graphflow"


def test_the_name_of_the_reader_is_written_only_if_asked(labelling: Labelling) -> None:
    draw(labelling)
    assert "Ada" not in str(provenance(labelling, "scan_2").sidecar())
    assert "Ada" in str(provenance(labelling, "scan_2", names=True).sidecar())


def test_nothing_is_claimed_of_a_mask_that_was_there_before(labelling: Labelling) -> None:
    labelling.step("scan_0", "approve")
    assert provenance(labelling, "scan_0").sidecar()["SegmentAlgorithmType"] is None


def test_a_mask_that_another_program_replaced_is_not_credited_to_the_last_reader(
    labelling: Labelling,
) -> None:
    accept(labelling)
    target = labelling.dataset.folder / "labelsTr" / "scan_2.nii.gz"
    target.write_bytes((target.parent / "scan_1.nii.gz").read_bytes())
    found = provenance(labelling, "scan_2")
    assert found.algorithm_type == "" and found.mask == content_hash(target)


def test_a_case_without_a_finished_mask_has_no_provenance(labelling: Labelling) -> None:
    with pytest.raises(UserError, match="no finished mask"):
        provenance(labelling, "scan_3")
