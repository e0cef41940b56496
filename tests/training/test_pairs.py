import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.jpeg import quality_of
from perceptual_jax.degradation.profiles import load_profile
from perceptual_jax.degradation.resampling import match_size
from perceptual_jax.io.images import reduce_picture
from perceptual_jax.training.pairs import evaluation_pairs, training_batches
from perceptual_jax.training.sources import DataError, open_sources

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures of 96 x 80 pixels, of smooth noise."""
    path = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(6):
        small = rng.integers(0, 256, (12, 10, 3), np.uint8)
        Image.fromarray(small).resize((96, 80)).save(path / f"{i}.png")
    return path


def stream(folder, profile="jpeg", **options):
    source = open_sources(str(folder), size=80)
    settings = {"crop": 32, "batch_size": 8, "seed": 3} | options
    return training_batches(source, load_profile(profile), **settings)


def test_a_stream_is_a_matter_of_its_seed_and_resumes_exactly(folder):
    first, second, other = stream(folder), stream(folder), stream(folder, seed=4)
    batches = [next(first) for _ in range(3)]
    state = first.get_state()
    following = [next(first) for _ in range(3)]
    for batch in batches:
        again = next(second)
        assert all(np.array_equal(batch[name], again[name]) for name in batch)
    assert not np.array_equal(batches[0]["degraded"], next(other)["degraded"])
    resumed = stream(folder)
    resumed.set_state(state)
    for batch in following:
        again = next(resumed)
        assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_crops_are_of_the_jpeg_of_the_whole(folder):
    source = open_sources(str(folder), size=80)
    whole = [source[i] for i in range(len(source))]
    whole += [image[:, ::-1] for image in whole]
    batch = next(stream(folder, batch_size=16, crops_per_image=2))
    aligned = 0
    for i in range(16):
        original, place = _find(batch["original"][i], whole)
        quality = quality_of(batch["tables"][i])
        file = jpeg(
            np.ascontiguousarray(original),
            quality=quality,
            subsampling=SUBSAMPLINGS[batch["subsampling"][i]],
        )
        top, left = place
        expected = file.image[top : top + 32, left : left + 32]
        np.testing.assert_array_equal(batch["degraded"][i], expected)
        assert batch["phase"][i].tolist() == [top % 16, left % 16]
        aligned += top % 16 == left % 16 == 0
    assert 8 <= aligned <= 16


def _find(crop, pictures):
    for picture in pictures:
        windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape)[:, :, 0]
        places = np.argwhere((windows == crop).all(axis=(2, 3, 4)))
        if len(places):
            return picture, tuple(places[0])
    raise AssertionError("the crop is of none of the pictures")


def test_other_profiles_have_no_header_and_may_be_smaller(folder):
    batch = next(stream(folder, "superres", crop=16))
    assert (batch["tables"] == 0).all()
    assert (batch["phase"] == -1).all()
    assert batch["degraded"].shape == batch["original"].shape == (8, 16, 16, 3)
    (pair,) = evaluation_pairs(
        open_sources(str(folder), size=80), load_profile("superres"), seed=0, count=1
    )
    assert pair["degraded"].shape == pair["original"].shape
    assert pair["degraded"].shape[0] < 80


def test_reconstructions_now_and_then_take_the_originals_place(folder, tmp_path):
    Image.new("RGB", (80, 80), (1, 2, 3)).save(tmp_path / "2.png")
    batches = stream(folder, batch_size=12, crops_per_image=1, reconstructions=tmp_path)
    conditions = np.concatenate([next(batches)["original"] for _ in range(20)])
    marked = (conditions == np.array([1, 2, 3])).all(axis=(1, 2, 3))
    # One picture of six, in 15 of 100 draws: 6 of 240 expected.
    assert 1 <= marked.sum() <= 16
    with pytest.raises(DataError, match="no PNG under the name of a training picture"):
        stream(folder, reconstructions=folder.parent / "none")


def test_slices_hold_out(folder):
    names = [open_sources(f"{folder}{cut}", size=80) for cut in ("", "[:-2]", "[-2:]", "[::3]")]
    names = [[source.name(i) for i in range(len(source))] for source in names]
    assert names[1] == names[0][:-2]
    assert names[2] == names[0][-2:]
    assert names[3] == ["0", "3"]


def test_pictures_are_reduced_and_never_enlarged(folder):
    source = open_sources([str(folder)], size=40)
    assert source[0].shape == (40, 48, 3)
    assert source[0] is source[0]
    assert reduce_picture(source[0], 60).shape == (40, 48, 3)
    grey = np.full((9, 7, 3), 9, np.uint8)
    np.testing.assert_array_equal(match_size(grey, (4, 3)), grey[:4, :3])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("none", "no image to work on"),
        ("{folder}[9:]", "names none of the 6 pictures"),
        ("{folder}[::0]", "step of a slice must not be 0"),
        ("tfds:no_such_dataset", "tfds:no_such_dataset cannot be opened"),
    ],
)
def test_data_that_cannot_be_used(folder, data, message):
    with pytest.raises(DataError, match=message):
        open_sources(data.format(folder=folder), size=80)


def test_folders_without_a_readable_picture_and_crops_too_large(folder, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="has no readable picture"):
        open_sources(str(tmp_path), size=80)
    with pytest.raises(Exception, match="smaller than the crops of 128"):
        next(stream(folder, crop=128))
    with pytest.raises(DataError, match="no training data was given"):
        open_sources([], size=80)
