"""What goes wrong in a job stays where it is, is one sentence, and loses nothing."""

import dataclasses
import errno
import os
import shutil

import jax
import numpy as np
import pytest

from perceptual_jax.config import FinishConfig, NoiseConfig, SearchConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import WriteError
from perceptual_jax.io.inputs import InputError
from perceptual_jax.jobs import loop
from perceptual_jax.jobs.loop import JobError
from tests.helpers.job_files import CONFIG, assert_same_result, lines, picture, pixels_of


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
        assert_same_result(tmp_path / "out" / name, finished / "out" / name)


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
                    CONFIG,
                    search=SearchConfig(steps=0),
                    finish=FinishConfig(steps=0),
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

    monkeypatch.setattr(loop, "run_batch", too_large)
    with pytest.raises(JobError, match="3 pictures at once do not fit in memory; lower the batch"):
        again(tmp_path / "out", batch_size=None)
