"""Several users share the device: order, places, cancelling, and what is left of their files."""

import pytest

from perceptual_jax.errors import UsageError
from perceptual_jax.web.actions import Actions
from perceptual_jax.web.events import Cancelled, Forming, Outcome, Waiting
from perceptual_jax.web.queue import Queue
from perceptual_jax.web.requests import Request
from perceptual_jax.web.sessions import Sessions
from tests.helpers.job_files import picture


@pytest.fixture
def queue(tools):
    one = Queue(tools, max_waiting=2)
    yield one
    one.close()


@pytest.fixture
def sessions(queue, tmp_path):
    (tmp_path / "sessions").mkdir()
    return Sessions(tmp_path / "sessions", queue)


@pytest.fixture
def crop(tmp_path):
    path = tmp_path / "upload" / "a.png"
    picture(path, 0)
    return path


def test_requests_are_restored_in_their_order_and_told_their_places(queue, crop, tmp_path):
    request = Request(crop.read_bytes(), "a.png", samples=2)
    runs = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        runs.append(queue.submit(request, tmp_path / str(number)))
    with pytest.raises(UsageError, match="2 requests are waiting already"):
        queue.submit(request, tmp_path)
    queue.cancel(runs[1])
    with pytest.raises(Cancelled, match="before it began"):
        list(runs[1])
    first, last = list(runs[0]), list(runs[2])
    assert not any(isinstance(event, Waiting) for event in first)
    places = [event.ahead for event in last if isinstance(event, Waiting)]
    assert places == [2, 1]
    assert isinstance(last[-1], Outcome)
    assert not list((tmp_path / "1").iterdir())


def test_a_run_at_work_is_cancelled_at_its_next_piece(queue, crop, tmp_path):
    run = queue.submit(Request(crop.read_bytes(), "a.png", samples=2), tmp_path)
    events = iter(run)
    while not isinstance(next(events), Forming):
        pass
    queue.cancel(run)
    with pytest.raises(Cancelled, match="nothing is kept"):
        list(events)
    assert run.ended.is_set()


def test_the_files_of_a_user_are_gone_once_the_user_leaves(tools, sessions, crop):
    actions = Actions(tools, sessions)
    chosen = actions.choose("me", crop, "auto")
    assert chosen.file is not None
    assert not crop.parent.exists()
    assert "small, so downscaled" in chosen.seen
    *_, last = actions.restore("me", chosen.file, samples=2)
    assert last.outcome is not None
    before, after = actions.pair("me", 1)
    assert before.is_file()
    assert after.is_file()
    assert [path.name for path in actions.downloads("me")] == ["a_s00.png", "a_s01.png", "a.json"]
    actions.leave("me")
    assert not list(sessions.folder.iterdir())
    assert actions.pair("me", 0) is None


def test_nothing_raises_on_the_page(tools, sessions, tmp_path):
    actions = Actions(tools, sessions)
    (last,) = actions.restore("me", None)
    assert "Choose a picture first." in last.status
    assert "choose it again" in actions.choose("me", tmp_path / "gone.png", "auto").seen
    evil = tmp_path / "<img src=x>.png"
    evil.write_bytes(b"no picture")
    chosen = actions.choose("me", evil, "auto")
    assert "It is not an image of a known format." in chosen.seen
    assert "<img" not in chosen.seen
    *_, last = actions.restore("me", chosen.file)
    assert "known format" in last.status
    assert "<img" not in last.status
