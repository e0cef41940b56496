"""The notebooks run from top to bottom.

A narrow generator stands in the cache under the name of the default one: the notebooks are about
what is done with it. The long run has that of a photograph with the whole generator, as users have.
"""

import json
import subprocess
import sys

import pytest

from perceptual_jax.checkpoints import fetch, store
from perceptual_jax.checkpoints.foreign.mobilestylegan_openvino import mobilestylegan_config
from tests.helpers.faces import background, generated_faces, put, quad_at
from tests.helpers.narrow import mobile_arrays
from tests.helpers.processes import ROOT, environment

NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
LONG = {"losses", "degradation", "photograph"}


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


def run(path, folder, **variables):
    """Runs a notebook in a folder; returns what it prints."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = folder / f"{path.stem}.ipy"
    script.write_text("\n\n".join(code), encoding="utf-8")
    # IPython runs the cells by itself: no kernel has to be installed, and no port opened.
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        env=environment(
            PERCEPTUAL_JAX_NOTEBOOK_STEPS="2",
            MPLBACKEND="agg",
            IPYTHONDIR=str(folder),
            **variables,
        ),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return said


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.long if path.stem in LONG else ()) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_notebook_runs(path, tmp_path, narrow_cache):
    photograph = background(220, 340)
    for face, x in zip(generated_faces(), (95, 245), strict=False):
        put(photograph, face, quad_at(x, 110, 110))
    photograph.save(tmp_path / "photograph.png")
    said = run(path, tmp_path, PERCEPTUAL_JAX_CACHE=str(narrow_cache))
    assert said.count("will be restored") == 2 * (path.stem == "photograph")


@pytest.mark.slow
@pytest.mark.long
def test_a_photograph_is_made_up_and_restored_by_the_whole_generator(tmp_path):
    (path,) = (path for path in NOTEBOOKS if path.stem == "photograph")
    assert run(path, tmp_path).count("will be restored") == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
