"""A damaged draft is named when its case is opened, and the other cases can be labelled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from labelling_cases import make_dataset

from napari_graphflow.cli import main
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.agreement import store_consensus
from napari_graphflow.labelling.overview import list_cases, next_cases
from napari_graphflow.labelling.store import Labelling


def of_another_shape(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8)), str(path))


def filled(value: float, kind: type) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        old = sitk.ReadImage(str(path))
        new = sitk.GetImageFromArray(np.full(old.GetSize()[::-1], value, kind))
        new.CopyInformation(old)
        sitk.WriteImage(new, str(path))

    return write


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "another shape": of_another_shape, "cut": cut, "folder": folder_in_place,
    "broken link": broken_link, "unknown class": filled(77, np.uint8),
    "NaN": filled(np.nan, np.float32), "empty": lambda path: path.write_bytes(b""),
    "no image": lambda path: path.write_bytes(b"hello"),
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_draft_is_named_and_the_others_can_be_opened(
    how: str, tmp_path: Path, capsys: Any
) -> None:
    folder = make_dataset(tmp_path / "scans")
    for reader in ("Ada", "Bob"):
        labelling = Labelling(folder, reader)
        for name in ("scan_2", "scan_3"):
            opened = labelling.open_case(name)
            labelling.save_draft(opened, np.ones(opened.labels.shape, np.uint8))
    labelling = Labelling(folder, "Ada")
    draft = labelling.paths.draft("scan_2", "Ada")
    DAMAGE[how](draft)

    with pytest.raises(UserError, match="draft of case scan_2 cannot be opened") as refused:
        labelling.open_case("scan_2")
    assert str(draft) in refused.value.remedy
    with pytest.raises(UserError):
        store_consensus(labelling, "scan_2")
    with pytest.raises(SystemExit) as ended:
        main(["datasets", "agreement", str(folder), "scan_2", "Ada", "Bob"])
    assert ended.value.code == 2
    assert "scan_2" in capsys.readouterr().err

    assert {row.name for row in list_cases(labelling)} == {f"scan_{n}" for n in range(4)}
    assert "scan_3" in {one.case for one in next_cases(labelling)}
    assert labelling.open_case("scan_3").origin == "draft"
    assert Labelling(folder, "Bob").open_case("scan_2").origin == "draft"
    draft.rename(tmp_path / "aside")
    assert labelling.open_case("scan_2").origin == "empty"
