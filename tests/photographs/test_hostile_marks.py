"""Files of marks with numbers that no photograph has are told in one sentence."""

import numpy as np
import pytest

from perceptual_jax.errors import UsageError
from perceptual_jax.photographs.marks import marked_faces, read_marks
from tests.helpers.face_oracle import Oracle

FAR = ["-7000, -7000, 7100, 7100", "-1e6, -1e6, 1000100, 1000100", "-1e308, -1e308, 1e308, 1e308"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("box", FAR)
def test_a_box_far_beyond_the_photograph_is_of_another_one(tmp_path, box):
    path = tmp_path / "marks.json"
    path.write_text(f'{{"a.png": [[{box}]]}}')
    (marks,) = read_marks(path).values()
    with pytest.raises(UsageError, match=r"of a\.png lies outside it \(150 x 200 px\)"):
        marked_faces(np.zeros((200, 150, 3), np.uint8), marks, Oracle(), name="a.png")


@pytest.mark.parametrize("box", ["-40, -30, 90, 100", "0, 0, 150, 200", "-75, -100, 225, 300"])
def test_a_box_may_reach_beyond_the_photograph(tmp_path, box):
    path = tmp_path / "marks.csv"
    path.write_text(f"a.png,{box}\n")
    (marks,) = read_marks(path).values()
    (face,) = marked_faces(np.zeros((200, 150, 3), np.uint8), marks, Oracle(), name="a.png")
    assert "no face is seen" in face.skipped


@pytest.mark.parametrize("number", ["1" + 400 * "0", "1" + 5000 * "0", "1e400", "-Infinity"])
def test_a_number_beyond_all_numbers_is_none(tmp_path, number):
    path = tmp_path / "marks.json"
    path.write_text(f'{{"a.png": [[1, 2, 3, {number}]]}}')
    with pytest.raises(UsageError, match=r"marks\.json(, mark 1 of a\.png: expected| is not JSON)"):
        read_marks(path)
