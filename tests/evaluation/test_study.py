import copy
import json

import pytest

from perceptual_jax.evaluation.study import (
    ANSWERS,
    Answers,
    Key,
    StudyError,
    Trial,
    analyse,
    draw_trials,
    read_answers,
    read_key,
    study_page,
)
from tests.evaluation.test_report import Balanced, data_of

TRIALS = [
    Trial("t1", "x", "a"),
    Trial("t2", "y", "b"),
    Trial("t3", "z", "a"),
    Trial("c1", "x", "good"),
    Trial("c2", "y", "bad"),
]
KEY = Key("study1", "pulse-run", "mmd-run", {trial.id: trial for trial in TRIALS})


def exported(rater, choices, *, study="study1"):
    """The content of a file of answers; the left picture is always the first."""
    answers = [{"trial": t, "choice": c, "left": 0, "seconds": 2.0} for t, c in choices.items()]
    found = Answers(study, rater, "", choices, dict.fromkeys(choices, 0), {})
    value = {"format": ANSWERS, "version": 1, "study": study, "rater": rater}
    return value | {"answers": answers, "check": found.checksum}


def sheet(rater, choices):
    return read_answers(exported(rater, choices), KEY)


def test_keys_and_answers_survive_their_files():
    assert read_key(json.loads(json.dumps(KEY.to_json()))) == KEY
    found = sheet("r", {"t1": 0, "t2": None})
    assert found.choices == {"t1": 0, "t2": None}
    assert found.seconds == {"t1": 2.0, "t2": 2.0}


def test_the_checksum_is_that_of_the_page():
    # crc32("study1|r|t1:0:0|t2:-:0"), by zlib; the test in a browser compares the page's.
    assert exported("r", {"t1": 0, "t2": None})["check"] == "1a1899a2"


def test_trials_are_drawn_so_that_nothing_tells_whose_picture_is_first():
    names = [str(i) for i in range(200)]
    trials = draw_trials(names, names[:20], seed=3)
    assert trials == draw_trials(names, names[:20], seed=3)
    assert len({trial.id for trial in trials}) == 220
    assert sum(trial.is_catch for trial in trials) == 20
    assert 70 < sum(trial.first == "a" for trial in trials) < 130
    assert {trial.first for trial in trials if trial.is_catch} == {"good", "bad"}
    assert [trial.name for trial in trials] != names


def test_preferences_by_hand():
    raters = [
        sheet("r1", {"t1": 0, "t2": 1, "t3": 0, "c1": 0, "c2": 1}),  # A, A, A; both catches right
        sheet("r2", {"t1": 1, "t2": 1, "c1": 1, "c2": 1}),  # B, A; one catch failed, one missing
        sheet("r3", {"t1": None, "t2": 0, "t3": 1, "c1": 1, "c2": 0}),  # did not look
    ]
    result = analyse(KEY, raters)
    first, second, third = result.raters
    assert (first.found.wins, first.found.losses, first.missing) == (3, 0, 0)
    assert first.found.low == pytest.approx(0.025 ** (1 / 3))
    assert (second.found.wins, second.found.losses, second.missing) == (1, 1, 1)
    assert (third.found.wins, third.found.losses, third.found.ties) == (0, 2, 1)
    assert [rater.catches_failed for rater in result.raters] == [0, 1, 2]
    assert [rater.attentive for rater in result.raters] == [True, True, False]
    assert (first.left.wins, first.left.losses) == (3, 2)
    assert (result.pooled.wins, result.pooled.losses) == (4, 1)
    assert (result.by_pair.wins, result.by_pair.ties) == (2, 1)  # t1 is split
    assert result.agreement == pytest.approx(1 / 2)  # on t2, not on t1
    strict = analyse(KEY, raters, max_failed_catches=0)
    assert (strict.pooled.wins, strict.pooled.losses, strict.agreement) == (3, 0, None)


def changes(value):
    """Ways in which a file of answers can be damaged or forged, by hand."""
    for name in value:
        if name != "name":
            broken = copy.deepcopy(value)
            del broken[name]
            yield broken
    for key, wrong in (("choice", 2), ("choice", True), ("choice", "0"), ("left", None)):
        broken = copy.deepcopy(value)
        broken["answers"][0][key] = wrong
        yield broken
    for key, wrong in (("choice", 1), ("left", 1), ("trial", "t3")):
        broken = copy.deepcopy(value)
        broken["answers"][0][key] = wrong
        yield broken
    yield value | {"rater": "another"}
    yield value | {"study": "another"}
    yield value | {"version": 2}
    yield value | {"answers": [*value["answers"], value["answers"][0]]}
    yield value | {"answers": [{**value["answers"][0], "trial": "unknown"}]}
    yield value | {"answers": 3}
    yield from ([], None, 3, "text", {})


def test_tampered_answers_are_refused_in_one_sentence():
    value = exported("r", {"t1": 0, "t2": 1})
    assert read_answers(value, KEY)
    for wrong in changes(value):
        with pytest.raises(
            StudyError, match=r"^(expected answers,|its answers|it answers) [^.\n]*$"
        ):
            read_answers(wrong, KEY)


def test_damaged_keys_are_refused():
    value = KEY.to_json()
    for wrong in (None, [], value | {"trials": []}, value | {"format": "x"}):
        with pytest.raises(StudyError, match="expected the key of a study"):
            read_key(wrong)
    value["trials"][0]["first"] = "c"
    with pytest.raises(StudyError, match="expected the key of a study"):
        read_key(value)


def test_the_page_is_blind_and_harmless():
    evil = "</script><script>alert(1)</script>"
    pictures = {
        trial.id: ("data:image/png;base64,AA", "data:image/png;base64,BB") for trial in TRIALS
    }
    page = study_page(KEY, pictures, references={"t1": "data:,"}, question=evil)
    parsed = Balanced(page)
    assert not parsed.open
    assert not parsed.wrong
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    for secret in ("pulse-run", "mmd-run", '"good"', '"bad"', '"first"'):
        assert secret not in page
    data = data_of(page)
    assert data["question"] == evil
    assert [trial["id"] for trial in data["trials"]] == ["c1", "c2", "t1", "t2", "t3"]
