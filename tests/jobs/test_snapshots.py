"""Searches that are gone on with in their middle."""

import dataclasses

import fsspec
import pytest
from job_files import CONFIG, contents, lines

from perceptual_jax.config import FinishConfig, SearchConfig
from perceptual_jax.jobs import processes as holding
from perceptual_jax.restoration import batch

STAGES = dataclasses.replace(
    CONFIG, search=SearchConfig(steps=12, draft=16), finish=FinishConfig(steps=8)
)
"""Draft steps in pieces of 6, then finishing steps in pieces of 8."""


class Killed(Exception):
    pass


@pytest.fixture
def steps(monkeypatch):
    """The steps that were taken, a piece at a time."""
    taken, advance = [], batch._advance

    def counted(*args):
        taken.append(args[-1])
        return advance(*args)

    monkeypatch.setattr(batch, "_advance", counted)
    return taken


def killed_after(share):
    def progress(done, _):
        if done >= share:
            raise Killed

    return progress


def results(out):
    return {k: v for k, v in contents(out).items() if k.endswith((".png", ".npz"))}


@pytest.fixture(scope="module")
def whole(finished, narrow, tmp_path_factory):
    from perceptual_jax.jobs.job import restore_files
    from perceptual_jax.jobs.plan import JobOptions

    out = tmp_path_factory.mktemp("whole")
    restore_files([finished / "in"], out, STAGES, JobOptions(batch_size=4), generator=narrow)
    return results(out)


@pytest.mark.parametrize(
    ("share", "left"),
    [
        (0.5, [6, 8]),  # in the middle of the draft
        (1.0, [8]),  # just before the finish
        (3.0, []),  # at the end, before anything is written
    ],
)
def test_a_killed_search_goes_on_to_the_same_bits(again, whole, steps, tmp_path, share, left):
    options = {"batch_size": 4, "snapshot_every": 6}
    with pytest.raises(Killed):
        again(tmp_path / "out", STAGES, **options, progress=killed_after(share))
    assert len(list((tmp_path / "out" / ".snapshots").iterdir())) == 3
    assert not list((tmp_path / "out").glob("*.png"))
    steps.clear()
    again(tmp_path / "out", STAGES, **options)
    assert steps == left
    assert results(tmp_path / "out") == whole
    assert not (tmp_path / "out" / ".snapshots").exists()


def test_samples_and_pictures_at_different_steps(again, steps, tmp_path):
    options = {"batch_size": 2, "snapshot_every": 6, "samples": 2}
    again(tmp_path / "whole", **options)
    with pytest.raises(Killed):  # The second picture's samples are in their middle.
        again(tmp_path / "out", **options, progress=killed_after(1.5))
    steps.clear()
    again(tmp_path / "out", **options)
    assert steps == [6, 6, 6]
    assert results(tmp_path / "out") == results(tmp_path / "whole")


@pytest.mark.parametrize("change", ["seed", "damage", "one missing"])
def test_snapshots_that_do_not_fit_are_not_used(again, steps, tmp_path, change):
    options = {"batch_size": 4, "snapshot_every": 6}
    with pytest.raises(Killed):
        again(tmp_path / "out", **options, progress=killed_after(0.5))
    folder = tmp_path / "out" / ".snapshots"
    if change == "damage":
        (folder / "a.0.npz").write_bytes(b"PK no archive")
    elif change == "one missing":
        (folder / "a.0.npz").unlink()
    steps.clear()
    again(tmp_path / "out", **options, seed=int(change == "seed"))
    # A picture without a snapshot is searched for by itself, the others go on.
    assert steps == ([6, 6] if change == "seed" else [6, 6, 6])
    assert len(lines(tmp_path / "out")) == 3
    assert not folder.exists()


def test_snapshots_in_a_store(finished, again, whole, steps, monkeypatch):
    monkeypatch.setattr(holding, "_SETTLE_S", 0.0)
    store = fsspec.filesystem("memory")
    store.store.clear()
    options = {"batch_size": 4, "snapshot_every": 6}
    with pytest.raises(Killed):
        again("memory://out", STAGES, **options, progress=killed_after(0.5))
    steps.clear()
    again("memory://out", STAGES, **options)
    assert steps == [6, 8]
    assert {name: store.cat(f"/out/{name}") for name in whole} == whole
    assert not [path for path in store.find("/out") if "snapshots" in path]
    store.store.clear()
