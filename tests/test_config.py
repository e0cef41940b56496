import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perceptual_jax.config import (
    DataConfig,
    FinishConfig,
    NoiseConfig,
    PriorConfig,
    RestoreConfig,
    SearchConfig,
)
from perceptual_jax.config_files import from_toml, load_config, override, presets, to_toml
from perceptual_jax.validation import ConfigError, from_dict

NUMBERS = st.floats(0, 1e30, exclude_min=True, allow_nan=False)
CONFIGS = st.builds(
    RestoreConfig,
    generator=st.text(st.characters(exclude_categories=["Cs"])),
    fidelity=st.floats(0, 1),
    data=st.builds(DataConfig, weight=NUMBERS, max_size=st.integers(4, 4096)),
    prior=st.builds(
        PriorConfig,
        sphere=st.sampled_from(["none", "initial", "expected"]) | NUMBERS,
        bandwidth=st.sampled_from(["paper", "median"]) | NUMBERS,
        unbiased=st.booleans(),
    ),
    noise=st.builds(NoiseConfig, zero_last=st.booleans()),
    search=st.builds(SearchConfig, steps=st.integers(0, 10**6), learning_rate=NUMBERS),
    finish=st.builds(FinishConfig, steps=st.integers(0, 10**6)),
)


@given(CONFIGS)
def test_toml_round_trip_is_exact(config):
    assert from_dict(RestoreConfig, tomllib.loads(to_toml(config))) == config


def test_toml_names_every_setting():
    values = tomllib.loads(to_toml(RestoreConfig()))
    assert set(values) == {f.name for f in dataclasses.fields(RestoreConfig)}
    assert set(values["prior"]) == {f.name for f in dataclasses.fields(PriorConfig)}


def test_file_over_defaults(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('generator = "mine"\n[prior]\nsphere = 3\n[search]\nsteps = 7\n')
    config = from_toml(path)
    assert config.prior == PriorConfig(sphere=3.0)
    # A whole number where a real one belongs is the same setting, so the same hash.
    assert isinstance(config.prior.sphere, float)
    assert config == RestoreConfig(
        generator="mine", prior=PriorConfig(sphere=3.0), search=SearchConfig(steps=7)
    )


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("stepps = 3", "unknown key 'stepps' in the top level; valid keys are data, degradation, "),
        ("[search]\nstep = 3", r"unknown key 'step' in \[search\]; valid keys are coarse, "),
        ("search = 3", "search must be a table, got 3"),
        ("[search]\nsteps = -1", "search.steps must be a whole number of at least 0, got -1"),
        ("[search]\nsteps = 1.5", "search.steps must be a whole number .*, got 1.5"),
        ("[search]\nsteps = true", "search.steps must be a whole number .*, got True"),
        ("[search]\nlearning_rate = 0", "search.learning_rate must be a number above 0, got 0"),
        ("fidelity = 1.01", "fidelity must be a number from 0 to 1, got 1.01"),
        ("fidelity = nan", "fidelity must be a number from 0 to 1, got nan"),
        ("[data]\nweight = inf", "data.weight must be a number of at least 0, got inf"),
        ("[data]\nmax_size = 3", "data.max_size must be a whole number of at least 4, got 3"),
        ('[data]\ndownscale = "cubic"', "data.downscale must be 'bicubic' or 'area', got 'cubic'"),
        ("[prior]\nsphere = 0", "prior.sphere must be 'none' or .* or a number above 0, got 0"),
        (
            "[prior]\nbandwidth = []",
            "prior.bandwidth must be 'paper' or 'median' or a number",
        ),
        ('[prior]\ntile = "yes"', "prior.tile must be true or false, got 'yes'"),
        ("generator = 3", "generator must be a text, got 3"),
        ("[search\n", "is not a TOML file"),
        ("a = 1\na = 2", "is not a TOML file"),
    ],
)
def test_bad_files_say_what_is_wrong_in_one_sentence(tmp_path, toml, message):
    path = tmp_path / "bad.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError, match=message) as caught:
        from_toml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"\xff")]
)
def test_unreadable_files(tmp_path, make):
    path = tmp_path / "config.toml"
    make(path)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        from_toml(path)


def test_ranges_hold_however_a_config_is_built():
    with pytest.raises(ConfigError, match=r"finish\.steps must be .*, got -1"):
        FinishConfig(steps=-1)
    with pytest.raises(ConfigError, match=r"fidelity must be .*, got 2"):
        dataclasses.replace(RestoreConfig(), fidelity=2.0)


def test_presets_are_found_by_name():
    assert load_config() == load_config("default")
    assert {"default", "pulse", "table2:mean_mmd_sphere"} <= set(presets())
    for name in presets():
        assert isinstance(load_config(name), RestoreConfig)


def test_the_defaults_are_written_down_once():
    assert load_config("default") == RestoreConfig()
    path = Path(__file__).parents[1] / "configs" / "default.toml"
    assert tomllib.loads(path.read_text(encoding="utf-8")) == {}


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"preset is called 'puls'; .*pulse, styles, table2:random_"
    ):
        load_config("puls")
    with pytest.raises(ConfigError, match=r"table2.*no row is called 'x'; its rows are random_"):
        load_config("table2:x")
    with pytest.raises(ConfigError, match=r"table2.*a row must be named, .*; its rows are random_"):
        load_config("table2")
    with pytest.raises(ConfigError, match=r"no row is called 'x'; its rows are none"):
        load_config("pulse:x")


def test_rows_differ_where_they_say_so():
    full = load_config("table2:mean_mmd_sphere")
    assert (full.search.draft, full.prior.mmd_weight) == (0, 100.0)
    assert load_config("table2:mean_sphere") == override(full, {"prior.mmd_weight": 0})
    assert load_config("table2:pixelcnn_10") == override(
        load_config("table2:pixelcnn_1"), {"data.nll_weight": 10}
    )


@pytest.mark.parametrize("toml", ["rows = 3", "[rows]\nx = 3"])
def test_rows_that_are_no_tables(tmp_path, toml):
    (tmp_path / "mine.toml").write_text(toml)
    with pytest.raises(ConfigError, match=r"rows must be tables, \[rows\.NAME\]"):
        load_config(f"{tmp_path / 'mine.toml'}:x")


def test_a_file_may_have_rows(tmp_path):
    (tmp_path / "my:own.toml").write_text("fidelity = 0.25\n[rows.x-1]\nsearch.steps = 7")
    expected = RestoreConfig(fidelity=0.25, search=SearchConfig(steps=7))
    assert load_config(f"{tmp_path / 'my:own.toml'}:x-1") == expected
    with pytest.raises(ConfigError, match=r"own\.toml: a row must be named"):
        load_config(tmp_path / "my:own.toml")


def test_a_path_is_never_taken_for_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pulse.toml").write_text("fidelity = 0.25")
    assert load_config("pulse.toml").fidelity == 0.25
    assert load_config("./pulse.toml").fidelity == 0.25
    assert load_config(tmp_path / "pulse.toml").fidelity == 0.25
    assert load_config("pulse").fidelity == 0.5


def test_override():
    settings = {"generator": "x", "search.steps": 3, "finish.steps": 0, "fidelity": 1}
    config = override(load_config(), settings | {"degradation": None})
    assert config == RestoreConfig(
        generator="x", search=SearchConfig(steps=3), finish=FinishConfig(steps=0), fidelity=1.0
    )
    assert override(config, {}) == config


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("search.steps", -3, r"search\.steps must be a whole number of at least 0, got -3"),
        ("search.stepps", 3, r"unknown key 'stepps' in \[search\]; valid keys are coarse"),
        ("serch.steps", 3, r"unknown key 'serch' in the top level"),
        ("steps", 3, r"unknown key 'steps' in the top level"),
        ("search", 3, r"search must be a table, got 3"),
        ("fidelity.x", 3, r"fidelity must be a number from 0 to 1, got \{'x': 3\}"),
    ],
)
def test_settings_that_cannot_be_overridden(name, value, message):
    with pytest.raises(ConfigError, match=message):
        override(RestoreConfig(), {name: value})
