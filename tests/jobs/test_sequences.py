"""A sequence: faces tracked, restored from the frame before, put back; resumed after a kill."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.cli import main
from perceptual_jax.errors import UsageError
from perceptual_jax.io import files
from perceptual_jax.io.videos import inspect_video, read_frames
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.jobs.plan import JobOptions, load_tools
from perceptual_jax.jobs.sequences.job import restore_sequence
from perceptual_jax.jobs.sequences.memory import Remembered
from perceptual_jax.jobs.sequences.options import SequenceOptions
from perceptual_jax.jobs.sequences.searching import Searcher
from perceptual_jax.jobs.status import overview
from perceptual_jax.photographs.align import crop_face
from tests.helpers.job_files import CONFIG, lines, pixels_of
from tests.helpers.photographs import frame, landmarks_of, smooth_photograph
from tests.helpers.videos import film, sound_of

COUNT, WIDTH, HEIGHT = 4, 64, 48
NAMES = [f"shot{number}.png" for number in range(8, 8 + COUNT)]  # shot10 comes after shot9


def quad_at(number):
    """A face that moves to the right and grows."""
    return frame((26.0 + number, 22.0), 20 + number / 2, degrees=number)


def shoot(folder, *, names=NAMES, quad_at=quad_at, pan=1, noise=4.0):
    """Frames of a slow pan, and landmarks by hand in `marks.json` beside the folder."""
    folder.mkdir(parents=True)
    wide = smooth_photograph(HEIGHT, WIDTH + len(names))
    rng, marks = np.random.default_rng(0), {}
    for number, name in enumerate(names):
        pixels = wide[:, pan * number :][:, :WIDTH] + rng.normal(0, noise, (HEIGHT, WIDTH, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
        marks[name] = [landmarks_of(quad_at(number)).tolist()]
    (folder.parent / "marks.json").write_text(json.dumps(marks))
    return folder


@pytest.fixture(scope="session")
def restore(narrow):
    def run(
        source, out, *, report=None, progress=None, options=None, sequence=None, find=None, **values
    ):
        values = {"boxes": source.parent / "marks.json", "upscale": 2} | values
        return restore_sequence(
            source,
            out,
            CONFIG,
            options or JobOptions(),
            photographs=PhotographOptions(**values),
            sequence=sequence or SequenceOptions(),
            find=find,
            generator=narrow,
            report=report,
            progress=progress,
        )

    return run


@pytest.fixture
def shots(tmp_path):
    return shoot(tmp_path / "in")


@pytest.fixture(scope="session")
def finished(restore, tmp_path_factory):
    """A sequence and the folder of its job; not to be changed."""
    root = tmp_path_factory.mktemp("sequence")
    said, steps = [], []
    restore(
        shoot(root / "in"),
        root / "out",
        report=said.append,
        progress=lambda done, total: steps.append((done, total)),
    )
    return root, said, steps


def tree(out):
    """The results by name; the record without what differs from run to run."""
    found = {p.name: p.read_bytes() for p in out.rglob("*.png")}
    return found | {"record": json.loads((out / "sequence.json").read_text())["sequence"]}


def test_a_moving_face_is_restored_in_every_frame_and_all_else_stays(finished):
    root, said, steps = finished
    out = root / "out"
    assert {p.name for p in (out / "frames").iterdir()} == set(NAMES)
    for number, name in enumerate(NAMES):
        plain = Image.open(root / "in" / name).resize((128, 96), Image.Resampling.LANCZOS)
        changed = (pixels_of(out / "frames" / name) != np.asarray(plain)).any(axis=-1)
        x, y = np.rint(2 * quad_at(number).mean(axis=0)).astype(int)
        assert changed[y - 8 : y + 8, x - 8 : x + 8].mean() > 0.5
        assert not changed[80:].any()
        assert not changed[:, :20].any()
    record = json.loads((out / "sequence.json").read_text())
    (track,) = record["sequence"]["tracks"]
    assert (track["first"], track["last"], track["restored"]) == (0, COUNT - 1, COUNT)
    assert track["term"] == "l2"
    assert record["files"] == [f"frames/{name}" for name in NAMES]
    assert steps[-1] == (COUNT, COUNT)
    assert "1 of 1 tracked faces to restore in 4 frames, 1 scenes" in said
    assert any(line.startswith("flicker ") for line in said)
    assert [line["name"] for line in lines(out)] == ["in"]
    assert overview(out).done == 1
    assert not (out / ".state").exists()


def test_a_finished_sequence_is_kept_and_not_mixed_with_another(finished, restore, tmp_path):
    root, *_ = finished
    shutil.copytree(root / "out", out := tmp_path / "out")
    times = {p: p.stat().st_mtime_ns for p in (out / "frames").iterdir()}
    summary = restore(root / "in", out)
    assert (summary.frames, summary.kept, summary.faces, summary.failed) == (COUNT, COUNT, 1, ())
    assert times == {p: p.stat().st_mtime_ns for p in (out / "frames").iterdir()}
    with pytest.raises(UsageError, match="mask is ellipse there and face here"):
        restore(root / "in", out, mask="face")
    (out / "frames" / "mine.txt").write_text("mine")
    summary = restore(
        root / "in", out, find=lambda pixels: [], boxes=None, options=JobOptions(overwrite=True)
    )
    assert (summary.kept, summary.faces) == (0, 0)
    assert (out / "frames" / "mine.txt").exists()


class Killed(BaseException):
    pass


def test_a_job_that_is_killed_at_any_file_comes_out_the_same(
    finished, restore, shots, tmp_path, monkeypatch
):
    out, write = tmp_path / "out", files.os.replace

    def kill(name, *, after):
        def replace(source, target):
            if after or target.name != name:
                write(source, target)
            if target.name == name:
                raise Killed

        done = {p: p.stat().st_mtime_ns for p in out.glob("frames/*")}
        monkeypatch.setattr(files.os, "replace", replace)
        with pytest.raises(Killed):
            restore(shots, out)
        monkeypatch.setattr(files.os, "replace", write)
        assert done == {p: p.stat().st_mtime_ns for p in done}  # never done again
        assert len(list(out.glob(".state/*.npz"))) <= 2

    kill("faces.jsonl", after=True)
    (out / "faces.jsonl").write_bytes((out / "faces.jsonl").read_bytes() + b'{"frame": 0, "na')
    kill("000001.npz", after=True)
    kill(NAMES[1], after=False)
    kill(NAMES[1], after=True)
    last = (shots / NAMES[3]).read_bytes()
    (shots / NAMES[3]).write_bytes((shots / NAMES[0]).read_bytes())
    with pytest.raises(UsageError, match=r"shot11.png has changed since its faces were found"):
        restore(shots, out)
    (shots / NAMES[3]).write_bytes(last)
    kill("results.jsonl", after=True)
    kill("sequence.json", after=False)
    assert restore(shots, out).kept == COUNT
    ours, theirs = tree(out), tree(finished[0] / "out")
    assert ours == theirs


def test_a_still_scene_gives_a_still_result(restore, tmp_path):
    # Without the guard each search moves the face a little further.
    still = shoot(
        tmp_path / "in", names=NAMES[:3], quad_at=lambda n: frame((30.0, 22.0), 20), noise=0, pan=0
    )
    assert restore(still, tmp_path / "out").flicker is None
    first, *others = (pixels_of(tmp_path / "out/frames" / name) for name in NAMES[:3])
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_warm_search_goes_on_from_the_frame_before(narrow, shots):
    tools = load_tools(CONFIG, JobOptions(), generator=narrow, report=None)
    searcher = Searcher(tools, seed=0, warm=0.2)
    crop = crop_face(pixels_of(shots / NAMES[0]), quad_at(0), 20)
    cold = searcher(crop, 1, None)
    before = Remembered(0, cold.term, cold.size, True, cold.latents, cold.image, crop, crop)
    warm = searcher(crop, 1, before)
    anew = searcher(crop, 1, before._replace(good=False))
    other = searcher(crop, 2, None)  # another track has other noise maps

    def apart(one, two):
        return np.abs(one.image.astype(int) - two.image).mean()

    np.testing.assert_array_equal(anew.image, cold.image)
    assert 0 < apart(warm, cold) < apart(other, cold) / 3


def test_without_a_face_frames_are_copied_with_a_note(restore, shots, tmp_path):
    said = []
    summary = restore(
        shots,
        tmp_path / "out",
        boxes=None,
        upscale=None,
        find=lambda pixels: [],
        report=said.append,
    )
    assert (summary.faces, summary.flicker) == (0, None)
    assert "no face was found in any frame, so it is a copy" in said
    for name in NAMES:
        np.testing.assert_array_equal(
            pixels_of(tmp_path / "out/frames" / name), pixels_of(shots / name)
        )


def test_what_is_no_sequence_is_refused_in_a_sentence(restore, shots, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="one process, with one sample"):
        restore(shots, out, options=JobOptions(samples=2))
    with pytest.raises(UsageError, match="align cannot be never"):
        restore(shots, out, align="never")
    with pytest.raises(UsageError, match="does not exist; a sequence is a folder"):
        restore(shots.parent / "none", out)
    with pytest.raises(UsageError, match="folder of this machine"):
        restore(shots, "memory://out")
    other = tmp_path / "other"
    (other / "frames").mkdir(parents=True)
    with pytest.raises(UsageError, match="frames exists"):
        restore(shots, other)
    assert not out.exists()
    Image.new("RGB", (60, 48)).save(shots / NAMES[2])
    with pytest.raises(UsageError, match=r"shot10 of .* has 60 x 48 pixels and the first one 64"):
        restore(shots, out)
    (shots / NAMES[2]).write_bytes(b"no picture")
    with pytest.raises(UsageError, match="a sequence needs all of its frames"):
        restore(shots, out)


def test_a_video_comes_out_as_a_video_with_its_sound(narrow, tmp_path, monkeypatch):
    pytest.importorskip("av")
    film(path := tmp_path / "clip.mp4", count=3)
    marks = {f"clip.mp4/{n:06d}": [landmarks_of(quad_at(n)).tolist()] for n in range(3)}
    (tmp_path / "marks.json").write_text(json.dumps(marks))
    out, options = tmp_path / "out", PhotographOptions(boxes=tmp_path / "marks.json", upscale=2)

    def restore(out, **values):
        return restore_sequence(path, out, CONFIG, generator=narrow, **values)

    write = files.os.replace

    def replace(source, target):
        if target.name == "clip.mp4":
            raise Killed
        write(source, target)

    with pytest.raises(UsageError, match="could replace"):
        restore(tmp_path, photographs=options)
    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(Killed):
        restore(out, photographs=options)
    monkeypatch.setattr(files.os, "replace", write)
    summary = restore(out, photographs=options)
    assert (summary.kept, summary.faces) == (3, 1)
    assert inspect_video(summary.result) == inspect_video(path)
    assert sound_of(summary.result) == sound_of(path)
    for number, (given, made) in enumerate(
        zip(read_frames(path), read_frames(summary.result), strict=True)
    ):
        large = np.asarray(Image.fromarray(given).resize((128, 96), Image.Resampling.LANCZOS))
        apart = np.abs(large.astype(int) - made).mean(axis=-1)
        x, y = np.rint(2 * quad_at(number).mean(axis=0)).astype(int)
        assert apart[84:].mean() < 3
        assert apart[y - 8 : y + 8, x - 8 : x + 8].mean() > 6
    assert {p.name for p in out.glob("[!.]*")} == {
        *("clip.mp4", "config.toml", "faces.jsonl", "results.jsonl", "sequence.json")
    }
    copied = restore(tmp_path / "copy", find=lambda pixels: [])
    assert copied.result.read_bytes() == path.read_bytes()


def test_the_command_line_takes_one_sequence(shots, tmp_path, capsys):
    argv = ["restore", str(shots), str(shots), "--sequence", "--out", str(tmp_path / "out")]
    assert main(argv) == 2
    assert "one folder of frames or one video" in capsys.readouterr().err
