"""Searches that are resumed in their middle."""

import dataclasses

import fsspec
import pytest

from perceptual_jax.config import FeaturesConfig, FinishConfig, SearchConfig
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.jobs import loop
from perceptual_jax.jobs.job import restore_files
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.jobs.processes import Share
from perceptual_jax.jobs.snapshots import Snapshots
from perceptual_jax.jobs.writing import Settings
from tests.helpers.job_files import CONFIG, contents, lines, picture

STAGES = dataclasses.replace(
    CONFIG, search=SearchConfig(steps=12, draft=16), finish=FinishConfig(steps=8, project=False)
)
"""Draft steps in pieces of 6, then finishing steps in pieces of 8."""


class Killed(Exception):
    pass


@pytest.fixture
def steps(monkeypatch):
    """Where searches were after each of their pieces, in steps."""
    reached, run_batch = [], loop.run_batch

    def heard(*args, on_progress, **options):
        def hear(piece):
            reached.append(piece.step)
            on_progress(piece)

        return run_batch(*args, on_progress=hear, **options)

    monkeypatch.setattr(loop, "run_batch", heard)
    return reached


def killed_after(share):
    def progress(done, _):
        if done >= share:
            raise Killed

    return progress


def results(out):
    return {k: v for k, v in contents(out).items() if k.endswith((".png", ".npz"))}


@pytest.fixture(scope="module")
def whole(finished, narrow, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    restore_files([finished / "in"], out, STAGES, JobOptions(batch_size=4), generator=narrow)
    return results(out)


@pytest.mark.parametrize(
    ("share", "left"),
    [
        (0.5, [12, 20]),  # in the middle of the draft
        (1.0, [20]),  # just before the finish
        (3.0, []),  # at the end, before anything is written
    ],
)
def test_a_killed_search_is_resumed_to_the_same_bits(again, whole, steps, tmp_path, share, left):
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


def test_a_search_that_moves_features_is_resumed_to_the_same_bits(again, steps, tmp_path):
    config = dataclasses.replace(
        STAGES, features=FeaturesConfig(resolution=4, steps=6, correct_every=3)
    )
    options = {"batch_size": 4, "snapshot_every": 3}
    again(tmp_path / "whole", config, **options)
    with pytest.raises(Killed):  # between two corrections of the draft
        again(tmp_path / "out", config, **options, progress=killed_after(1.2))
    steps.clear()
    again(tmp_path / "out", config, **options)
    assert steps == [18, 26]
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_samples_and_pictures_at_different_steps(again, steps, tmp_path):
    options = {"batch_size": 2, "snapshot_every": 6, "samples": 2}
    again(tmp_path / "whole", **options)
    with pytest.raises(Killed):  # The second picture's samples are in their middle.
        again(tmp_path / "out", **options, progress=killed_after(1.5))
    steps.clear()
    again(tmp_path / "out", **options)
    assert steps == [12, 6, 12]
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
    # A picture without a snapshot is searched for by itself, the others are resumed.
    assert steps == ([6, 12] if change == "seed" else [12, 6, 12])
    assert len(lines(tmp_path / "out")) == 3
    assert not folder.exists()


def test_snapshots_in_a_store(finished, again, whole, steps):
    store = fsspec.filesystem("memory")
    store.store.clear()
    options = {"batch_size": 4, "snapshot_every": 6}
    with pytest.raises(Killed):
        again("memory://out", STAGES, **options, progress=killed_after(0.5))
    steps.clear()
    again("memory://out", STAGES, **options)
    assert steps == [12, 20]
    assert {name: store.cat(f"/out/{name}") for name in whole} == whole
    assert not [path for path in store.find("/out") if "snapshots" in path]
    store.store.clear()


def test_pictures_go_on_with_their_batch_each_in_its_row(narrow, tmp_path):
    """Two processes were killed; one resumes the batches of both as they were."""
    for i in range(10):
        picture(tmp_path / "in" / f"{i}.png", i)
    inputs, out = tmp_path / "in", tmp_path / "out"
    batches = []
    for index in range(2):
        options = JobOptions(snapshot_every=6, batch_size=3, share=Share(index, 2))
        progress = killed_after(0.5)
        with pytest.raises(Killed):
            restore_files(inputs, out, CONFIG, options, generator=narrow, progress=progress)
        files = {path.name for path in (out / ".snapshots").iterdir()}
        batches.append(sorted(files - set().union(*batches)))
    assert [len(batch) for batch in batches] == [3, 3]

    snapshots = Snapshots(out, Settings(*(None,) * len(Settings._fields)), 6)
    everything, _ = collect_inputs([inputs], out=out)
    *together, others = snapshots.groups(everything[::-1])
    found = [[f"{source.name}.0.npz" for source in group.inputs] for group in together]
    assert sorted(found) == sorted(batches)
    assert [group.pictures for group in together] == [3, 3]
    assert (len(others.inputs), others.pictures) == (4, None)
