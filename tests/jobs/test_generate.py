import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.errors import UsageError
from perceptual_jax.generator.mapping import broadcast_styles
from perceptual_jax.io.images import to_uint8
from perceptual_jax.jobs.generate import generate_files, parse_seeds, sample_image


@pytest.fixture(scope="module")
def narrow(narrow_path):
    return load_generator(narrow_path)


@given(st.lists(st.integers(0, 10**8), min_size=1, unique=True))
def test_seeds_by_number(seeds):
    assert parse_seeds(",".join(map(str, seeds))) == seeds


def test_seeds_by_range_each_once():
    assert parse_seeds("7, 2-4,3,9-9") == [7, 2, 3, 4, 9]


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "3-1", "1-2-3", "1.5", "1e3", "٣"])
def test_other_texts_are_refused(text):
    with pytest.raises(UsageError, match="seeds must be numbers and ranges such as 0-15,20; got"):
        parse_seeds(text)


def test_a_range_that_nobody_means_takes_no_memory():
    with pytest.raises(UsageError, match="seeds must be at most 1,000,000"):
        parse_seeds("0-999999999")


draw = jax.jit(sample_image, static_argnames="psi")


def test_truncation_to_nothing_is_one_face_for_all_seeds(narrow):
    images = [draw(narrow, jax.random.key(seed), psi=0.0) for seed in (0, 1)]
    np.testing.assert_array_equal(*images)
    styles = broadcast_styles(narrow.w_mean, narrow.num_styles)
    mean = jax.jit(narrow.synthesis)(styles, narrow.noise_maps())
    np.testing.assert_allclose(images[0], mean, atol=1e-4)  # float32, another compiled program


def test_files_are_the_faces_of_their_seeds(narrow, narrow_path, tmp_path):
    seeds, seen = [3, 12345], []
    paths = generate_files(
        seeds,
        tmp_path / "by_name",
        psi=0.5,
        generator=narrow_path,
        progress=lambda *counts: seen.append(counts),
    )
    assert [path.name for path in paths] == ["seed0003.png", "seed12345.png"]
    assert seen == [(1, 2), (2, 2)]
    for seed, path in zip(seeds, paths, strict=True):
        expected = to_uint8(draw(narrow, jax.random.key(seed), psi=0.5))
        np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
    assert paths[0].read_bytes() != paths[1].read_bytes()
    assert (tmp_path / "by_name" / "index.png").is_file()


def test_wrong_usage_writes_nothing(narrow, tmp_path):
    with pytest.raises(UsageError, match="expected at least one seed"):
        generate_files([], tmp_path / "out", generator=narrow)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="is a file"):
        generate_files([0], tmp_path / "file", generator=narrow)
    assert not (tmp_path / "out").exists()
