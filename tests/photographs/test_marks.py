"""Faces marked by hand: both formats, and one sentence for what is none."""

import json

import numpy as np
import pytest

from perceptual_jax.errors import UsageError
from perceptual_jax.photographs.align import ffhq_quad
from perceptual_jax.photographs.marks import check_names, marked_faces, marks_of, read_marks
from tests.helpers.faces import ConstantNets

POINTS = [[30, 41], [52, 44], [40, 57], [31, 68], [48, 70]]


def written(path, content):
    path.write_text(content)
    return path


def test_json_and_csv_say_the_same(tmp_path):
    marks = {"a b.jpg": [[10, 20, 30, 50], POINTS], "c.png": []}
    flat = ",".join(str(x) for point in POINTS for x in point)
    lines = f"# faces\na b.jpg, 10, 20, 30, 50\n\na b.jpg,{flat}\n"
    of_json = read_marks(written(tmp_path / "a.json", json.dumps(marks)))
    of_csv = read_marks(written(tmp_path / "a.csv", lines))
    of_table = read_marks(written(tmp_path / "b.csv", f"file,left,top,right,bottom\n{lines}"))
    assert list(of_json) == list(of_csv) == list(of_table) == ["a b.jpg"]
    for several in zip(*(found["a b.jpg"] for found in (of_json, of_csv, of_table)), strict=True):
        for one in several[1:]:
            np.testing.assert_array_equal(one, several[0])
    np.testing.assert_array_equal(of_json["a b.jpg"][1], POINTS)


def test_names_are_those_of_the_photographs(tmp_path):
    path = written(tmp_path / "a.csv", "x/a.jpg,1,2,3,4\nb.jpg,1,2,3,5\nb.jpg,1,2,3,6\n")
    marks = read_marks(path)
    assert [len(marks_of(marks, name)) for name in ("p/x/a.jpg", "a.jpg", "y/b.jpg")] == [1, 0, 2]
    check_names(path, marks, ["p/x/a.jpg", "q/b.jpg", "c.jpg"])
    with pytest.raises(UsageError, match=r"marks x/a\.jpg, which is not among the photographs \(b"):
        check_names(path, marks, ["b.jpg"])


def test_landmarks_are_taken_as_they_are():
    photograph = np.zeros((200, 150, 3), np.uint8)
    (face,) = marked_faces(photograph, [np.array(POINTS, float)], ConstantNets(1), name="a")
    np.testing.assert_array_equal(face.landmarks, POINTS)
    np.testing.assert_array_equal(face.quad, ffhq_quad(np.array(POINTS, float)))
    assert (face.score, face.confirmed, face.skipped) == (1.0, None, None)
    left, top, right, bottom = face.box
    assert left < 30
    assert right > 52
    assert top < 41
    assert bottom > 70


def test_a_box_goes_through_onet():
    photograph = np.zeros((200, 150, 3), np.uint8)
    box = np.array([40.0, 40.0, 80.0, 90.0])
    (face,) = marked_faces(photograph, [box], ConstantNets(0.7), name="a")
    assert face.box == (40, 40, 80, 90)
    assert face.confirmed == pytest.approx(0.7)
    assert face.skipped is None
    assert np.abs(face.landmarks.mean(axis=0) - [59.5, 64.5 + 0.08 * 50]).max() < 5
    (face,) = marked_faces(photograph, [box], ConstantNets(0.1), name="a")
    assert "no face is seen in the box (40, 40, 80, 90) (score 0.10); mark its" in face.skipped


def test_the_largest_face_comes_first():
    marks = [np.array([10.0, 10, 20, 20]), np.array([40.0, 40, 80, 90])]
    found = marked_faces(np.zeros((200, 150, 3), np.uint8), marks, ConstantNets(1), name="a")
    assert [face.box[0] for face in found] == [40, 10]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"a":' + "[" * 100_000, "is not JSON"),
        ("a.json", "[]", "must be an object"),
        ("a.json", '{"a": 3}', "a must have a list"),
        ("a.json", '{"a": []}', "marks no face"),
        ("a.json", '{"a": [[1, 2, 3]]}', "mark 1 of a: expected are 4 numbers"),
        ("a.json", '{"a": [[1, 2, 3, NaN]]}', "expected are 4 numbers"),
        ("a.json", '{"a": [["1", "2", "3", "4"]]}', "expected are 4 numbers"),
        ("a.json", '{"a": [[true, false, true, true]]}', "expected are 4 numbers"),
        ("a.json", '{"a": [{"x": 1}]}', "expected are 4 numbers"),
        ("a.json", '{"a": [[[1, 2], [3]]]}', "expected are 4 numbers"),
        ("a.json", '{"a": [[10, 2, 3, 40]]}', "left must be below right"),
        ("a.csv", "a,1,2,3\n", "line 1: expected are 4 numbers"),
        ("a.csv", "\na,1,2,3,x\n", "line 2: expected are 4 numbers"),
        ("a.csv", "a,1,2,3,1e999\n", "line 1: expected are 4 numbers"),
        ("a.csv", "", "marks no face"),
    ],
)
def test_what_is_no_mark_is_told(tmp_path, name, content, message):
    with pytest.raises(UsageError, match=message):
        read_marks(written(tmp_path / name, content))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*none\.json"):
        read_marks(tmp_path / "none.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no text file"):
        read_marks(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b" " * 10_000_001)
    with pytest.raises(UsageError, match=r"too large for a file of marks \(10,000,001 bytes"):
        read_marks(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (
            [400.0, 40, 480, 90],
            r"box \(400, 40, 480, 90\) of a\.jpg lies outside it \(150 x 200 px",
        ),
        ([[300.0, y] for _, y in POINTS], "landmarks .* lies? outside it"),
        ([POINTS[i] for i in (1, 0, 2, 4, 3)], "are no face: expected are eye_left, eye_right"),
        ([[9.0, 9.0]] * 5, "are no face"),
    ],
)
def test_a_mark_of_another_photograph(mark, message):
    with pytest.raises(UsageError, match=message):
        marked_faces(
            np.zeros((200, 150, 3), np.uint8),
            [np.array(mark, float)],
            ConstantNets(1),
            name="a.jpg",
        )
