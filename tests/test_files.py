"""files.py: a file is whole or absent, its folder is made, every failure is an OutputError."""

import errno
import os
from pathlib import Path

import pytest

from filterscope.errors import OutputError
from filterscope.files import check_writable, write_text, writing


def everything_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def test_written_whole(tmp_path):
    """The text is there, its folders are made, nothing else is."""
    write_text(tmp_path / "a" / "b" / "x.txt", "grün\n")
    assert (tmp_path / "a" / "b" / "x.txt").read_bytes() == "grün\n".encode()
    assert everything_in(tmp_path) == ["a", "b", "x.txt"]


def test_not_there_before_the_block_ends(tmp_path):
    """Until the block ends the place keeps what it held."""
    place = tmp_path / "x.txt"
    place.write_text("old")
    with writing(place) as spare:
        spare.write_text("new")
        assert place.read_text() == "old"
        assert spare.parent == tmp_path
    assert place.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_failure_leaves_nothing(tmp_path, error):
    """A block that fails leaves the old file and no temporary one, and its error comes through."""
    place = tmp_path / "x.txt"
    place.write_text("old")

    def fail():
        with writing(place) as spare:
            spare.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert place.read_text() == "old"
    assert everything_in(tmp_path) == ["x.txt"]


def test_disk_full(tmp_path, monkeypatch):
    """A full disk is an OutputError that names the file and the reason; nothing is left."""

    def full(self, *args, **kw):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"cannot write .*x\.txt: No space left on device"):
        write_text(tmp_path / "x.txt", "text")
    assert everything_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_device_full(tmp_path):
    """The operating system's own refusal is an OutputError too."""

    def fill():
        with writing(tmp_path / "x.txt") as spare:
            spare.unlink()
            spare.symlink_to("/dev/full")
            spare.write_text("text" * 10000)

    with pytest.raises(OutputError, match="No space left on device"):
        fill()
    assert everything_in(tmp_path) == []


def test_a_file_where_the_folder_should_be(tmp_path):
    """A folder that cannot be made is an OutputError."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "out" / "x.txt", "text")
    assert (tmp_path / "out").read_text() == "a file"


def test_a_folder_where_the_file_should_be(tmp_path):
    """A place that is a folder is an OutputError, the folder stays."""
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "x.txt", "text")
    assert everything_in(tmp_path) == ["x.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path):
    """A folder that may not be written is an OutputError before any work."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            check_writable(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_check_writable_leaves_nothing(tmp_path):
    """Not even the folder, nor those above it; what was there before stays."""
    assert check_writable(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    assert everything_in(tmp_path) == []
    (tmp_path / "old").mkdir()
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "old" / "new")
    assert everything_in(tmp_path) == ["old"]


def test_written_while_the_folder_is_tried(tmp_path, monkeypatch):
    """Another program's trial of a folder may remove it between its making and the file's."""
    real, taken = Path.touch, []

    def touch(self, *args, **kw):
        if not taken:
            taken.append(self.parent.rmdir())
        real(self, *args, **kw)

    monkeypatch.setattr(Path, "touch", touch)
    write_text(tmp_path / "a" / "x.txt", "text")
    assert taken
    assert (tmp_path / "a" / "x.txt").read_text() == "text"


def test_rights_follow_the_umask(tmp_path):
    """A file has the rights that any other new file has."""
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x.txt", "text")
        assert (tmp_path / "x.txt").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
