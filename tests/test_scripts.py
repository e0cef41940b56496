"""The scripts start, and the benchmark measures: a change of the package must not break them."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
