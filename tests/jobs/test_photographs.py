"""Whole photographs: their faces go through the job of crops, and come back into them."""

import dataclasses
import json
import sys

import fsspec
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.jobs.index import write_index
from perceptual_jax.jobs.job import restore_files
from perceptual_jax.jobs.pages.report import write_report
from perceptual_jax.jobs.photographs.finding import MAX_FACES, reasons
from perceptual_jax.jobs.photographs.job import restore_photographs
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.jobs.processes import Share
from perceptual_jax.jobs.status import overview
from perceptual_jax.photographs.face import Face
from tests.helpers.faces import generated_faces
from tests.helpers.job_files import CONFIG, contents, lines, picture, pixels_of
from tests.helpers.photographs import frame, landmarks_of, smooth_photograph, with_face


def face(quad, *, skipped=None):
    landmarks = landmarks_of(quad)
    return Face(
        box=(*landmarks.min(axis=0).tolist(), *landmarks.max(axis=0).tolist()),
        score=0.99,
        confirmed=0.98,
        landmarks=landmarks,
        quad=quad,
        skipped=skipped,
    )


TWO = (frame((30.0, 30.0), 24, degrees=8), frame((66.0, 34.0), 26, degrees=-5))


class Finder:
    """Finds the faces that it was given, by the size of the photograph; counts its calls."""

    def __init__(self, **by_size):
        self.faces = {tuple(map(int, size[1:].split("x"))): f for size, f in by_size.items()}
        self.calls = 0

    def __call__(self, pixels):
        self.calls += 1
        height, width, _ = pixels.shape
        return self.faces.get((width, height), [])


@pytest.fixture
def find():
    return Finder(_96x64=[face(quad) for quad in TWO])


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "in" / "two.png"
    path.parent.mkdir()
    Image.fromarray(smooth_photograph(64, 96)).save(path, dpi=(300, 300))
    return path


@pytest.fixture
def restore(narrow, find, tmp_path):
    def run(*inputs, out=None, find=find, report=None, options=None, progress=None, **values):
        return restore_photographs(
            [*inputs],
            out or tmp_path / "out",
            CONFIG,
            options or JobOptions(batch_size=4),
            photographs=PhotographOptions(**values),
            find=find,
            generator=narrow,
            report=report,
            progress=progress,
        )

    return run


def opened(path):
    with Image.open(path) as image:
        image.load()
    return image


def tree(out):
    files = (p for p in out.rglob("*") if p.is_file() and ".processes" not in p.parts)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


def record_of(out, name):
    return json.loads((out / f"{name}.json").read_text())


def test_two_faces_side_by_side_are_restored_and_put_back(restore, photograph, tmp_path):
    said = []
    summary = restore(photograph, upscale=2, report=said.append)
    out = tmp_path / "out"
    assert (summary.restored, summary.failed) == (1, ())
    assert {p.name for p in (out / "two").iterdir()} >= {
        *("faces.json", "crop-1.png", "crop-2.png"),
        *("face-1.png", "face-2.png", "face-1.json", "face-2.npz"),
    }
    assert pixels_of(out / "two/crop-1.png").shape == (24, 24, 3)
    record = record_of(out, "two")
    assert record["status"] == "OK"
    assert record["photograph"]["size"] == [192, 128]
    assert [one["files"][0] for one in record["photograph"]["faces"]] == [
        "two/face-1.png",
        "two/face-2.png",
    ]
    result = opened(out / "two.png")
    assert result.size == (192, 128)
    assert round(result.info["dpi"][0]) == 300
    assert result.info["icc_profile"]
    plain = Image.open(photograph).resize((192, 128), Image.Resampling.LANCZOS)
    changed = np.abs(np.asarray(result).astype(int) - np.asarray(plain)).max(axis=-1) > 0
    for quad in TWO:
        x, y = np.rint(2 * quad.mean(axis=0)).astype(int)
        assert changed[y - 8 : y + 8, x - 8 : x + 8].mean() > 0.5
    assert not changed[:, :20].any()
    assert not changed[100:].any()
    assert [line["name"] for line in lines(out)] == ["two", "two/face-1", "two/face-2"]
    assert "2 faces to restore in 1 photographs, and 0 crops" in said


def test_a_crop_comes_out_as_without_the_search_for_faces(restore, narrow, tmp_path):
    picture(tmp_path / "in/a.png", 0)
    picture(tmp_path / "in/b.png", 1, width=40, height=40)
    aligned = Finder(_40x40=[face(frame((19.5, 19.5), 40))])
    summary = restore(tmp_path / "in", find=aligned)
    assert summary.restored == 2
    assert aligned.calls == 1  # the other is too small for a part of it to be restored
    plain = tmp_path / "plain"
    restore_files([tmp_path / "in"], plain, CONFIG, JobOptions(batch_size=4), generator=narrow)
    ours, theirs = contents(tmp_path / "out"), contents(plain)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"results.jsonl", "a.json", "b.json"}:
        assert ours[name] == theirs[name], name
    for name in "ab":
        one, other = record_of(tmp_path / "out", name), record_of(plain, name)
        assert one | {"seconds": 0} == other | {"seconds": 0}


def test_small_squares_without_a_face_are_crops_and_photographs_are_copied(
    restore, photograph, tmp_path
):
    picture(tmp_path / "in/small.png", 0, width=36, height=36)
    said = []
    summary = restore(tmp_path / "in", find=Finder(), report=said.append)
    assert summary.failed == ()
    assert "small.png: no face is found in it, so it is taken for an aligned crop" in said
    assert any("two.png: no face was found" in line for line in said)
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/two.png"), pixels_of(photograph))
    assert record_of(tmp_path / "out", "two")["photograph"]["faces"] == []
    assert "restorations" in record_of(tmp_path / "out", "small")
    # With `always`, everything is a photograph.
    restore(tmp_path / "in/small.png", find=Finder(), out=tmp_path / "other", align="always")
    assert record_of(tmp_path / "other", "small")["photograph"]["faces"] == []


def test_a_square_crop_in_another_framing_keeps_it(restore, tmp_path):
    Image.fromarray(smooth_photograph(40, 40)).save(tmp_path / "wide.png")
    wide = Finder(_40x40=[face(frame((19.5, 20.5), 26))])
    restore(tmp_path / "wide.png", find=wide)
    record = record_of(tmp_path / "out", "wide")
    assert record["photograph"]["kind"] == "reframed crop"
    assert pixels_of(tmp_path / "out/wide.png").shape == (40, 40, 3)  # the generator's are 32


def test_faces_that_are_left_alone_are_named_with_the_reason(restore, photograph, tmp_path):
    faces = [face(TWO[0], skipped="it is a profile"), face(TWO[1])]
    said = []
    restore(photograph, find=Finder(_96x64=faces), report=said.append)
    record = record_of(tmp_path / "out", "two")
    assert [f["skipped"] for f in record["photograph"]["faces"]] == ["it is a profile", None]
    assert "two.png: face 1 is left as it is: it is a profile" in said
    assert not (tmp_path / "out/two/crop-1.png").exists()
    out = tmp_path / "other"
    all_left = [faces[0]]
    assert restore(photograph, find=Finder(_96x64=all_left), out=out).failed == ()
    assert "face 1: it is a profile" in record_of(out, "two")["message"]


@pytest.mark.parametrize(("which", "left"), [("largest", 0), ("center", 1)])
def test_one_face_may_be_asked_for(restore, photograph, tmp_path, which, left):
    middle = face(frame((47.0, 32.0), 10))
    faces = [middle, face(TWO[1])]
    restore(photograph, find=Finder(_96x64=faces), faces=which)
    skipped = [f["skipped"] for f in record_of(tmp_path / "out", "two")["photograph"]["faces"]]
    assert skipped[1 - left] is None
    assert which in skipped[left]


def test_an_interrupted_job_goes_on_from_what_is_there(restore, photograph, find, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done > 0:
            raise Stop

    with pytest.raises(Stop):
        restore(photograph, progress=stop)
    out = tmp_path / "out"
    assert (out / "two/faces.json").exists()
    assert not (out / "two.png").exists()
    crop = (out / "two/crop-1.png").stat().st_mtime_ns
    assert restore(photograph).restored == 1
    assert find.calls == 1
    assert (out / "two/crop-1.png").stat().st_mtime_ns == crop
    first = (out / "two/face-1.png").stat().st_mtime_ns
    # Without the whole photograph, only that is made again.
    whole = (out / "two.png").read_bytes()
    (out / "two.png").unlink()
    assert restore(photograph).restored == 1
    assert (out / "two/face-1.png").stat().st_mtime_ns == first
    assert (out / "two.png").read_bytes() == whole
    again = restore(photograph)
    assert (again.restored, again.kept) == (0, 1)
    assert find.calls == 1


def test_results_of_other_settings_are_not_mixed(restore, photograph, tmp_path):
    restore(photograph)
    before = tree(tmp_path / "out")
    with pytest.raises(UsageError, match="with mask ellipse, not face"):
        restore(photograph, mask="face")
    with pytest.raises(UsageError, match="whole photograph"):
        restore(photograph, align="never")
    assert tree(tmp_path / "out") == before
    options = JobOptions(batch_size=4, overwrite=True, format="jpeg", quality=80)
    assert restore(photograph, mask="face", grain=True, options=options).restored == 1
    assert (tmp_path / "out/two.jpg").exists()
    assert not (tmp_path / "out/two.png").exists()
    assert (tmp_path / "out/two/face-1.png").exists()


def test_folders_of_others_are_left_alone(restore, photograph, tmp_path):
    out = tmp_path / "out"
    (out / "two").mkdir(parents=True)
    (out / "two/crop-1.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="not a result of this tool"):
        restore(photograph)
    assert [p.name for p in out.iterdir()] == ["two"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "two").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        restore(photograph, out=other)


def test_transparency_orientation_and_exif_are_kept(restore, photograph, find, tmp_path):
    pixels = np.array(Image.open(photograph))
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, :10] = 0
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    stored = np.rot90(np.concatenate([pixels, alpha], axis=2))  # a viewer turns it back
    Image.fromarray(np.ascontiguousarray(stored)).save(photograph, exif=exif)
    options = JobOptions(batch_size=4, format="webp", quality=99, suffix="_restored")
    restore(photograph, options=options, upscale=1)
    result = opened(tmp_path / "out/two_restored.webp")
    assert result.mode == "RGBA"
    assert result.size == (96, 64)
    assert (np.asarray(result)[:, :, 3] == alpha[:, :, 0]).all()
    assert dict(result.getexif())[0x0112] == 1
    assert dict(result.getexif())[0x010F] == "Maker"


def test_a_report_and_a_sheet_show_the_faces_and_the_photographs(restore, photograph, tmp_path):
    restore(photograph)
    out = tmp_path / "out"
    text = write_report(out, pictures="beside").read_text()
    assert "two/face-1" in text
    assert "DAMAGED" not in text
    assert (out / "report_files/two%2Fface-1.png").exists()
    height, width, _ = pixels_of(write_index(out)).shape
    assert width > 1024
    assert height < 800  # one row: the photograph's
    assert overview(out).done == 3


def test_a_store_gets_what_a_folder_gets(restore, photograph, tmp_path):
    files = fsspec.filesystem("memory")
    try:
        assert restore(photograph, out="memory://photographs").restored == 1
        restore(photograph)
        there = files.cat_file("/photographs/two.png")
        assert there == (tmp_path / "out/two.png").read_bytes()
        assert files.exists("/photographs/two/face-2.json")
        again = restore(photograph, out="memory://photographs")
        assert (again.restored, again.kept) == (0, 1)
    finally:
        files.rm("/photographs", recursive=True)


def test_several_samples_give_several_photographs(restore, photograph, tmp_path):
    restore(photograph, options=JobOptions(batch_size=4, samples=2))
    one, other = (pixels_of(tmp_path / f"out/two_s0{i}.png") for i in (0, 1))
    assert one.shape == other.shape
    assert (one != other).any()


def test_photographs_belong_with_their_faces_to_one_process(restore, tmp_path):
    (tmp_path / "in").mkdir()
    names = "abcd"  # `d` is the second process's
    for name in names:
        Image.fromarray(smooth_photograph(64, 96)).save(tmp_path / f"in/{name}.png")
    for index in (0, 1):
        options = JobOptions(batch_size=4, share=Share(index, 2))
        assert restore(tmp_path / "in", options=options).restored == (3, 1)[index]
    summary = restore(tmp_path / "in")
    assert (summary.restored, summary.kept) == (0, 4)
    assert [line["name"].partition("/")[0] for line in lines(tmp_path / "out")][:1] == ["a"]
    # Faces are no different for what else is in the batch.
    assert len({(tmp_path / f"out/{n}.png").read_bytes() for n in names}) <= 2


def test_the_background_may_be_another_programs(restore, photograph, tmp_path):
    script = tmp_path / "enlarge.py"
    script.write_text(
        "import sys\nfrom PIL import Image\n"
        "image = Image.open(sys.argv[1])\n"
        "size = [round(float(sys.argv[3]) * n) for n in image.size]\n"
        "image.resize(size, Image.Resampling.NEAREST).save(sys.argv[2])\n"
    )
    command = f"'{sys.executable}' '{script}' {{input}} {{output}}"
    restore(photograph, background=f"{command} {{scale}}", upscale=3)
    result = pixels_of(tmp_path / "out/two.png")
    np.testing.assert_array_equal(result[-9::3, -9::3], pixels_of(photograph)[-3:, -3:])
    summary = restore(photograph, background=f"{command} 2", upscale=3, out=tmp_path / "other")
    assert "192 x 128 pixels, not 288 x 192" in summary.failed[0].reason
    assert not (tmp_path / "other/two.png").exists()
    summary = restore(photograph, background=f"{command}", upscale=3, out=tmp_path / "third")
    assert "failed with exit code 1: IndexError" in summary.failed[0].reason


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"upscale": 5}, "upscale must be from 1 to 4, got 5"),
        ({"min_face": 0}, "min_face must be at least 1"),
        ({"background": "cubic"}, "a command with {input} and {output}"),
        ({"background": "no-such-program {input} {output}"}, "is not found"),
        ({"boxes": "missing.json"}, "cannot be read"),
    ],
)
def test_wrong_settings_are_one_sentence(values, message, tmp_path):
    if "boxes" in values:
        values = {"boxes": tmp_path / values["boxes"]}
    with pytest.raises(UsageError, match=message.replace("{", r"\{")):
        PhotographOptions(**values)


def test_what_cannot_be_restored_stops_nothing(restore, photograph, tmp_path):
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    Image.new("RGB", (300, 1)).save(tmp_path / "in/line.png")
    Image.new("1", (9000, 9000)).save(tmp_path / "in/vast.png")
    Image.new("RGB", (9000, 4)).save(tmp_path / "in/panorama.png")
    options = JobOptions(batch_size=4, format="webp")
    summary = restore(tmp_path / "in", options=options, upscale=2)
    reasons = {one.source.rpartition("/")[2]: one.reason for one in summary.failed}
    assert reasons.keys() == {"broken.png", "line.png", "vast.png", "panorama.png"}
    assert "not an image" in reasons["broken.png"]
    assert "at least 4 pixels" in reasons["line.png"]
    assert "9000 x 9000 pixels are more than" in reasons["vast.png"]
    assert "18000 x 8 pixels, and webp has at most 16383" in reasons["panorama.png"]
    assert (tmp_path / "out/two.webp").exists()
    assert not (tmp_path / "out/panorama").exists()


def test_faces_may_be_marked_by_hand(restore, photograph, tmp_path):
    boxes = tmp_path / "boxes.json"
    marks = landmarks_of(TWO[1]).tolist()
    boxes.write_text(json.dumps({"two.png": [marks]}))
    assert restore(photograph, find=None, boxes=boxes).restored == 1
    faces = record_of(tmp_path / "out", "two")["photograph"]["faces"]
    assert [f["skipped"] for f in faces] == [None]
    np.testing.assert_allclose(faces[0]["quad"], TWO[1])
    outside = (landmarks_of(TWO[1]) + 100).tolist()
    boxes.write_text(json.dumps({"two.png": [outside]}))
    summary = restore(photograph, find=None, boxes=boxes, out=tmp_path / "other")
    assert "outside" in summary.failed[0].reason
    assert not (tmp_path / "other/two").exists()
    boxes.write_text(json.dumps({"three.png": [[20, 15, 40, 42]]}))
    with pytest.raises(UsageError, match=r"marks three\.png, which is not among"):
        restore(photograph, find=None, boxes=boxes, out=tmp_path / "third")
    boxes.write_text("[]")
    with pytest.raises(UsageError, match=r"boxes\.json"):
        restore(photograph, find=None, boxes=boxes, out=tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_options_may_be_replaced():
    assert dataclasses.replace(PhotographOptions(), upscale=2.0).of_result()["upscale"] == 2.0


def test_of_hundreds_of_faces_the_largest_are_restored():
    faces = [face(frame((500.0, 500.0), 10 + i)) for i in range(MAX_FACES + 2)]
    faces[-1] = face(frame((500.0, 500.0), 900), skipped="it is a profile")
    skipped = reasons(faces, "all", 1000, 1000)
    assert skipped[0] == f"the {MAX_FACES} largest faces of a photograph are restored"
    assert skipped[1:-1] == [None] * MAX_FACES
    assert skipped[-1] == "it is a profile"


def test_without_onnxruntime_inputs_are_crops(restore, photograph, monkeypatch, tmp_path):
    monkeypatch.setattr("perceptual_jax.jobs.photographs.search.is_installed", lambda: False)
    picture(tmp_path / "in/crop.png", 0, width=40, height=40)
    said = []
    summary = restore(tmp_path / "in", find=None, report=said.append)
    assert (summary.restored, len(summary.failed)) == (1, 1)
    assert "expected a square aligned face crop, got 96x64" in summary.failed[0].reason
    assert [line for line in said if "photos" in line] == [
        "inputs are taken for aligned crops, since faces are searched for with onnxruntime; "
        "install it with pip install 'perceptual-jax[photos]'"
    ]
    with pytest.raises(UsageError, match="install it with"):
        restore(photograph, find=None, align="always", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_generated_face_is_found_in_a_photograph_and_restored(narrow, tmp_path):
    """With the real nets; the default generator is in `notebooks/photograph.ipynb`, which runs."""
    pytest.importorskip("onnxruntime")
    person = np.asarray(generated_faces()[0])
    quad = frame((150.5, 110.5), 120)
    (tmp_path / "in").mkdir()
    whole = with_face(smooth_photograph(220, 300), person, quad)
    Image.fromarray(whole).save(tmp_path / "in/party.jpg", quality=70)
    summary = restore_photographs([tmp_path / "in"], tmp_path / "out", CONFIG, generator=narrow)
    assert (summary.restored, summary.failed) == (1, ())
    record = record_of(tmp_path / "out", "party")
    (found,) = record["photograph"]["faces"]
    assert found["skipped"] is None
    assert np.abs(np.array(found["quad"]) - quad).max() < 0.08 * 120
    result = pixels_of(tmp_path / "out/party.png")
    assert result.shape == (440, 600, 3)
    plain = np.asarray(Image.fromarray(pixels_of(tmp_path / "in/party.jpg")).resize((600, 440), 1))
    change = np.abs(result.astype(int) - plain).max(axis=-1)
    assert change[180:260, 260:340].mean() > 0.5
    assert not change[:, :150].any()


def test_a_crop_whose_face_is_better_left_alone_goes_in_as_it_is(restore, tmp_path):
    """A profile that fills a square is what its user cropped, and was restored before."""
    Image.fromarray(smooth_photograph(40, 40)).save(tmp_path / "side.png")
    profile = face(frame((23.5, 19.5), 46), skipped="it looks to the side")
    profile.landmarks[2, 0] += 8
    said = []
    summary = restore(tmp_path / "side.png", find=Finder(_40x40=[profile]), report=said.append)
    assert summary.restored == 1
    assert "restorations" in record_of(tmp_path / "out", "side")
    assert any("side.png: it is taken for an aligned crop, since" in line for line in said)
