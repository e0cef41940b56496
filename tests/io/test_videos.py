"""Videos: read and written with their sound; what cannot be used is refused in a sentence."""

import sys

import numpy as np
import pytest

from perceptual_jax.errors import UsageError
from perceptual_jax.io.videos import (
    VideoError,
    inspect_video,
    read_frames,
    require_reader,
    write_video,
)
from tests.helpers.videos import RATE, film, sound_of


def test_a_missing_reader_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'perceptual-jax\[video\]'"):
        require_reader()


@pytest.fixture
def av():
    return pytest.importorskip("av")


def test_frames_rate_and_sound_survive(av, tmp_path):
    path, copy = tmp_path / "a.mp4", tmp_path / "b.mp4"
    wide = film(path)
    video = inspect_video(path)
    assert (video.rate, video.frames, video.start) == (RATE, 8, 0)
    frames = list(read_frames(path))
    for number, frame in enumerate(frames):
        error = frame.astype(int) - wide[:, number : number + 64]
        assert np.abs(error).mean() < 12  # the colours have half of the rows and columns
    write_video(copy, iter(frames), video, sound=path)
    assert inspect_video(copy) == video
    assert sound_of(copy) == sound_of(path)
    for one, other in zip(frames, read_frames(copy), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4
        assert np.abs(one.mean(axis=(0, 1)) - other.mean(axis=(0, 1))).max() < 1.5


def test_what_is_no_video_of_constant_rate_is_refused(av, tmp_path):
    film(tmp_path / "late.mp4", late=3)
    with pytest.raises(VideoError, match=r"variable frame rate \(5.99\d to 23.98 a second\)"):
        inspect_video(tmp_path / "late.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(VideoError, match="is no video that can be decoded"):
        inspect_video(text)
    film(tmp_path / "cut.mp4")
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="is no video that can be decoded"):
        inspect_video(tmp_path / "cut.mp4")


def test_sound_that_no_mp4_takes_is_named(av, tmp_path):
    film(tmp_path / "a.avi", codec="adpcm_ms")
    frames = read_frames(tmp_path / "a.avi")
    out = tmp_path / "b.mp4"
    with pytest.raises(VideoError, match=r"sound of .*a.avi \(adpcm_ms\) does not go into an mp4"):
        write_video(out, frames, inspect_video(tmp_path / "a.avi"), sound=tmp_path / "a.avi")
    assert not out.exists()
