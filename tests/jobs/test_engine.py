"""Batches in memory are restored as the files of a job are."""

import io
import json

import numpy as np
import pytest

from perceptual_jax.errors import UsageError
from perceptual_jax.jobs.engine import Restorer, inputs_of
from tests.helpers.job_files import CONFIG, pixels_of


@pytest.fixture(scope="module")
def restorer(narrow):
    return Restorer(CONFIG, generator=narrow, batch_size=4, arrays=True)


def sources(finished):
    return [finished / "in" / path for path in ("a.png", "b.png", "sub/a.png")]


def test_batches_have_the_results_of_a_job(finished, restorer):
    records = [json.loads(path.read_text()) for path in sorted((finished / "out").glob("*.json"))]
    by_file = {record["input"]["path"]: record for record in records}
    paths = sources(finished)
    batch = {
        "image": np.array([None, pixels_of(paths[1]), None], dtype=object),
        "bytes": [paths[0].read_bytes(), None, paths[2].read_bytes()],
        "name": [str(path) for path in paths],
        "label": [1, 2, 3],
    }
    result = restorer(batch)
    assert result["label"] == [1, 2, 3]
    assert result["image"].dtype == np.uint8
    for i, path in enumerate(paths):
        there = by_file[str(path)]
        file = finished / "out" / f"{there['name']}.png"
        np.testing.assert_array_equal(result["image"][i], pixels_of(file))
        with np.load(file.with_suffix(".npz")) as saved, np.load(io.BytesIO(result["npz"][i])) as x:
            assert saved.files == x.files
            for name in saved.files:
                np.testing.assert_array_equal(saved[name], x[name])
            np.testing.assert_array_equal(result["styles"][i], saved["styles"])
        record = json.loads(result["record"][i])
        (mine,), (theirs,) = record.pop("restorations"), there["restorations"]
        assert mine == {name: value for name, value in theirs.items() if name != "image"}
        assert record["settings"] == there["settings"]
        assert record.keys() == there.keys() - {"seconds", "files", "restorations"}


def test_a_picture_that_cannot_be_read_fails_alone(finished, restorer):
    good = sources(finished)[0].read_bytes()
    values = [b"no picture", good, None, np.zeros((8, 8, 3)), np.zeros((8, 6, 3), np.uint8)]
    result = restorer({"image": values})
    assert result["name"] == ["0", "1", "2", "3", "4"]
    assert result["status"] == ["FAILED", "OK", "FAILED", "FAILED", "FAILED"]
    assert "uint8 [h w 3], got none" in result["message"][2]
    assert "got float64 [8, 8, 3]" in result["message"][3]
    assert "square" in result["message"][4]
    assert not result["image"][[0, 2, 3, 4]].any()
    assert result["image"][1].any()
    assert result["npz"][0] == b""


def test_wrong_columns_are_refused():
    with pytest.raises(UsageError, match="column image or bytes, got name"):
        inputs_of({"name": ["a"]})
    with pytest.raises(UsageError, match="one length"):
        inputs_of({"bytes": [b"", b""], "name": ["a"]})


def test_an_empty_batch_has_no_results(restorer):
    assert restorer({"bytes": []}) == {}
