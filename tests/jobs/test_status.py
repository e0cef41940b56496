"""A look at a job's folder, its quarantine, and one table of its results."""

import csv
import shutil

import pyarrow.parquet
import pytest

from perceptual_jax.errors import UsageError
from perceptual_jax.jobs.processes import Share, hold_lease
from perceptual_jax.jobs.status import merge, overview
from tests.helpers.job_files import contents, picture


def test_a_finished_job_at_a_glance(folder):
    view = overview(folder)
    assert (view.done, view.failed, view.left) == (3, 0, 0)
    first, *workers = view.lines()
    assert first == "done 3, failed 0, left 0"
    assert "process 0: ended, 3 done" in workers[0]
    assert "% of the time it was in: " in workers[0]


def test_a_running_job_is_seen_to_run(folder):
    with hold_lease(folder, Share()):
        assert overview(folder).workers[0].alive
        with pytest.raises(UsageError, match="written to by another process"):  # noqa: SIM117
            with hold_lease(folder, Share()):
                pass
        with pytest.raises(UsageError, match="written to by 1 processes at this moment"):  # noqa: SIM117
            with hold_lease(folder, Share(1, 2)):
                pass
    assert not overview(folder).workers[0].alive


def test_results_become_one_table(folder):
    table, parquet = merge(folder)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["name"] for row in rows] == ["a", "b", "sub__a"]
    assert all(float(row["total"]) > 0 and row["status"] == "OK" for row in rows)
    again = pyarrow.parquet.read_table(parquet).to_pylist()
    assert [row["name"] for row in again] == ["a", "b", "sub__a"]
    assert again[0]["mmd2"] == pytest.approx(float(rows[0]["mmd2"]))


def test_folders_without_a_job_or_a_result(tmp_path):
    with pytest.raises(UsageError, match="is not the folder of a job"):
        overview(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(UsageError, match="has no result yet"):
        merge(tmp_path)


def test_failures_are_kept_aside_until_they_change_or_are_asked_for(again, finished, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(finished / "in", source)
    (source / "bad.png").write_text("no picture")
    out = tmp_path / "out"
    assert len(again(out, inputs=[source]).failed) == 1
    lines = (out / "failures.jsonl").read_text().splitlines()
    assert len(lines) == 1
    before = contents(out)
    second = again(out, inputs=[source])  # Not read again, but still said.
    assert [reason for _, reason in second.failed] == ["it is not an image of a known format"]
    assert contents(out)["failures.jsonl"] == before["failures.jsonl"]
    assert len(again(out, inputs=[source], retry_failed=True).failed) == 1
    assert len((out / "failures.jsonl").read_text().splitlines()) == 2
    picture(source / "bad.png", 5)
    summary = again(out, inputs=[source])
    assert (summary.restored, summary.failed) == (1, ())


def test_shares_cover_all_and_overlap_nowhere():
    names = [f"face{i}" for i in range(1000)]
    for count in (1, 2, 3, 7):
        owners = [[s.owns(name) for s in (Share(i, count) for i in range(count))] for name in names]
        assert all(sum(row) == 1 for row in owners)
        assert min(map(sum, zip(*owners, strict=True))) > 0.8 * 1000 / count
