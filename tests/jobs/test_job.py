"""What a job writes, keeps and does again."""

import dataclasses
import hashlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.config import (
    FeaturesConfig,
    FinishConfig,
    NoiseConfig,
    PriorConfig,
    RestoreConfig,
)
from perceptual_jax.config_files import from_toml
from perceptual_jax.degradation.resampling import resample_matrix
from perceptual_jax.errors import UsageError
from perceptual_jax.io.images import to_uint8
from perceptual_jax.jobs import plan
from perceptual_jax.jobs.writing import latents
from perceptual_jax.types import Restoration
from tests.helpers.job_files import CONFIG, assert_same_result, contents, lines, picture, pixels_of


def test_files_of_a_job(finished):
    names = {f"{name}{end}" for name in ("a", "b", "sub__a") for end in (".png", ".npz", ".json")}
    assert set(contents(finished / "out")) == names | {"config.toml", "results.jsonl"}
    assert from_toml(finished / "out" / "config.toml") == CONFIG


def test_records_say_what_was_done(finished):
    out = finished / "out"
    assert [record["name"] for record in lines(out)] == ["a", "b", "sub__a"]
    for record in lines(out):
        assert record == json.loads((out / f"{record['name']}.json").read_text())
        assert record["status"] == "OK"
        source = finished / "in" / record["name"].replace("__", "/")
        source = source.with_suffix(".png")
        assert record["input"]["path"] == str(source)
        assert record["input"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert record["input"]["size"] == record["input"]["restored_from"] == [8, 8]
        assert record["settings"]["seed"] == 0
        assert record["settings"]["samples"] == 1
        assert {"jax", "numpy", "python", "perceptual_jax"} <= record["versions"].keys()
        assert record["seconds"] > 0
        assert record["files"] == [f"{record['name']}.png", f"{record['name']}.npz"]


def test_terms_are_those_of_the_objective(finished):
    for record in lines(finished / "out"):
        terms = record["restorations"][0]["terms"]
        total = CONFIG.data.weight * terms["l2"]
        total += (
            CONFIG.prior.cross_weight * terms["cross"] + CONFIG.prior.mmd_weight * terms["mmd2"]
        )
        assert terms["total"] == pytest.approx(total, rel=1e-5)  # float32 sums of three


def test_styles_give_the_picture(finished, narrow):
    for name in ("a", "sub__a"):
        arrays = np.load(finished / "out" / f"{name}.npz")
        noise = tuple(arrays[f"noise{i:02d}"] for i in range(7))
        kept = {key for key in arrays if not key.startswith("trace_")}
        assert kept == {"styles", "best_step", *(f"noise{i:02d}" for i in range(7))}
        image = jax.jit(narrow.synthesis)(arrays["styles"], noise)
        expected = to_uint8(np.clip(image, -1, 1)).astype(int)
        written = pixels_of(finished / "out" / f"{name}.png").astype(int)
        # Another compiled program may round to the neighbouring level.
        assert np.abs(expected - written).max() <= 1


def test_consistency_is_that_of_the_written_picture(finished):
    reduce = resample_matrix(32, 8, filter="bicubic")
    for record in lines(finished / "out"):
        restored = pixels_of(finished / "out" / record["restorations"][0]["image"]) / 255
        degraded = pixels_of(record["input"]["path"]) / 255
        mse = np.mean((np.einsum("ah,bw,hwc->abc", reduce, reduce, restored) - degraded) ** 2)
        # The record's is of the picture before it is rounded to 8 bits.
        psnr = record["restorations"][0]["consistency_psnr"]
        assert psnr == pytest.approx(-10 * np.log10(mse), abs=0.02)


def test_second_run_does_nothing(folder, again):
    before = contents(folder)
    summary = again(folder)
    assert (summary.restored, summary.kept, summary.failed) == (0, 3, ())
    assert contents(folder) == before


@pytest.mark.parametrize("lost", ["b.json", "b.png", "b.npz"])
def test_what_is_missing_is_done_again_and_comes_out_the_same(folder, again, finished, lost):
    before = contents(folder)
    (folder / lost).unlink()
    summary = again(folder)
    assert (summary.restored, summary.kept) == (1, 2)
    after = contents(folder)
    assert after.keys() == before.keys()
    for name in ("a.json", "a.png", "a.npz", "config.toml"):
        assert after[name] == before[name]
    for name in ("b.png", "b.npz"):
        assert_same_result(folder / name, finished / "out" / name)


@pytest.mark.parametrize("degradation", ["l2", "dct_box"])
def test_a_term_without_a_model_may_be_asked_for(again, tmp_path, finished, degradation):
    Image.open(finished / "in" / "a.png").resize((16, 16)).save(tmp_path / "a.jpg", quality=30)
    config = dataclasses.replace(CONFIG, degradation=degradation)
    again(tmp_path / "out", config, inputs=[tmp_path / "a.jpg"])
    (record,) = lines(tmp_path / "out")
    assert (record["status"], record["degradation"]["term"]) == ("OK", degradation)


def test_a_line_that_was_cut_short_is_mended(folder, again):
    with open(folder / "results.jsonl", "ab") as file:
        file.write(b'{"name": "b", "sta')
    again(folder)
    assert [record["name"] for record in lines(folder)] == ["a", "b", "sub__a"]


def test_more_inputs_join_what_is_there(folder, again, finished, tmp_path):
    picture(tmp_path / "more" / "c.png", 7)
    summary = again(folder, inputs=[tmp_path / "more", finished / "in" / "b.png"])
    assert (summary.restored, summary.kept) == (1, 1)
    assert [record["name"] for record in lines(folder)] == ["c", "b", "a", "sub__a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"a\.json is a result with seed 0, not 1; choose another folder"),
        (
            {"config": dataclasses.replace(CONFIG, finish=FinishConfig(steps=4))},
            r"another config \(finish\.steps is 0 there and 4 here\)",
        ),
        (
            {"config": dataclasses.replace(CONFIG, generator="other")},
            r"another config \(generator is narrow there and other here\)",
        ),
        ({"samples": 2}, r"a\.json is a result with samples 1, not 2"),
    ],
)
def test_results_of_other_settings_are_not_mixed(folder, again, change, message):
    before = contents(folder)
    with pytest.raises(UsageError, match=message):
        again(folder, **change)
    assert contents(folder) == before


def test_another_generator_of_the_same_name_is_noticed(folder, again, narrow):
    other = jax.tree.map(lambda x: x + 1, narrow)
    with pytest.raises(UsageError, match=r"a\.json is a result of another generator;"):
        again(folder, generator=other)


def test_another_picture_of_the_same_name_is_noticed(folder, again, tmp_path):
    picture(tmp_path / "b.png", 9)
    with pytest.raises(UsageError, match=r"b\.json is the result of another picture"):
        again(folder, inputs=[tmp_path / "b.png"])


def test_files_of_others_are_not_replaced(again, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub__a.png").write_bytes(b"a photograph")
    with pytest.raises(UsageError, match=r"sub__a\.png exists and is not a result of this tool"):
        again(tmp_path / "out")
    assert contents(tmp_path / "out") == {"sub__a.png": b"a photograph"}


def test_overwrite_redoes_and_leaves_nothing_stale(folder, again):
    summary = again(folder, samples=2, overwrite=True)
    assert (summary.restored, summary.kept) == (3, 0)
    ends = ("_s00.png", "_s01.png", "_spread.png", ".npz", ".json")
    names = {f"{name}{end}" for name in ("a", "b", "sub__a") for end in ends}
    assert set(contents(folder)) == names | {"config.toml", "results.jsonl"}
    assert again(folder, samples=2).kept == 3
    again(folder, overwrite=True)
    assert not list(folder.glob("*_s*.png"))


def test_samples_differ_and_their_spread_is_mapped(again, finished, narrow, tmp_path):
    again(tmp_path / "out", samples=3, inputs=[finished / "in" / "a.png"])
    images = [pixels_of(tmp_path / "out" / f"a_s0{i}.png").astype(float) for i in range(3)]
    assert np.abs(images[0] - images[1]).mean() > 1
    spread = np.sqrt(np.var(np.stack(images) / 255, axis=0).mean(axis=-1))
    record = lines(tmp_path / "out")[0]
    assert len(record["restorations"]) == 3
    assert record["spread"]["max"] == pytest.approx(spread.max(), abs=2 / 255)
    white = record["spread"]["white"]
    assert np.mean(spread > white) == pytest.approx(0.01, abs=0.01)
    assert record["spread"]["mean"] == pytest.approx(spread.mean(), abs=2 / 255)
    drawn = pixels_of(tmp_path / "out" / "a_spread.png")[..., 0] / 255 * white
    np.testing.assert_allclose(
        drawn, np.minimum(spread, white), atol=2 / 255
    )  # two roundings to 8 bits
    arrays = np.load(tmp_path / "out" / "a.npz")
    assert arrays["styles"].shape == (3, 8, 16)
    assert arrays["best_step"].shape == (3,)
    assert [arrays[f"noise{i:02d}"].shape for i in range(7)] == [
        (3, *x.shape) for x in narrow.noise_maps()
    ]


def test_a_result_depends_on_no_name_and_no_neighbour(again, finished, tmp_path):
    shutil.copy(finished / "in" / "b.png", tmp_path / "renamed.png")
    Image.open(finished / "in" / "b.png").save(tmp_path / "renamed.bmp")
    again(tmp_path / "all", samples=2)
    again(tmp_path / "bmp", samples=2, inputs=[tmp_path / "renamed.bmp"], batch_size=1)
    ours = np.load(tmp_path / "all" / "b.npz")["styles"]
    alone = np.load(tmp_path / "bmp" / "renamed.npz")["styles"]
    np.testing.assert_allclose(alone, ours, rtol=1e-5, atol=1e-5)  # another place in a batch
    again(tmp_path / "seed", samples=2, seed=5, inputs=[tmp_path / "renamed.png"])
    seeded = np.load(tmp_path / "seed" / "renamed.npz")["styles"]
    assert np.abs(seeded - ours).max() > 1e-2


def test_samples_that_would_all_be_the_same_get_different_starts():
    def starts(config, samples):
        changed = plan.from_different_starts(config, samples=samples)
        assert dataclasses.replace(changed, prior=config.prior) == config
        return changed.prior

    default = RestoreConfig()
    assert starts(default, 1) == default.prior
    assert starts(default, 2).spread == plan.SAMPLE_SPREAD
    for prior in (PriorConfig(start="random"), PriorConfig(spread=0.1)):
        assert starts(dataclasses.replace(default, prior=prior), 2) == prior


def test_features_are_written_and_give_the_picture(again, narrow, tmp_path):
    config = dataclasses.replace(
        CONFIG, features=FeaturesConfig(resolution=4, steps=4, correct_every=2)
    )
    out = tmp_path / "out"
    again(out, config)
    arrays = np.load(out / "a.npz")
    assert arrays["offset"].shape == (4, 4, 8)
    noise = tuple(arrays[f"noise{i:02d}"] for i in range(7))
    image = jax.jit(narrow.synthesis)(arrays["styles"], noise, jnp.asarray(arrays["offset"]))
    written = pixels_of(out / "a.png").astype(int)
    assert np.abs(to_uint8(np.clip(image, -1, 1)).astype(int) - written).max() <= 1
    assert lines(out)[0]["restorations"][0]["terms"]["features"] > 0


def test_noise_of_the_generator_itself_is_not_written(narrow):
    result = Restoration(
        image=np.zeros((1, 32, 32, 3), np.float32),
        styles=np.zeros((1, 8, 16), np.float32),
        noise=tuple(np.zeros((1, 4, 4), np.float32) for _ in range(7)),
        offset=None,
        terms=None,
        trace=None,
        best_step=np.zeros(1, np.int32),
        status=np.zeros(1, np.int32),
        fit=None,
    )
    assert set(latents(result, NoiseConfig())) == {"styles", "best_step"}
    assert latents(result, NoiseConfig())["styles"].shape == (8, 16)
    for noise in (NoiseConfig(trainable=1), NoiseConfig(mode="none"), NoiseConfig(zero_last=True)):
        assert len(latents(result, noise)) == 9


def test_pictures_of_many_sizes_share_a_compiled_search(again, tmp_path, caplog):
    sides = {"a": 9, "b": 12, "c": 13, "d": 16}
    for seed, (name, side) in enumerate(sides.items()):
        picture(tmp_path / "in" / f"{name}.png", seed, width=side, height=side)
    again(tmp_path / "one", inputs=[tmp_path / "in" / "d.png"])
    with caplog.at_level("WARNING"), jax.log_compiles():
        summary = again(tmp_path / "out", inputs=[tmp_path / "in"])
    assert summary.restored == 4
    assert not [message for message in caplog.messages if "Compiling" in message]
    for record in lines(tmp_path / "out"):
        side = sides[record["name"]]
        assert record["input"]["restored_from"] == [side, side]
        reduce = resample_matrix(32, side, filter="bicubic")
        restored = pixels_of(tmp_path / "out" / f"{record['name']}.png") / 255
        degraded = pixels_of(record["input"]["path"]) / 255
        mse = np.mean((np.einsum("ah,bw,hwc->abc", reduce, reduce, restored) - degraded) ** 2)
        psnr = record["restorations"][0]["consistency_psnr"]
        assert psnr == pytest.approx(-10 * np.log10(mse), abs=0.02)
    # Nor does a result depend on what else is in its batch.
    for name in ("d.png", "d.npz"):
        assert_same_result(tmp_path / "one" / name, tmp_path / "out" / name)
