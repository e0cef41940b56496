"""The scripts start, and the benchmark measures: a change of the package must not break them."""

import json
import math
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.checkpoints.load import load_generator
from tests.helpers.processes import ROOT, environment

SIDE = 64


def run_script(name, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


HELP = """
import contextlib, pathlib, runpy, sys

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    if "import tyro" in path.read_text(encoding="utf-8"):
        print(f"## {path.name}")
        sys.argv = [path.name, "--help"]
        with contextlib.suppress(SystemExit):
            runpy.run_path(str(path), run_name="__main__")
"""


def test_scripts_tell_their_options():
    command = [sys.executable, "-c", HELP, str(ROOT / "scripts")]
    variables = environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "scripts")]))
    run = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    _, *helps = run.stdout.split("## ")
    assert len(helps) >= 10
    assert not [text for text in helps if "usage: " not in text or "--help" not in text]


@pytest.fixture
def pictures(tmp_path):
    """Two smooth pictures of `SIDE` pixels, and the JPEG of the first."""
    rng = np.random.default_rng(0)
    for i in range(2):
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        small.resize((SIDE, SIDE)).save(tmp_path / f"{i}.png")
    Image.open(tmp_path / "0.png").save(tmp_path / "given.jpg", quality=10)
    return tmp_path


def table_rows(text):
    """The body of a markdown table, as dicts by heading."""
    heads, _, *rows = (
        [x.strip() for x in line.strip("| ").split("|")] for line in text.split("\n")
    )
    return [dict(zip(heads, row, strict=True)) for row in rows if len(row) > 1]


@pytest.mark.slow
@pytest.mark.long
def test_table1_prefers_the_originals_and_the_quality_helps(pictures):
    options = ["--count", "2", "--qualities", "10", "--unknown-quality"]
    text = run_script("table1_nll.py", str(pictures / "[01].png"), *options)
    rows = {row["tables"]: row for row in table_rows(text)}
    assert list(rows) == ["known", "withheld", "guessed"]
    bits = {name: float(row["paired"]) for name, row in rows.items()}
    # A mean over 56 qualities loses at most log2(56) bits a picture, 0.0005 a dimension.
    assert bits["guessed"] <= bits["known"] + 0.001
    assert bits["guessed"] < bits["withheld"]
    for row in rows.values():
        assert row["quality"] == "10"
        assert float(row["paired"]) < float(row["unpaired"])
        assert float(row["paired / file"]) == pytest.approx(
            float(row["paired"]) / float(row["file"]), rel=0.02
        )
    assert rows["known"]["ranking"] == "100% 100% 100%"
    # What follows the scan's header of 14 bytes; a colour baseline JPEG has only one scan.
    sizes = []
    for i in range(2):
        Image.open(pictures / f"{i}.png").save(pictures / "own.jpg", quality=10)
        encoded = (pictures / "own.jpg").read_bytes()
        sizes.append(len(encoded) - encoded.rindex(b"\xff\xda") - 14)
    assert float(rows["known"]["file"]) == pytest.approx(8 * np.mean(sizes) / SIDE**2 / 3, abs=6e-4)


@pytest.mark.slow
def test_figure4_prefers_the_original_to_another_picture(pictures):
    files = [str(pictures / name) for name in ("given.jpg", "1.png", "0.png")]
    out = pictures / "sheet.png"
    text = run_script("figure4_ranking.py", *files, "--model", "jpeg", "--out", str(out))
    assert "preferred: 0.png" in text
    assert out.exists()


@pytest.mark.slow
def test_figure3_draws_what_a_log_says(tmp_path):
    # Two rank alike: the one with the larger margin was kept as the model.
    records = [{"step": 1, "loss": 3.0}]
    for step, ranking, margin in ((2, 0.5, 1.0), (4, 1.0, 0.1), (6, 1.0, 0.2), (8, 1.0, 0.1)):
        records.append(
            {"step": step, "bits": 3 / step, "ranking": ranking, "margin": {"blur": margin}}
        )
    for name, some in {"whole": records, "begun": records[:1]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text("\n".join(map(json.dumps, some)))
    out = tmp_path / "curve.png"
    folders = [str(tmp_path / name) for name in ("whole", "begun")]
    text = run_script("figure3_training.py", *folders, "--out", str(out))
    assert "whole: step 6 ranks best, 100.0%; 0.500 bits/dim" in text
    assert "begun: not evaluated yet" in text
    with Image.open(out) as image:
        assert np.asarray(image).min() < np.asarray(image).max()


@pytest.mark.slow
@pytest.mark.long
def test_figure5_draws_a_sample_that_is_no_noise(tmp_path):
    out = tmp_path / "sheet.png"
    small = ["--seeds", "1", "--size", "32", "--quality", "20"]
    text = run_script("figure5_samples.py", *small, "--out", str(out))
    found = re.findall(r"seed 1, temperature ([\d.]+): ([\d.]+) levels", text)
    assert [temperature for temperature, _ in found] == ["1.0", "0.7"]
    # Noise of even levels is 85 and more away from any picture.
    assert all(float(error) < 30 for _, error in found)
    with Image.open(out) as image:
        assert image.width > 4 * 256


@pytest.mark.slow
@pytest.mark.long
def test_a_draft_head_is_fitted_to_any_generator_and_found_beside_it(narrow_path, tmp_path):
    path = shutil.copy(narrow_path, tmp_path / "mine.safetensors")
    small = ["--samples", "64", "--test-samples", "8", "--steps", "300", "--hidden", "16"]
    text = run_script("fit_draft.py", "--generator", str(path), "--resolution", "16", *small)
    before, after = re.findall(r"mean (-?[\d.]+) dB", text)
    assert float(after) > float(before) + 1
    assert load_generator(narrow_path).num_seen_styles(16) == 6
    assert load_generator(path).num_seen_styles(16) == 8
    assert load_generator(path).draft_heads[16].output_weight.shape[-1] == 3


@pytest.mark.slow
@pytest.mark.long
def test_benchmark_measures_one_case_and_says_what_it_skips(tmp_path):
    out = tmp_path / "benchmark.json"
    small = ["--resolutions", "128", "512", "--batches", "1", "--repeats", "1"]
    no_search = [
        "--generators",
        "mobilestylegan-ffhq",
        "--search-batch",
        "0",
        "--likelihood-size",
        "0",
    ]
    table = run_script("benchmark.py", *small, *no_search, "--out", str(out))
    report = json.loads(out.read_text(encoding="utf-8"))
    (row,) = report["networks"]
    assert (row["px"], row["batch"]) == (128, 1)
    numbers = [value for key, value in row.items() if key != "generator"]
    assert all(math.isfinite(value) and value > 0 for value in numbers)
    # GFLOP of a step: some 8 at 128 px, so neither one layer nor all steps of the scan.
    assert 4 < row["GFLOP/s"] * row["step s"] < 16
    (skipped,) = report["skipped"]
    assert skipped["px"] == 512
    assert "no draft head" in skipped["reason"]
    assert "no draft head" in table
    assert {"versions", "device", "date", "dtype"} <= report.keys()
