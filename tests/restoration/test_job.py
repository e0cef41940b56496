import dataclasses
import errno
import hashlib
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.config import (
    ConfigError,
    FinishConfig,
    NoiseConfig,
    PriorConfig,
    RestoreConfig,
    SearchConfig,
    UsageError,
    from_toml,
)
from perceptual_jax.data.collect import Input, InputError
from perceptual_jax.data.images import ImageError, WriteError, to_float, to_uint8
from perceptual_jax.degradation.consistency import resample_matrix
from perceptual_jax.restoration import job
from perceptual_jax.restoration.job import JobError, restore_files
from perceptual_jax.restoration.pictures import header_side, picture_key, read_picture
from perceptual_jax.restoration.records import latents
from perceptual_jax.types import Restoration
from perceptual_jax.weights.load import load_generator

CONFIG = RestoreConfig(
    generator="narrow",
    search=SearchConfig(steps=12, draft=16),
    finish=FinishConfig(steps=0),
    prior=PriorConfig(bank_size=16, spread=0.5),
    noise=NoiseConfig(mode="random"),
)
"""Random in all that can be, so that one compiled search does for all tests."""


def picture(path, seed, *, width=8, height=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lines(out):
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def pixels_of(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def narrow(narrow_path):
    return load_generator(narrow_path)


@pytest.fixture(scope="module")
def finished(narrow, tmp_path_factory):
    """A folder of pictures and the folder of the job that restored them; not to be changed."""
    root = tmp_path_factory.mktemp("job")
    for seed, name in enumerate(["a.png", "b.png", "sub/a.png"]):
        picture(root / "in" / name, seed)
    summary = restore_files([root / "in"], root / "out", CONFIG, generator=narrow)
    assert (summary.restored, summary.kept, summary.failed) == (3, 0, ())
    return root


@pytest.fixture
def folder(finished, tmp_path):
    """The same, to be changed; the inputs stay where they were."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def again(finished, narrow):
    """The job of `finished`, into any folder, with any other options."""

    def run(out, config=CONFIG, *, inputs=None, generator=narrow, **options):
        return restore_files(
            inputs or [finished / "in"], out, config, generator=generator, **options
        )

    return run


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
        total = CONFIG.data.weight * terms["data"]
        total += (
            CONFIG.prior.cross_weight * terms["cross"] + CONFIG.prior.mmd_weight * terms["mmd2"]
        )
        assert terms["total"] == pytest.approx(total, rel=1e-5)  # float32 sums of three


def test_styles_give_the_picture(finished, narrow):
    for name in ("a", "sub__a"):
        arrays = np.load(finished / "out" / f"{name}.npz")
        noise = tuple(arrays[f"noise{i:02d}"] for i in range(7))
        assert set(arrays) == {"styles", "best_step", *(f"noise{i:02d}" for i in range(7))}
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
def test_what_is_missing_is_done_again_and_comes_out_the_same(folder, again, lost):
    before = contents(folder)
    (folder / lost).unlink()
    summary = again(folder)
    assert (summary.restored, summary.kept) == (1, 2)
    after = contents(folder)
    assert after.keys() == before.keys()
    for name in ("a.json", "b.png", "b.npz", "config.toml"):
        assert after[name] == before[name]


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
        changed = job.from_different_starts(config, samples=samples)
        assert dataclasses.replace(changed, prior=config.prior) == config
        return changed.prior

    default = RestoreConfig()
    assert starts(default, 1) == default.prior
    assert starts(default, 2).spread == job.SAMPLE_SPREAD
    for prior in (PriorConfig(start="random"), PriorConfig(spread=0.1)):
        assert starts(dataclasses.replace(default, prior=prior), 2) == prior


def test_noise_of_the_generator_itself_is_not_written(narrow):
    result = Restoration(
        image=np.zeros((1, 32, 32, 3), np.float32),
        styles=np.zeros((1, 8, 16), np.float32),
        noise=tuple(np.zeros((1, 4, 4), np.float32) for _ in range(7)),
        terms=None,
        trace=None,
        best_step=np.zeros(1, np.int32),
        status=np.zeros(1, np.int32),
    )
    assert set(latents(result, NoiseConfig())) == {"styles", "best_step"}
    assert latents(result, NoiseConfig())["styles"].shape == (8, 16)
    for noise in (NoiseConfig(trainable=1), NoiseConfig(mode="none"), NoiseConfig(zero_last=True)):
        assert len(latents(result, noise)) == 9


def test_failures_stop_nobody_else(again, finished, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(finished / "in", source)
    picture(source / "wide.png", 1, width=9)
    picture(source / "dot.png", 1, width=3, height=3)
    (source / "broken.png").write_bytes((source / "a.png").read_bytes()[:60])
    (source / "text.png").write_text("no picture")
    summary = again(tmp_path / "out", inputs=[source, tmp_path / "nowhere.png"])
    assert summary.restored == 3
    reasons = {os.path.basename(place): reason for place, reason in summary.failed}
    assert reasons.keys() == {"wide.png", "dot.png", "broken.png", "text.png", "nowhere.png"}
    assert reasons["wide.png"] == "expected a square aligned face crop, got 9x8; crop it first"
    assert reasons["dot.png"] == "expected at least 4x4 pixels, got 3x3"
    assert reasons["text.png"] == "it is not an image of a known format"
    assert reasons["nowhere.png"] == "does not exist"
    written = {record["input"]["path"]: record for record in lines(tmp_path / "out")}
    for place, reason in summary.failed:
        assert written[place]["status"] == "FAILED"
        assert written[place]["message"] == reason
    assert len(written) == 8

    picture(source / "text.png", 3)
    summary = again(tmp_path / "out", inputs=[source])
    assert (summary.restored, summary.kept, len(summary.failed)) == (1, 3, 3)


def test_not_finite_is_a_result_and_a_failure(again, narrow, finished, tmp_path):
    broken = jax.tree.map(lambda x: x * np.nan if x.shape == (3, 3, 8, 8) else x, narrow)
    stamps = []
    for _ in range(2):
        summary = again(tmp_path / "out", generator=broken, inputs=[finished / "in" / "a.png"])
        assert (summary.restored, summary.kept) == (0, 0)
        assert "NaN or infinite" in summary.failed[0].reason
        record = lines(tmp_path / "out")[0]
        assert record["status"] == "NOT_FINITE"
        assert record["restorations"][0]["terms"]["total"] is None
        stamps.append((tmp_path / "out" / "a.png").stat().st_mtime_ns)
    assert stamps[0] == stamps[1]


def test_an_interrupted_job_goes_on(again, finished, tmp_path):
    def interrupt(done, total):
        if done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(tmp_path / "out", batch_size=1, progress=interrupt)
    assert [record["name"] for record in lines(tmp_path / "out")] == ["a"]
    summary = again(tmp_path / "out")
    assert (summary.restored, summary.kept) == (2, 1)
    for name in ("a.png", "b.png", "sub__a.png"):
        assert (tmp_path / "out" / name).read_bytes() == (finished / "out" / name).read_bytes()


@pytest.mark.parametrize("survive", [0, 1, 2, 3, 6])
def test_a_full_disk_leaves_whole_files(again, tmp_path, monkeypatch, survive):
    fsync, left = os.fsync, [survive]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="no space left on device"):
        again(tmp_path / "out")
    monkeypatch.undo()
    assert not list((tmp_path / "out").glob("*.tmp"))
    for path in (tmp_path / "out").glob("*.png"):
        assert pixels_of(path).shape == (32, 32, 3)
    summary = again(tmp_path / "out")
    assert summary.restored + summary.kept == 3
    assert len(lines(tmp_path / "out")) == 3


def test_progress_moves_within_a_batch_and_ends(again, tmp_path):
    seen = []
    again(tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    done = [x for x, _ in seen]
    assert {total for _, total in seen} == {3}
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 3)
    assert any(0 < x < 3 for x in done)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "seed must be"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (
            {"config": dataclasses.replace(CONFIG, search=SearchConfig(draft=12))},
            "resolution must be one of",
        ),
        (
            {"config": dataclasses.replace(CONFIG, noise=NoiseConfig(trainable=9))},
            "noise.trainable must be at most 7",
        ),
        (
            {
                "config": dataclasses.replace(
                    CONFIG, search=SearchConfig(steps=0), finish=FinishConfig(steps=0)
                )
            },
            "search.steps and finish.steps are both 0",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(again, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        again(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_no_inputs(again, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image to work on: .*empty is a folder without"):
        again(tmp_path / "out", inputs=[tmp_path / "empty"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/below/it"])
def test_an_output_folder_that_is_a_file(again, tmp_path, out):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match=r"output folder .* cannot be made, for .* is a file"):
        again(tmp_path / out)
    assert (tmp_path / "file").read_text() == "precious"


def test_one_input_may_be_given_by_itself(again, finished, tmp_path):
    assert again(tmp_path / "out", inputs=str(finished / "in" / "a.png")).restored == 1


def test_a_lack_of_memory_is_one_sentence(again, tmp_path, monkeypatch):
    def too_large(*args, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(job, "restore_batch", too_large)
    with pytest.raises(JobError, match="3 pictures at once do not fit in memory; lower the batch"):
        again(tmp_path / "out")


def test_batches_are_even_and_of_one_size(tmp_path):
    inputs = []
    for i in range(9):
        side = 8 if i < 6 else 300
        picture(tmp_path / f"{i}.png", i, width=side, height=side)
        inputs.append(Input(tmp_path / f"{i}.png", str(i)))
    inputs.append(Input(tmp_path / "none.png", "none"))
    batches = [
        ("".join(x.name for x in batch), full)
        for batch, full in job._batches(inputs, CONFIG, most=4)
    ]
    assert batches == [("012", 3), ("345", 3), ("678", 3), ("none", 1)]


def test_large_pictures_are_reduced_by_areas(tmp_path):
    pixels = picture(tmp_path / "large.png", 0, width=24, height=24)
    read = read_picture(Input(tmp_path / "large.png", "large"), max_size=8)
    blocks = pixels.reshape(8, 3, 8, 3, 3).mean(axis=(1, 3))
    assert np.abs(read.pixels - blocks).max() <= 0.5 + 1e-9
    assert read.size == (24, 24)
    assert read_picture(Input(tmp_path / "large.png", "large"), max_size=24).pixels.shape[0] == 24


def test_sides_come_from_the_header(tmp_path):
    picture(tmp_path / "a.png", 0, width=5, height=7)
    assert header_side(tmp_path / "a.png") == 7
    assert header_side(tmp_path / "none.png") == 0
    with pytest.raises(ImageError, match="got 5x7"):
        read_picture(Input(tmp_path / "a.png", "a"), max_size=8)


def test_keys_are_of_content_seed_and_sample():
    pixels = np.zeros((4, 4, 3), np.uint8)
    other = pixels.copy()
    other[0, 0, 0] = 1
    variants = [(pixels, 0, 0), (other, 0, 0), (pixels, 1, 0), (pixels, 0, 1)]
    keys = [picture_key(p, seed=s, sample=i) for p, s, i in variants]
    data = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}
    assert len(data) == 4
    same = picture_key(pixels.copy(), seed=0, sample=0)
    assert (jax.random.key_data(same) == jax.random.key_data(keys[0])).all()


def test_to_float_is_what_the_search_sees(finished):
    pixels = pixels_of(finished / "in" / "a.png")
    read = read_picture(Input(finished / "in" / "a.png", "a"), max_size=256)
    np.testing.assert_array_equal(to_float(read.pixels), to_float(pixels))


def test_config_errors_are_usage_errors():
    assert issubclass(ConfigError, UsageError)
