import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from perceptual_jax import cli
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.study import StudyError, read_answers, read_key
from perceptual_jax.jobs.pages import study
from perceptual_jax.jobs.pages.answers import analyse_study
from perceptual_jax.jobs.pages.study import make_study
from tests.evaluation.test_report import data_of
from tests.evaluation.test_study import exported
from tests.helpers.job_files import picture

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def folders(tmp_path):
    """Two folders of pictures of the same names: black ones and white ones."""
    for folder, level in (("black", 0), ("white", 255)):
        (tmp_path / folder).mkdir()
        for name in NAMES:
            Image.new("RGB", (40, 40), (level,) * 3).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def pixels(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def made_of(folders, **options):
    page = folders / "study.html"
    made = make_study(folders / "black", folders / "white", page, **options)
    key = read_key(json.loads((folders / "study.key.json").read_text()))
    return made, key, data_of(page.read_text(encoding="utf-8"))


def saved(path, key, rater, choices):
    """Writes a file of answers as the page exports them."""
    path.write_text(json.dumps(exported(rater, choices, study=key.study)))
    return path


def prefer(key, side):
    """The choices of a rater who always prefers one method and fails no catch trial."""
    trials = key.trials.values()
    return {trial.id: 0 if trial.first in (side, "good") else 1 for trial in trials}


def test_the_key_says_whose_picture_is_whose(folders):
    made, key, data = made_of(folders, catches=3)
    assert (made.pairs, made.catches, made.failed) == (4, 3, ())
    assert (key.a, key.b, key.study) == ("black", "white", data["study"])
    assert {trial["id"] for trial in data["trials"]} == key.trials.keys()
    for trial in data["trials"]:
        known = key.trials[trial["id"]]
        levels = [pixels(address).mean() for address in trial["pictures"]]
        if not known.is_catch:
            assert levels == ([0, 255] if known.first == "a" else [255, 0])
    names = [trial.name for trial in key.trials.values() if not trial.is_catch]
    assert sorted(names) == NAMES
    again, _, _ = made_of(folders, catches=3, overwrite=True)
    assert again == made


def test_catch_trials_show_a_picture_beside_its_blur(folders):
    for name in NAMES:
        picture(folders / "black" / f"{name}.png", 1, width=64, height=64)
        shutil.copy(folders / "black" / f"{name}.png", folders / "white" / f"{name}.png")
    _, key, data = made_of(folders)
    caught = [trial for trial in data["trials"] if key.trials[trial["id"]].is_catch]
    assert len(caught) == 2
    for trial in caught:
        first, second = (pixels(address).std() for address in trial["pictures"])
        assert (first > 2 * second) == (key.trials[trial["id"]].first == "good")
        assert (second > 2 * first) == (key.trials[trial["id"]].first == "bad")


def test_pairs_get_one_size_and_one_format(folders):
    Image.new("RGB", (80, 80)).save(folders / "black" / "a.png")
    Image.new("RGB", (40, 40)).save(folders / "black" / "b.png")
    Image.new("RGB", (400, 400)).save(folders / "white" / "b.png")
    (folders / "given").mkdir()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(folders / "given" / "a.png")
    _, key, data = made_of(folders, size=96, catches=0, reference=folders / "given", ties=True)
    sizes = {}
    for trial in data["trials"]:
        name = key.trials[trial["id"]].name
        assert all(x.startswith("data:image/jpeg;") for x in trial["pictures"])
        sizes[name] = {pixels(address).shape[0] for address in trial["pictures"]}
        assert (trial["reference"] is not None) == (name == "a")
    assert sizes == {"a": {80}, "b": {96}, "c": {40}, "d": {40}}
    assert data["ties"]


def test_pairs_that_cannot_be_used_are_named_and_the_rest_goes_on(folders):
    (folders / "black" / "a.png").unlink()
    Image.new("RGB", (40, 60)).save(folders / "black" / "b.png")
    (folders / "white" / "c.png").write_bytes(b"x")
    made, key, _ = made_of(folders)
    reasons = dict(made.failed)
    assert reasons["a"] == "black has no picture of this name"
    assert reasons["b"] == "expected pictures of one shape, got 40x60 and 40x40"
    assert "cannot read" in reasons["c"]
    assert {trial.name for trial in key.trials.values()} == {"d"}


def test_studies_that_cannot_be_made_are_refused(folders, monkeypatch):
    made_of(folders)
    with pytest.raises(UsageError, match="exists"):
        made_of(folders)
    for wrong in ({"pairs": 0}, {"catches": -1}, {"size": 3}):
        with pytest.raises(UsageError, match="must be at least"):
            made_of(folders, overwrite=True, **wrong)
    monkeypatch.setattr(study, "LARGEST", 1000)
    with pytest.raises(UsageError, match="fewer --pairs or a smaller --size"):
        made_of(folders, overwrite=True)
    picture(folders / "other" / "x.png", 0)
    with pytest.raises(UsageError, match="no picture of the same name"):
        make_study(folders / "black", folders / "other", folders / "new.html")
    with pytest.raises(UsageError, match=r"must end in \.html"):
        make_study(folders / "black", folders / "white", folders)
    with pytest.raises(UsageError, match="cannot be made"):
        make_study(folders / "black", folders / "white", folders / "study.html" / "new.html")
    assert not (folders / "new.html").exists()


def test_jobs_are_paired_by_their_records(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    made = make_study(folder, other, tmp_path / "s.html", catches=1)
    assert (made.pairs, made.failed) == (3, ())
    key = read_key(json.loads(made.key.read_text()))
    assert (key.a, key.b) == ("out", "other")


def test_files_of_answers_are_analysed_and_bad_ones_named(folders):
    _, key, _ = made_of(folders)
    files = folders / "answers"
    files.mkdir()
    saved(files / "1.json", key, "r1", prefer(key, "a"))
    saved(files / "1 again.json", key, "r1", prefer(key, "a"))
    saved(files / "2.json", key, "r2", prefer(key, "b"))
    saved(files / "3.json", key, "r2", prefer(key, "a"))
    (files / "4.json").write_text("{")
    (files / "5.json").write_text("[]")
    with pytest.raises(UsageError, match="no key that fits"):
        analyse_study([files])
    result, failed = analyse_study([files, folders / "study.key.json"])
    assert [rater.rater for rater in result.raters] == ["r1", "r2"]
    assert (result.pooled.wins, result.pooled.losses) == (4, 4)
    assert result.by_pair.ties == 4
    reasons = {path.rpartition("/")[2]: reason for path, reason in failed}
    assert reasons.keys() == {"3.json", "4.json", "5.json"}
    assert "other answers of the same rater as" in reasons["3.json"]
    assert reasons["4.json"] == "cannot be read: it is no JSON"
    shutil.copy(folders / "study.key.json", files)
    assert analyse_study([files / "1.json"])[0].pooled.share == 1.0
    with pytest.raises(UsageError, match="cannot be read as a key"):
        analyse_study([files], key=files / "4.json")
    with pytest.raises(UsageError, match=r"no file of answers .* the first one: .*5\.json"):
        analyse_study([files / "5.json"], key=files / "study.key.json")


def test_the_verbs(folders, capsys):
    page, key_path = folders / "study.html", folders / "study.key.json"
    arguments = [folders / "black", folders / "white", "--out", page, "--quiet"]
    assert cli.main(["study", "make", *map(str, arguments)]) == 0
    key = read_key(json.loads(key_path.read_text()))
    sheet = saved(folders / "answers.json", key, "r1", prefer(key, "a"))
    table = folders / "result.json"
    assert cli.main(["study", "analyse", str(sheet), "--json", str(table), "--quiet"]) == 0
    first, rater, pooled, pairs = capsys.readouterr().out.splitlines()
    assert first == f"study {key.study}: A is black, B is white; 4 pairs"
    expected = "4 of 4 = 100.0% (95 % interval 39.8% to 100.0%, p = 0.12)"
    assert rater.startswith(f"r1: prefers A {expected}; chose left ")
    assert rater.endswith(", failed 0 of 2 catch trials")
    assert pooled == f"pooled over 1 of 1 raters: A {expected}"
    assert pairs == f"by pair, most raters: A {expected}"
    assert json.loads(table.read_text())["pooled"]["share"] == 1.0
    sheet.write_text(sheet.read_text().replace('"choice": 0', '"choice": 1'))
    assert cli.main(["study", "analyse", str(sheet), "--key", str(key_path)]) == 2
    assert "changed after the export" in capsys.readouterr().err
    with pytest.raises(StudyError):
        read_answers(json.loads(sheet.read_text()), key)
