"""The scripts start, and the benchmark measures: a change of the package must not break them."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.weights.load import load_generator

ROOT = Path(__file__).parents[1]


def run_script(name, *arguments):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    run = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("name", ["benchmark.py", "figure2_superresolution.py", "fit_draft.py"])
def test_script_tells_its_options(name):
    assert "--out" in run_script(name, "--help")


@pytest.fixture
def pictures(tmp_path):
    """Two smooth pictures of 96 pixels, and the JPEG of the first."""
    rng = np.random.default_rng(0)
    for i in range(2):
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        small.resize((96, 96)).save(tmp_path / f"{i}.png")
    Image.open(tmp_path / "0.png").save(tmp_path / "given.jpg", quality=10)
    return tmp_path


@pytest.mark.slow
def test_table1_prefers_the_originals(pictures):
    options = ["--count", "2", "--qualities", "10"]
    row = run_script("table1_nll.py", str(pictures / "[01].png"), *options).splitlines()[-1]
    quality, paired, unpaired, *_, ranking = (cell.strip() for cell in row.strip("| ").split("|"))
    assert quality == "10"
    assert float(paired) < float(unpaired)
    assert ranking.startswith("100%")


@pytest.mark.slow
def test_figure4_prefers_the_original_to_another_picture(pictures):
    files = [str(pictures / name) for name in ("given.jpg", "1.png", "0.png")]
    out = pictures / "sheet.png"
    text = run_script("figure4_ranking.py", *files, "--model", "jpeg", "--out", str(out))
    assert "preferred: 0.png" in text
    assert out.exists()


def test_figure3_draws_what_a_log_says(tmp_path):
    records = [{"step": s, "bits": 3 - s, "ranking": s / 2} for s in (1, 2)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, records)))
    out = tmp_path / "curve.png"
    assert "step 2 ranks best" in run_script(
        "figure3_training.py", str(tmp_path), "--out", str(out)
    )
    assert out.exists()


@pytest.mark.slow
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
def test_benchmark_measures_one_case_and_says_what_it_skips(tmp_path):
    out = tmp_path / "benchmark.json"
    small = ["--resolutions", "128", "512", "--batches", "1", "--repeats", "1"]
    no_search = ["--generators", "mobilestylegan-ffhq", "--search-batch", "0"]
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
