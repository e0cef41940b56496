"""The notebooks run from top to bottom, with the settings of a user, not those of the tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONG = ("degradation", "losses")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.long) if path.stem in LONG else path
        for path in sorted(ROOT.glob("notebooks/*.ipynb"))
    ],
    ids=lambda path: path.stem,
)
def test_notebook_runs(path, tmp_path):
    settings = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PERCEPTUAL_JAX_NOTEBOOK_STEPS": "2",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "MPLBACKEND": "agg",
        "IPYTHONDIR": str(tmp_path),
    }
    # IPython runs the cells by itself: no kernel has to be installed, and no port opened.
    run = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(path)],
        env=os.environ | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
