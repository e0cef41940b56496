"""The notebooks run from top to bottom.

That of a photograph has the whole generator, as its users have. In the others a narrow one stands
in the cache under the name of the default one: they are about what is done with it.
"""

import json
import subprocess
import sys

import pytest

from perceptual_jax.checkpoints import fetch, store
from perceptual_jax.checkpoints.foreign.mobilestylegan_openvino import mobilestylegan_config
from tests.helpers.narrow import mobile_arrays
from tests.helpers.processes import ROOT, environment

WHOLE = ("photograph",)
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


@pytest.fixture(scope="module")
def narrow_cache(tmp_path_factory):
    """A cache whose default generator is of 128 px and few channels, with random weights."""
    path = fetch.cached_path("mobilestylegan-ffhq")
    _, metadata = store.load(fetch.ensure("mobilestylegan-ffhq"))
    arrays = mobile_arrays(channels=(16, 16, 8, 8))
    changed = {"name": "narrow", "config": mobilestylegan_config(arrays)}
    root = tmp_path_factory.mktemp("cache")
    (root / "weights").mkdir()
    store.save(root / "weights" / path.name, arrays, metadata | changed)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, narrow_cache):
    variables = environment(
        PERCEPTUAL_JAX_NOTEBOOK_STEPS="2", MPLBACKEND="agg", IPYTHONDIR=str(tmp_path)
    )
    if path.stem not in WHOLE:
        variables["PERCEPTUAL_JAX_CACHE"] = str(narrow_cache)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = tmp_path / f"{path.stem}.ipy"
    script.write_text("\n\n".join(code), encoding="utf-8")
    # IPython runs the cells by itself: no kernel has to be installed, and no port opened.
    run = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
