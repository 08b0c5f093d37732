"""Files that are replaced as a whole: what a failed write leaves behind."""

import json
from pathlib import Path

import pytest

from trueline.contracts import replacing, write_atomically


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("new, but ha")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_makes_the_folder(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.json", json.dumps([1]))
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == [1]
