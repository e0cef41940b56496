import json

import numpy as np
import pytest
from PIL import Image

from perceptual_jax import cli
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.metrics.metric_list import METRICS
from perceptual_jax.jobs.scoring import evaluate
from perceptual_jax.jobs.scoring.model_preference import model_lines, prefer_by_models
from tests.helpers import measures


def load(name):
    parts = measures.pristine() if name == "niqe" else measures.regression()
    return parts._asdict()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for seed, name in enumerate("abcd"):
        image = measures.textured((192, 96), seed)
        for folder, noise in (("one", 0.0), ("two", 0.5)):
            noisy = np.clip(image + noise * rng.normal(size=image.shape), -1, 1)
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.round((noisy + 1) * 127.5).astype(np.uint8)).save(path)
    (tmp_path / "two" / "d.png").unlink()
    return tmp_path


def test_a_model_prefers_the_better_score_on_common_pictures(folders):
    one, two = folders / "one", folders / "two"
    found = prefer_by_models(one, two, models=["niqe", "brisque"], load=load)
    scores = evaluate.evaluate_files(one, versus=[two], metrics=["niqe", "brisque"], load=load)
    for name in ("niqe", "brisque"):
        assert METRICS[name].lower_is_better
        first, second = (method.pictures for method in scores.methods)
        wins = sum(first[p][name] < second[p][name] for p in "abc")
        assert found.found[name][:3] == (wins, 3 - wins, 0)
    swapped = prefer_by_models(two, one, models=["niqe"], load=load)
    assert swapped.found["niqe"].losses == found.found["niqe"].wins


def test_it_is_named_a_models_preference_and_no_study(folders, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "load_measure", lambda name, report=None: load(name))
    table = folders / "found.json"
    argv = ["study", "model", str(folders / "one"), str(folders / "two"), "--models", "niqe"]
    assert cli.main([*argv, "--json", str(table), "--quiet"]) == 0
    head, line, end = capsys.readouterr().out.splitlines()
    assert head.startswith("A is ")
    assert line.startswith("the model niqe prefers A ")
    assert "95 % interval" in line
    assert end == "These are models' preferences, not a study: nobody was asked."
    written = json.loads(table.read_text())
    assert written["kind"] == "model preference, not a study"
    assert written["models"]["niqe"]["model"] == "niqe"


def test_the_name_of_our_model_is_in_its_line(folders):
    found = prefer_by_models(folders / "one", folders / "two", models=["niqe"], load=load)
    renamed = found._replace(found={"rank_vgg": found.found["niqe"]})
    assert any("the model rank-vgg (ours) prefers A" in line for line in model_lines(renamed))


def test_models_that_need_more_than_a_picture_are_refused(folders):
    with pytest.raises(UsageError, match=r"sees one picture, such as niqe, .*; got psnr"):
        prefer_by_models(folders / "one", folders / "two", models=["psnr"])
