import numpy as np
import pytest
from PIL import Image

from perceptual_jax.config import UsageError
from perceptual_jax.data.collect import InputError
from perceptual_jax.data.images import read_image
from perceptual_jax.degradation.corruptions import degrade, find_kind
from perceptual_jax.degradation.files import degrade_files


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
    with pytest.raises(UsageError, match="is a file"):
        degrade_files(tmp_path / "a.png", tmp_path / "a.png", kind="sr8")
    with pytest.raises(InputError, match="no image to work on"):
        degrade_files([], tmp_path / "out", kind="sr8")
    assert not (tmp_path / "out").exists()
