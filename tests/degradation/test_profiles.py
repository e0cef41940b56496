import numpy as np
import pytest

from perceptual_jax.degradation.jpeg import quality_of
from perceptual_jax.degradation.operations import OPERATIONS
from perceptual_jax.degradation.profiles import (
    ProfileError,
    apply_profile,
    load_profile,
    profile_names,
)
from perceptual_jax.errors import UsageError
from tests.helpers.pictures import picture

EXAMPLES = {
    "avif": "quality = 30",
    "blur": "sigma = [0.5, 2]",
    "fade": "contrast = 0.6",
    "gaussian_noise": "sigma = 9",
    "jpeg": "quality = [10, 20]",
    "jpeg2000": "rate = 40",
    "jpeg2000_decibels": "decibels = 28",
    "motion_blur": "length = 5\nangle = 30",
    "plateau_blur": "sigma = 2\nshape = 1.5",
    "poisson_noise": "scale = 2",
    "resize": "scale = 0.5",
    "resize_shorter": "side = 20",
    "shift_colours": "amount = 20",
    "sinc": "cutoff = 1.5",
    "webp": "quality = 20",
}


def profile(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_shipped_profiles():
    expected = ("blind", "jpeg", "jpeg_resized", "old_photo", "real_world", "superres")
    assert profile_names() == expected


@pytest.mark.parametrize("name", profile_names())
def test_a_seed_decides_every_byte(name):
    clean = picture(1, 96, 80)
    loaded = load_profile(name)
    first, second = (apply_profile(loaded, clean, rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    assert first.record == second.record
    results = [apply_profile(loaded, clean, rng(seed)) for seed in range(12)]
    assert len({result.record for result in map(_hashable, results)}) > 6
    for result in results:
        assert result.image.dtype == np.uint8
        assert result.record
        if name in ("old_photo", "real_world"):
            assert result.image.shape == clean.shape


def _hashable(result):
    return result._replace(record=str(result.record))


@pytest.mark.parametrize("operation", sorted(EXAMPLES))
def test_every_operation_changes_a_picture_and_says_what_it_did(operation, tmp_path):
    text = f'[[step]]\noperation = "{operation}"\n{EXAMPLES[operation]}'
    clean = picture(2)
    result = apply_profile(load_profile(profile(tmp_path, text)), clean, rng())
    assert result.record[0]["operation"] == operation
    assert result.record[0].keys() == {"operation", *OPERATIONS[operation].parameters}
    assert result.image.shape != clean.shape or np.abs(result.image - 1.0 * clean).mean() > 0.3


def test_the_examples_are_all_operations():
    assert set(EXAMPLES) | {"grey", "resize_back"} == set(OPERATIONS)


def test_a_header_comes_from_a_last_jpeg_only(tmp_path):
    clean = picture()
    last = apply_profile(load_profile("jpeg"), clean, rng())
    assert quality_of(last.header.tables) == last.record[0]["quality"]
    assert last.encoded is not None
    text = '[[step]]\noperation = "jpeg"\nquality = 30\n[[step]]\noperation = "grey"'
    after = apply_profile(load_profile(profile(tmp_path, text)), clean, rng())
    assert (after.header.tables == 0).all()
    assert after.encoded is None


def test_a_step_that_changes_nothing_keeps_the_header(tmp_path):
    text = """
[[step]]
operation = "jpeg"
quality = 30
[[step]]
operation = "resize"
scale = 1
[[step]]
operation = "resize_back"
[[step]]
operation = "grey"
probability = 0
"""
    result = apply_profile(load_profile(profile(tmp_path, text)), picture(), rng())
    assert quality_of(result.header.tables) == 30
    assert [step["operation"] for step in result.record] == ["jpeg", "resize", "resize_back"]


def test_the_parts_of_the_shipped_profiles():
    def operations(name):
        loaded = load_profile(name)
        records = [apply_profile(loaded, picture(1, 48, 64), rng(i)).record for i in range(150)]
        return [[step["operation"] for step in record] for record in records], records

    runs, records = operations("jpeg")
    assert all(run == ["jpeg"] for run in runs)
    assert {record[0]["quality"] for record in records} >= {5, 60}
    subsamplings = [record[0]["subsampling"] for record in records]
    assert subsamplings.count("4:2:0") > 75
    assert set(subsamplings) == {"4:2:0", "4:4:4", "4:2:2"}
    runs, _ = operations("real_world")
    assert 40 < sum(run[-1] == "jpeg" for run in runs) < 110
    assert all(run.count("jpeg") == 2 and run.count("resize_back") == 1 for run in runs)
    runs, _ = operations("blind")
    assert {"avif", "webp", "jpeg2000", "motion_blur"} <= {run[-1] for run in runs}


def test_jpeg_resized_leaves_no_grid():
    result = apply_profile(load_profile("jpeg_resized"), picture(0, 300, 320), rng())
    assert result.image.shape == (256, 273, 3)
    assert (result.header.tables == 0).all()


def test_ranges_probabilities_and_weights_are_kept(tmp_path):
    text = """
[[step]]
operation = "gaussian_noise"
sigma = [2, 4]
probability = 0.25
[[step]]
one_of = [
  {weight = 9, operation = "grey"},
  {weight = 1, steps = [{operation = "webp", quality = 5}]},
]
"""
    loaded = load_profile(profile(tmp_path, text))
    generator = rng()
    records = [apply_profile(loaded, picture(0, 16, 16), generator).record for _ in range(200)]
    noises = [r for record in records for r in record if r["operation"] == "gaussian_noise"]
    assert 25 < len(noises) < 75
    assert all(2 <= noise["sigma"] <= 4 for noise in noises)
    assert 160 < sum(record[-1]["operation"] == "grey" for record in records) < 199


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"step must be a list of at least one step"),
        ("[[steps]]\noperation = 'grey'", r"unknown key 'steps' in the top level"),
        ("[[step]]\noperation = 'gray'", r"operation must be one of avif, blur"),
        ("[[step]]\noperation = 'jpeg'", r"lacks quality, which jpeg needs"),
        ("[[step]]\noperation = 'jpeg'\nquality = [60, 5]", r"quality must be a whole number"),
        ("[[step]]\noperation = 'jpeg'\nquality = 0", r"from 1 to 100"),
        ("[[step]]\noperation = 'jpeg'\nquality = 9.5", r"whole number"),
        ("[[step]]\noperation = 'grey'\nsigma = 3", r"unknown key 'sigma' in step\[0\]"),
        ("[[step]]\noperation = 'resize'\nscale = 0.5\nfilter = 'sharp'", r"one or several of"),
        ("[[step]]\noperation = 'grey'\nprobability = 2", r"number from 0 to 1, got 2"),
        ("[[step]]\none_of = []", r"one_of must be a list of at least one"),
        ("[[step]]\none_of = [{weight = 0, operation = 'grey'}]", r"a weight above 0"),
        ("[[step]]\nprofile = 'jpg'", r"no profile is called 'jpg'"),
        ("[[step]]\nprofile = 'jpeg'\noperation = 'grey'", r"one of operation, one_of, steps"),
        ("[[step]\n", r"is not a TOML file"),
        ("[[step]]\noperation = ['jpeg']", r"operation must be one of .*, got \['jpeg'\]"),
        ("[[step]]\noperation = 'grey'\nweight = 2", r"valid keys are operation, probability$"),
        ("[[step]]\none_of = [{operation = 'grey', x = 2}]", r"operation, probability, weight$"),
        ("[[step]]\none_of = [{steps = [{weight = 1, profile = 'jpeg'}]}]", r"key 'weight' in"),
        ("[[step]]\none_of = [{weight = nan, operation = 'grey'}]", r"a number from 0 to"),
        ("[[step]]\noperation = 'blur'\nsigma = [1, 2, 3]", r"\[lowest, highest\] of such"),
    ],
)
def test_mistakes_are_one_sentence(text, message, tmp_path):
    with pytest.raises(ProfileError, match=message) as error:
        load_profile(profile(tmp_path, text))
    assert "own.toml" in str(error.value)
    assert isinstance(error.value, UsageError)


def test_a_profile_that_runs_itself_is_refused(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(f"[[step]]\nprofile = '{path}'")
    with pytest.raises(ProfileError, match=r"^own.toml: step\[0\] is nested too deeply"):
        load_profile(path)


def test_a_path_in_a_profile_is_relative_to_its_own_folder(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "grey.toml").write_text("[[step]]\noperation = 'grey'")
    (inner / "again.toml").write_text("[[step]]\nprofile = 'grey.toml'")
    own = load_profile(profile(tmp_path, "[[step]]\nprofile = 'inner/again.toml'"))
    assert apply_profile(own, picture(0, 16, 16), rng()).record == ({"operation": "grey"},)


def test_too_small_and_too_large_pictures_and_missing_files(tmp_path):
    text = "[[step]]\noperation = 'resize'\nscale = 0.1"
    with pytest.raises(ValueError, match="would become 2 x 2 pixels"):
        apply_profile(load_profile(profile(tmp_path, text)), picture(0, 16, 16), rng())
    text = "[[step]]\noperation = 'resize_shorter'\nside = 4096"
    with pytest.raises(ValueError, match="would become 409600 x 4096 pixels"):
        apply_profile(load_profile(profile(tmp_path, text)), picture(0, 4, 400), rng())
    with pytest.raises(ProfileError, match="cannot read the profile"):
        load_profile(tmp_path / "none.toml")
    with pytest.raises(ProfileError, match="profiles are blind, jpeg"):
        load_profile("none")
