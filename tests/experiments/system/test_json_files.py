import dataclasses
import json

import pytest

from experiments.system import json_files


@dataclasses.dataclass
class Point:
    x: int
    label: str = "none"


def test_what_is_written_is_read_as_its_type_and_whole(tmp_path):
    path = tmp_path / "point.json"
    json_files.write(path, {"x": 3, "label": "a", "more": [1.5]})
    assert json_files.read(path, Point) == Point(3, "a")
    assert json_files.read_object(path, Point) == {"x": 3, "label": "a", "more": [1.5]}
    assert path.read_text() == json.dumps({"x": 3, "label": "a", "more": [1.5]}, indent=2) + "\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[]", "Expected object, got array"),
        (b"{}", "missing required field x"),
        (b'{"x": null}', "Expected int, got null, in .x"),
        (b'{"x": Infinity}', "Expected int, got float, in .x"),
        (b'{"x": 1, "label": 5}', "Expected str, got int, in .label"),
        (b'{"x": "\xff"}', "can't decode byte"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, content, reason):
    path = tmp_path / "point.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged") as caught:
        json_files.read(path, Point)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
