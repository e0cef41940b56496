import json

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation.corruptions import degrade, find_kind
from perceptual_jax.degradation.jpeg import read_header
from perceptual_jax.errors import UsageError
from perceptual_jax.io.images import read_image
from perceptual_jax.io.inputs import InputError
from perceptual_jax.jobs.degrade import RECORD, degrade_files


def write(path, seed, *, side=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_each_picture_is_degraded_under_its_name(tmp_path):
    pixels = write(tmp_path / "in" / "a.png", 0), write(tmp_path / "in" / "sub" / "b.bmp", 1)
    done = degrade_files(tmp_path / "in", tmp_path / "out", kind="sr8")
    assert done.written == (tmp_path / "out" / "a.png", tmp_path / "out" / "sub__b.png")
    assert done.failed == ()
    for path, original in zip(done.written, pixels, strict=True):
        np.testing.assert_array_equal(read_image(path), degrade(original, "sr8"))


def test_noise_depends_on_picture_and_seed_and_on_no_neighbour(tmp_path):
    grey = np.full((16, 16, 3), 100, np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey + np.uint8(1)).save(tmp_path / "b.png")

    def noise(*names, seed=0):
        out = tmp_path / f"out{len(names)}{seed}"
        written = degrade_files(
            [tmp_path / name for name in names], out, kind="noise20", seed=seed
        ).written
        return [read_image(path).astype(int) for path in written]

    both, alone, other = noise("a.png", "b.png"), noise("b.png"), noise("b.png", seed=1)
    assert np.abs(both[0] - both[1]).mean() > 10  # the same draw would differ by 1
    np.testing.assert_array_equal(both[1], alone[0])
    assert np.abs(alone[0] - other[0]).mean() > 10


def test_failures_stop_nobody_else(tmp_path):
    write(tmp_path / "in" / "good.png", 0)
    write(tmp_path / "in" / "small.png", 1, side=4)
    (tmp_path / "in" / "broken.png").write_bytes(b"x")
    seen = []
    done = degrade_files(
        [tmp_path / "in", "nowhere.png"],
        tmp_path / "out",
        kind="sr8",
        progress=lambda *counts: seen.append(counts),
    )
    assert [path.name for path in done.written] == ["good.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    reasons = dict(done.failed)
    assert reasons["nowhere.png"] == "does not exist"
    assert reasons[str(tmp_path / "in" / "broken.png")] == "it is not an image of a known format"
    assert "at least 8 pixels, got 4" in reasons[str(tmp_path / "in" / "small.png")]
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("kind", ["sr", "sr0", "sr99999", "jpeg101", "fog3", "sr8 ", "sr८", ""])
def test_unknown_kinds_are_refused_before_anything_is_written(tmp_path, kind):
    write(tmp_path / "a.png", 0)
    with pytest.raises(ValueError, match="kind must be one of srN"):
        find_kind(kind)
    with pytest.raises(UsageError, match="kind must be one of srN"):
        degrade_files(tmp_path / "a.png", tmp_path / "out", kind=kind)
    assert not (tmp_path / "out").exists()


def test_wrong_usage(tmp_path):
    write(tmp_path / "a.png", 0)
    with pytest.raises(UsageError, match="seed must be at least 0, got -1"):
        degrade_files(tmp_path / "a.png", tmp_path / "out", kind="sr8", seed=-1)
    for both in ({}, {"kind": "sr8", "profile": "jpeg"}):
        with pytest.raises(UsageError, match="give either a kind, such as jpeg10, or a profile"):
            degrade_files(tmp_path / "a.png", tmp_path / "out", **both)
    with pytest.raises(UsageError, match="profiles are blind, jpeg"):
        degrade_files(tmp_path / "a.png", tmp_path / "out", profile="jpg")
    with pytest.raises(UsageError, match="is a file"):
        degrade_files(tmp_path / "a.png", tmp_path / "a.png", kind="sr8")
    with pytest.raises(InputError, match="no image to work on"):
        degrade_files([], tmp_path / "out", kind="sr8")
    assert not (tmp_path / "out").exists()


def lines(folder):
    return [json.loads(line) for line in (folder / RECORD).read_text().splitlines()]


def test_a_profile_keeps_a_last_jpeg_and_says_what_was_drawn(tmp_path):
    write(tmp_path / "a.png", 0, side=24)
    (path,) = degrade_files(tmp_path / "a.png", tmp_path / "out", profile="jpeg", seed=4).written
    (record,) = lines(tmp_path / "out")
    assert path.name == record["file"] == "a.jpg"
    assert record["source"] == str(tmp_path / "a.png")
    assert (record["profile"], record["seed"], record["size"]) == ("jpeg", 4, [24, 24])
    (step,) = record["steps"]
    assert step["operation"] == "jpeg"
    with Image.open(path) as stored:
        np.testing.assert_array_equal(record["tables"], read_header(stored).tables)


def test_a_profile_that_ends_otherwise_writes_png(tmp_path):
    write(tmp_path / "a.png", 0, side=24)
    own = tmp_path / "own.toml"
    own.write_text("[[step]]\noperation = 'resize'\nscale = 0.5")
    (path,) = degrade_files(tmp_path / "a.png", tmp_path / "out", profile=own).written
    (record,) = lines(tmp_path / "out")
    assert path.name == record["file"] == "a.png"
    assert read_image(path).shape == (12, 12, 3)
    assert record["size"] == [12, 12]
    assert record["tables"] is None
    assert record["profile"] == str(own)


def test_a_profile_draws_by_picture_and_seed_whatever_else_is_there(tmp_path):
    for name in "abc":
        write(tmp_path / "in" / f"{name}.png", ord(name), side=24)

    def run(source, seed):
        out = tmp_path / f"{source.name}{seed}"
        paths = degrade_files(source, out, profile="real_world", seed=seed).written
        return {path.stem: path.read_bytes() for path in paths}

    all_of_them, alone = run(tmp_path / "in", 1), run(tmp_path / "in" / "b.png", 1)
    assert alone == {"b": all_of_them["b"]}
    assert run(tmp_path / "in" / "b.png", 2) != alone
    steps = [record["steps"] for record in lines(tmp_path / "in1")]
    assert steps[0] != steps[1] != steps[2]


def test_what_failed_is_in_the_record_too(tmp_path):
    write(tmp_path / "in" / "good.png", 0)
    write(tmp_path / "in" / "small.png", 1, side=4)
    (tmp_path / "in" / "broken.png").write_bytes(b"x")
    own = tmp_path / "own.toml"
    own.write_text("[[step]]\noperation = 'resize'\nscale = 0.5")
    done = degrade_files([tmp_path / "in", "nowhere.png"], tmp_path / "out", profile=own, seed=3)
    records = lines(tmp_path / "out")
    assert [record["file"] for record in records].count(None) == 3
    failed = [(r["source"], r["message"]) for r in records if r["file"] is None]
    assert failed == list(done.failed)
    assert any("would become 2 x 2 pixels" in message for _, message in failed)
    assert all((r["profile"], r["seed"]) == (str(own), 3) for r in records)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"good.png", RECORD}


def test_a_kind_writes_no_record(tmp_path):
    write(tmp_path / "a.png", 0)
    degrade_files(tmp_path / "a.png", tmp_path / "out", kind="sr8")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
