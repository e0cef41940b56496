import json
import shutil

import numpy as np
import pytest
from PIL import Image

from perceptual_jax import cli
from perceptual_jax.errors import UsageError
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.jobs.log import Lines
from perceptual_jax.jobs.pages.report import write_report
from perceptual_jax.jobs.writing import failure_record
from tests.evaluation.test_report import data_of
from tests.helpers.job_files import lines, picture


def rows_of(page):
    return {row["name"]: row for row in data_of(page.read_text(encoding="utf-8"))["rows"]}


def test_terms_of_all_steps_are_kept(finished):
    for record in lines(finished / "out"):
        (one,) = record["restorations"]
        with np.load(finished / "out" / f"{record['name']}.npz") as arrays:
            for name, value in one["terms"].items():
                trace = arrays[f"trace_{name}"]
                assert trace[one["best_step"]] == pytest.approx(value, rel=1e-6)


def test_the_page_holds_all_of_a_job(folder):
    assert write_report(folder) == folder / "report.html"
    data = data_of((folder / "report.html").read_text())
    assert data["title"] == "out"
    assert data["summary"] == "3 restored"
    assert "bank_size = 16" in data["config"]
    assert [row["name"] for row in data["rows"]] == ["a", "b", "sub__a"]
    for row, record in zip(data["rows"], lines(folder), strict=True):
        given, restored = row["pictures"]
        assert (given["label"], restored["label"]) == ("given", "restored")
        assert given["src"].startswith("data:image/png;base64,")
        assert restored["src"].startswith("data:image/png;base64,")  # 32 pixels
        (one,) = record["restorations"]
        assert restored["values"]["consistency_psnr"] == one["consistency_psnr"]
        assert restored["values"]["term:total"] == one["terms"]["total"]
        assert restored["curves"].keys() >= one["terms"].keys()
        assert restored["best_step"] == one["best_step"]
        assert (row["size"], row["term"]) == ([8, 8], record["degradation"]["term"])
    assert not (folder / "report_files").exists()


def test_a_limit_shows_what_failed_and_what_is_least_consistent(folder):
    records = lines(folder)
    worst = min(records, key=lambda record: record["restorations"][0]["consistency_psnr"])
    Lines(folder / "results.jsonl").add(failure_record("broken", "/in/broken.png", "cut off"))
    other = shutil.copytree(folder, folder.parent / "other")
    page = write_report(folder, limit=2, versus=[other])
    assert rows_of(page).keys() == {worst["name"], "broken"}
    assert len(rows_of(page)[worst["name"]]["pictures"]) == 3
    summary = data_of(page.read_text())["summary"]
    assert summary.startswith("3 restored, 1 failed; 2 are shown")
    with pytest.raises(UsageError, match="limit must be at least 1 input, got 0"):
        write_report(folder, limit=0)


def test_pictures_beside_the_page(folder):
    page = write_report(
        folder, versus=[shutil.copytree(folder, folder.parent / "o n%")], pictures="beside"
    )
    for row in rows_of(page).values():
        given, restored, other = row["pictures"]
        assert given["src"] == f"report_files/{row['name']}.png"
        assert restored["src"] == f"{row['name']}.png"
        assert other["src"] == f"../o%20n%25/{row['name']}.png"
    kept = Image.open(folder / "report_files" / "b.png")
    source = lines(folder)[1]["input"]["path"]
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(Image.open(source)))
    # They are no faces to the next verb.
    found, _ = collect_inputs([folder])
    assert sorted(source.path.name for source in found) == ["a.png", "b.png", "sub__a.png"]


def test_other_runs_are_matched_by_name(folder, tmp_path):
    said = []
    twin = shutil.copytree(folder, tmp_path / "twin")
    (twin / "evaluation.json").write_text(json.dumps({"a": {"LPIPS": 0.5}}))
    methods = [(folder, {"LPIPS": 0.25}), (twin, {"NIQE": 4.0})]
    methods = [{"folder": str(one), "pictures": {"a": scores}} for one, scores in methods]
    (folder / "evaluate-1.json").write_text(json.dumps({"methods": methods}))
    picture(tmp_path / "plain" / "a.png", 1)
    picture(tmp_path / "plain" / "sub" / "a.webp", 1)
    page = write_report(folder, versus=[twin, tmp_path / "plain"], report=said.append)
    assert said == ["plain has no picture of b"]
    rows = rows_of(page)
    labels = {name: [p["label"] for p in row["pictures"]] for name, row in rows.items()}
    assert labels["a"] == labels["sub__a"] == ["given", "restored", "twin", "plain"]
    assert labels["b"] == ["given", "restored", "twin"]
    values = {p["label"]: p.get("values", {}) for p in rows["a"]["pictures"]}
    assert values["restored"]["LPIPS"] == 0.25
    assert (values["twin"]["LPIPS"], values["twin"]["NIQE"]) == (0.5, 4.0)
    assert "NIQE" not in values["restored"]
    assert values["twin"]["consistency_psnr"] == values["restored"]["consistency_psnr"]


def test_maps_and_samples(folder):
    record = lines(folder)[0]
    (one,) = record["restorations"]
    for end in ("_nll", "_spread", "_s00", "_s01"):
        shutil.copy(folder / "a.png", folder / f"a{end}.png")
    record["restorations"] = [{**one, "image": f"a_s0{i}.png"} for i in range(2)]
    record |= {"nll_map": {"mean": 1.5, "white": 4.0}, "spread": {"mean": 0.1, "white": 0.25}}
    with np.load(folder / "a.npz") as arrays:
        stacked = {key: np.stack([arrays[key]] * 2) for key in arrays}
    np.savez(folder / "a.npz", **stacked)
    (folder / "results.jsonl").write_text(json.dumps(record) + "\n")
    row = rows_of(write_report(folder))["a"]
    labels = ["given", "sample 0", "sample 1", "likelihood map", "spread map"]
    assert [p["label"] for p in row["pictures"]] == labels
    assert row["pictures"][3]["legend"] == "likelihood: black is 0, white is 4 bits/dim and more"
    assert row["pictures"][4]["legend"] == "spread: black is 0, white is 0.25 and more"
    assert row["pictures"][2]["values"]["bits"] == 1.5
    assert row["pictures"][2]["curves"]["total"] == row["pictures"][1]["curves"]["total"]


def test_what_is_missing_or_damaged_is_said_and_the_rest_shown(folder, tmp_path):
    log = Lines(folder / "results.jsonl")
    evil = "<script>\"'\u2028.png"
    log.add(failure_record(None, tmp_path / evil, "it is empty"))
    first, second, third = lines(folder)[:3]
    (folder / "a.png").unlink()
    first["input"]["path"] = "/nowhere/a.png"
    second["restorations"][0]["image"] = "../../secret.png"
    third["input"]["sha256"] = "0"
    for record in (first, second, third):
        log.add(record)
    (folder / "a.npz").write_bytes(b"PK damaged")
    rows = rows_of(write_report(folder))
    assert rows[str(tmp_path / evil)]["message"] == "it is empty"
    changed = [note for row in rows.values() for note in row["notes"]]
    assert "the input can no longer be read" in changed
    assert "restored: a.png cannot be read" in changed
    assert "the input has changed since it was restored" in changed
    assert rows["b"]["status"] == "DAMAGED"
    assert "restore it again" in rows["b"]["message"]


def test_what_cannot_be_reported_is_refused_in_one_sentence(folder, tmp_path):
    with pytest.raises(UsageError, match="is not the folder of a job"):
        write_report(tmp_path / "none")
    picture(tmp_path / "wrong" / "x.png", 0)
    with pytest.raises(UsageError, match="expected names such as a, found x"):
        write_report(folder, versus=[tmp_path / "wrong"])
    (folder / "report.html").write_text("mine")
    with pytest.raises(UsageError, match="is not a report of this tool"):
        write_report(folder)
    write_report(folder, overwrite=True)
    write_report(folder)
    (folder / "results.jsonl").write_text("")
    for record in folder.glob("*.json"):
        record.unlink()
    with pytest.raises(UsageError, match="has no result yet"):
        write_report(folder)


def test_the_verb_writes_the_page(folder, capsys):
    assert cli.main(["report", str(folder), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (folder / "report.html").is_file()
    assert cli.main(["report", str(folder / "none")]) == 2
