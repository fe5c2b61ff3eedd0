import os
from pathlib import Path

import pytest

from vocalremix.util.files import publish


def test_a_file_and_a_folder_appear_when_the_block_ends(tmp_path):
    with publish(tmp_path / "deep" / "file.txt") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "deep" / "file.txt").exists()
    with publish(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "inside.txt").write_text("whole")
    assert (tmp_path / "deep" / "file.txt").read_text() == "whole"
    assert (tmp_path / "folder" / "inside.txt").read_text() == "whole"
    assert sorted(os.listdir(tmp_path)) == ["deep", "folder"]


def test_what_was_there_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old.txt").touch()
    with publish(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "new.txt").touch()
    assert os.listdir(tmp_path / "folder") == ["new.txt"]


def test_the_current_folder_can_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    with publish(Path(".")) as partial:
        partial.mkdir()
        (partial / "new.txt").touch()
    assert os.listdir(tmp_path / "folder") == ["new.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_everything_as_it_was(tmp_path, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old.txt").touch()
    with pytest.raises(error), publish(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "new.txt").touch()
        raise error
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["old.txt"]


def test_a_link_to_a_folder_stays_and_the_folder_is_replaced(tmp_path):
    behind, link = tmp_path / "disk" / "behind", tmp_path / "link"
    behind.mkdir(parents=True)
    (behind / "old").touch()
    link.symlink_to(behind)
    with publish(link) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert link.is_symlink() and [path.name for path in behind.iterdir()] == ["new"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["behind"]
