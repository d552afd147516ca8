import errno
import os

import pytest

from experiments.system.atomic_files import write_file


def test_a_file_that_cannot_be_written_keeps_its_old_content_and_leaves_nothing(
    tmp_path, monkeypatch
):
    path = tmp_path / "state.json"
    write_file(path, "one")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, "two")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_folder_are_on_disk_before_a_write_returns(tmp_path, monkeypatch):
    synced = []
    original = os.fsync

    def note(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_file(tmp_path / "a.txt", "text")
    temporary, folder = synced
    assert temporary.startswith(str(tmp_path / "a.txt."))
    assert folder == str(tmp_path)


def test_a_link_at_a_name_beside_the_file_is_never_written_to(tmp_path, monkeypatch):
    target = tmp_path / "precious"
    target.write_text("kept")
    monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 16)
    (tmp_path / f"a.txt.{'0' * 16}.tmp").symlink_to(target)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a.txt", "text")
    assert target.read_text() == "kept"


def test_permissions_are_those_that_the_user_wants_of_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
