"""Files and folders are replaced completely or not at all."""

from pathlib import Path

import pytest

from napari_graphflow.system.files import listing, replace_file, written_aside


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path) -> None:
    with written_aside(path) as aside:
        aside.write_bytes(b"half")
        raise OSError("full")


def test_a_file_is_replaced_without_leaving_temporary_files(tmp_path: Path) -> None:
    replace_file(tmp_path / "a.json", b"old")
    replace_file(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert entries(tmp_path) == ["a.json"]


def test_a_file_is_unchanged_if_writing_fails(tmp_path: Path) -> None:
    replace_file(tmp_path / "a.json", b"old")
    with pytest.raises(OSError, match="full"):
        write_half(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert entries(tmp_path) == ["a.json"]


def test_the_temporary_file_is_hidden_and_has_another_suffix(tmp_path: Path) -> None:
    with written_aside(tmp_path / "scan.nii.gz") as aside:
        assert aside.name.startswith(".") and not aside.name.endswith("scan.nii.gz")
        aside.write_bytes(b"x")


def test_a_folder_is_replaced_with_all_its_files(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with written_aside(tmp_path / "model") as aside:
            aside.mkdir()
            (aside / content).touch()
    assert entries(tmp_path) == ["model"]
    assert entries(tmp_path / "model") == ["new"]


def test_a_folder_is_unchanged_if_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError("refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="refused"), written_aside(tmp_path / "model") as aside:
        aside.mkdir()
    assert entries(tmp_path) == ["model"]
    assert entries(tmp_path / "model") == ["old"]


def test_files_that_operating_systems_leave_behind_are_not_listed(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.png", "._a.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "__MACOSX").mkdir()
    assert [path.name for path in listing(tmp_path)] == ["a.png", "b.nii.gz"]


def test_a_link_planted_in_place_of_the_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_graphflow.system.files.secrets.token_hex", lambda _: "guessed")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".scores.guessed.part").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        replace_file(tmp_path / "scores", b"new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "scores").exists()
