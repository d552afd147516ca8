import os

import pytest

from experiments.system.atomic_files import write_json


def test_a_file_that_cannot_be_written_keeps_its_old_content(tmp_path):
    path = tmp_path / "state.json"
    write_json(path, {"step": 1})
    (tmp_path / f"state.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"step": 2})
    assert path.read_text() == '{\n  "step": 1\n}\n'
