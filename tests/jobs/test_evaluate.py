import csv
import functools
import json
import math

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from perceptual_jax import cli
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation import scores as scoring
from perceptual_jax.evaluation.metrics.metric_list import RANK_VGG, RANKIQA
from perceptual_jax.evaluation.metrics.similarity import psnr
from perceptual_jax.evaluation.scores import at_one_size
from perceptual_jax.io.images import to_float
from perceptual_jax.io.inputs import InputError
from perceptual_jax.jobs.scoring import evaluate
from perceptual_jax.jobs.scoring.evaluate import evaluate_files
from perceptual_jax.prior.mmd import mmd2_to_bank
from perceptual_jax.restoration.default_prior import default_prior
from tests.helpers import measures
from tests.helpers.caffe_writers import caffemodel, rankiqa_layers
from tests.helpers.job_files import CONFIG, lines

NAMES = ("a", "b", "c")


def load(name):
    """What a measure's file holds, narrow and random."""
    if name in ("sface", "onet"):
        raise WeightsError(f"no narrow {name}")
    if name.startswith("lpips-"):
        return measures.perceptual_parameters(name.removeprefix("lpips-"))
    return (measures.pristine() if name == "niqe" else measures.regression())._asdict()


def save(path, image):
    path.parent.mkdir(exist_ok=True)
    pixels = np.round((image + 1) * 127.5).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(autouse=True)
def _own_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


@pytest.fixture
def folders(tmp_path):
    """Originals, the same with a little noise, and with more of it."""
    rng = np.random.default_rng(0)
    for seed, name in enumerate(NAMES):
        image = measures.textured((192, 96), seed)
        save(tmp_path / "original" / f"{name}.png", image)
        for folder, noise in (("good", 0.02), ("bad", 0.2)):
            noisy = np.clip(image + noise * rng.normal(size=image.shape), -1, 1)
            save(tmp_path / folder / f"{name}.png", noisy)
    return tmp_path


def test_all_metrics_of_two_methods(folders):
    said = []
    found = evaluate_files(
        folders / "good",
        original=folders / "original",
        versus=[folders / "bad"],
        size=48,
        report=said.append,
        load=load,
    )
    good, bad = found.methods
    assert found.failed == ()
    assert good.pictures.keys() == set(NAMES)
    assert {*good.summaries, *good.sets} == {*found.metrics} - {"ms_ssim"}
    assert any("no ms_ssim of a, b, c: ms_ssim needs images of at least 176" in s for s in said)
    for metric in ("psnr", "ssim", "lpips_alex"):
        comparison = found.comparisons[0][metric]
        assert (comparison.wins, comparison.losses) == (3, 0)
        assert comparison.p_value == pytest.approx(0.25)
    a, b = (np.asarray(Image.open(folders / f / "a.png")) for f in ("good", "original"))
    expected = psnr(*(jnp.asarray(to_float(x)) for x in at_one_size(a, b, 48)))
    assert good.pictures["a"]["psnr"] == pytest.approx(float(expected), rel=1e-5)
    assert good.sets["fid_alex"] < bad.sets["fid_alex"]
    summary = good.summaries["psnr"]
    assert summary.low < summary.mean < summary.high


def test_what_is_known_is_not_computed_again(folders, monkeypatch):
    def run(**options):
        options = {"original": folders / "original", "size": 48, "load": load} | options
        return evaluate_files(folders / "good", **options)

    computed, score = [], evaluate.Scorer.score
    monkeypatch.setattr(
        evaluate.Scorer, "score", lambda self, subject: computed.append(1) or score(self, subject)
    )
    metrics = ["psnr", "lpips_alex", "kid_alex"]
    before = run(metrics=metrics)
    assert len(computed) == 3
    assert run(metrics=metrics) == before
    assert len(computed) == 3
    save(folders / "good" / "a.png", measures.textured((192, 96), 9))
    after = run(metrics=metrics)
    assert len(computed) == 4
    assert after.methods[0].pictures["b"] == before.methods[0].pictures["b"]
    assert after.methods[0].pictures["a"] != before.methods[0].pictures["a"]
    run(metrics=metrics, size=24)
    assert len(computed) == 7
    # A line that is cut is computed again.
    (file,) = (folders / "cache" / "scores").iterdir()
    file.write_bytes(file.read_bytes()[:-30])
    run(metrics=metrics, size=24)
    assert len(computed) == 8


def test_bad_pictures_are_a_line_each_and_the_rest_goes_on(folders):
    good, original = folders / "good", folders / "original"
    (good / "broken.png").write_bytes(b"no picture")
    save(good / "alone.png", measures.textured((192, 96)))
    for folder, shape in ((good, (64, 64)), (original, (64, 96))):
        save(folder / "wide.png", measures.textured(shape))
    save(original / "broken.png", measures.textured((192, 96)))
    save(original / "left.png", measures.textured((192, 96)))
    flat = np.full((192, 96, 3), 0.5)
    save(good / "flat.png", flat)
    save(original / "flat.png", flat)
    said = []
    found = evaluate_files(
        good, original=original, size=48, report=said.append, load=load, metrics=["psnr", "niqe"]
    )
    failed = {source.rsplit("/", 1)[-1]: reason for source, reason in found.failed}
    assert failed.keys() == {"broken.png", "alone.png", "wide.png", "good: flat"}
    assert failed["broken.png"] == "it is not an image of a known format"
    assert failed["alone.png"] == "there is no original called alone"
    assert failed["wide.png"].startswith("it has 64 x 64 pixels and its original 96 x 64")
    assert failed["good: flat"].startswith("niqe has no value")
    assert any("no restoration of left" in line for line in said)
    assert any("psnr of flat is infinite" in line for line in said)
    scores = found.methods[0].pictures
    assert scores.keys() == {"a", "b", "c", "alone", "flat"}
    assert scores["alone"].keys() == {"niqe"}
    assert math.isnan(scores["flat"]["niqe"])
    assert found.methods[0].summaries["psnr"].pictures == 3


def test_a_jobs_folder_knows_its_inputs(finished, tmp_path):
    found = evaluate_files(finished / "out", metrics=["consistency"])
    recorded = {
        record["name"]: record["restorations"][0]["consistency_psnr"]
        for record in lines(finished / "out")
    }
    scores = {name: each["consistency"] for name, each in found.methods[0].pictures.items()}
    assert scores.keys() == {"a", "b", "sub__a"}
    # The job computed it before the picture was rounded to 8 bits.
    assert scores == pytest.approx(recorded, abs=0.1)


@pytest.mark.slow
@pytest.mark.long
def test_rankiqa_comes_from_a_file_of_the_user(folders):
    path = folders / "narrow.caffemodel"
    path.write_bytes(caffemodel(rankiqa_layers()))
    save(folders / "faces" / "a.png", measures.textured((240, 240)))
    save(folders / "faces" / "small.png", measures.textured((100, 100)))
    said = []
    run = functools.partial(
        evaluate_files, folders / "faces", rankiqa=path, report=said.append, load=load
    )
    found = run()
    assert found.metrics[:4] == RANKIQA
    scores = found.methods[0].pictures
    assert {*RANKIQA} <= scores["a"].keys()
    assert {*RANKIQA} & scores["small"].keys() == {"rankiqa_256", "rankiqa_256_median"}
    assert any("no rankiqa of small: rankiqa needs images of at least 224" in s for s in said)
    assert run(metrics=["rankiqa"]).methods[0].pictures["a"]["rankiqa"] == scores["a"]["rankiqa"]
    with pytest.raises(UsageError, match="the metric rankiqa needs --rankiqa FILE"):
        evaluate_files(folders / "faces", metrics=["rankiqa"])
    with pytest.raises(WeightsError, match=r"none\.caffemodel \(no such file"):
        evaluate_files(folders / "faces", rankiqa=folders / "none.caffemodel")


@pytest.mark.slow
def test_our_ranking_score_needs_no_file_and_is_never_called_rankiqa(folders, capsys, monkeypatch):
    monkeypatch.setattr(scoring, "load_head", measures.narrow_rank_head)
    monkeypatch.setattr(evaluate, "load_measure", lambda name, report=None: load(name))
    for name, seed in (("a", 0), ("b", 1)):
        save(folders / "faces" / f"{name}.png", measures.textured((230, 230), seed))
    save(folders / "faces" / "small.png", measures.textured((100, 100)))
    table = folders / "scores.json"
    argv = ["evaluate", str(folders / "faces"), "--metrics", *RANK_VGG, "--json", str(table)]
    assert cli.main(argv) == 0
    printed = capsys.readouterr()
    rows = [line for line in printed.out.splitlines() if line.startswith("  rank-vgg (ours)")]
    assert [row.split("  ")[1] for row in rows] == [
        "rank-vgg (ours)",
        "rank-vgg (ours), median",
        "rank-vgg (ours), 256 px",
        "rank-vgg (ours), 256 px, median",
    ]
    assert all(" lower " in row for row in rows)
    assert "rankiqa" not in printed.out.lower()
    assert "no rank_vgg of small: rank_vgg needs images of at least 224" in printed.err
    written = json.loads(table.read_text())
    assert written["metrics"]["rank_vgg"]["label"] == "rank-vgg (ours)"
    scores = written["methods"][0]["pictures"]
    assert {*RANK_VGG} == scores["a"].keys()
    assert scores["small"].keys() == {"rank_vgg_256", "rank_vgg_256_median"}


def test_styles_of_a_job_are_tested_against_its_prior(finished, narrow, folders):
    said = []
    found = evaluate_files(finished / "out", report=said.append, load=load)
    assert "mmd2" not in found.methods[0].summaries
    assert any("without mmd2, mmd2_p: its generator was StyleGAN2, given" in s for s in said)
    with pytest.raises(UsageError, match="its generator was StyleGAN2, given in Python"):
        evaluate_files(finished / "out", metrics=["mmd2_p"])
    found = evaluate_files(
        finished / "out",
        versus=[folders / "good"],
        metrics=["consistency", "mmd2_p", "mmd2"],
        generator=narrow,
    )
    scores = found.methods[0].pictures
    assert scores.keys() == {"a", "b", "sub__a"}
    # That of the search is recorded for the styles that its drafts see; this is of all of them.
    bank = default_prior(narrow, CONFIG).bank
    for name, own in scores.items():
        with np.load(finished / "out" / f"{name}.npz") as file:
            expected = mmd2_to_bank(jnp.asarray(file["styles"]), bank)
        assert own["mmd2"] == pytest.approx(float(expected), abs=1e-5)
        assert 0 < own["mmd2_p"] <= 1
    assert found.methods[0].summaries["mmd2_p"].pictures == 3
    assert "mmd2" not in found.methods[1].summaries
    with pytest.raises(UsageError, match="mmd2 needs the folder of a job"):
        evaluate_files(folders / "good", metrics=["mmd2"])


def test_one_picture_has_no_interval_and_no_set(folders):
    for name in NAMES[1:]:
        (folders / "good" / f"{name}.png").unlink()
    found = evaluate_files(
        folders / "good", original=folders / "original", load=load, metrics=["psnr", "kid_alex"]
    )
    assert found.methods[0].summaries["psnr"][3:] == (None, None)
    assert found.methods[0].sets == {}


def test_what_cannot_be_asked(folders):
    good = folders / "good"
    with pytest.raises(UsageError, match="unknown metric 'psnrr'; the known ones are psnr, ssim"):
        evaluate_files(good, metrics=["psnrr"])
    with pytest.raises(UsageError, match="the metric ssim needs --original DIR"):
        evaluate_files(good, metrics=["ssim"])
    with pytest.raises(UsageError, match="the metric consistency needs --degraded DIR"):
        evaluate_files(good, metrics=["consistency"])
    with pytest.raises(InputError, match="does not exist"):
        evaluate_files(folders / "nowhere", metrics=["niqe"], load=load)
    with pytest.raises(UsageError, match="size must be at least 1"):
        evaluate_files(good, original=folders / "original", metrics=["psnr"], size=0)
    save(folders / "other" / "x.png", measures.textured((32, 32)))
    with pytest.raises(UsageError, match=r"no picture that can be evaluated .*original called a"):
        evaluate_files(good, original=folders / "other", metrics=["psnr"])


def test_metrics_whose_files_cannot_be_had_are_left_out_unless_asked_for(folders):
    def offline(name):
        raise WeightsError("there is no network")

    said = []
    options = {"original": folders / "original", "size": 48, "load": offline}
    found = evaluate_files(folders / "good", report=said.append, **options)
    assert found.metrics == ("psnr", "ssim", "ms_ssim")
    assert "without lpips_alex, kid_alex, fid_alex: there is no network" in said
    with pytest.raises(WeightsError, match="there is no network"):
        evaluate_files(folders / "good", metrics=["psnr", "niqe"], **options)


def test_the_command_line(folders, capsys):
    files = [folders / f"scores.{end}" for end in ("json", "csv", "parquet")]
    argv = ["evaluate", str(folders / "good"), "--original", str(folders / "original")]
    argv += ["--versus", str(folders / "bad"), "--metrics", "psnr", "ssim", "--size", "48"]
    for option, path in zip(("--json", "--csv", "--parquet"), files, strict=True):
        argv += [option, str(path)]
    assert cli.main(argv) == 0
    printed = capsys.readouterr()
    assert "evaluated 6, failed 0" in printed.err
    table = printed.out.splitlines()
    assert table[0].endswith("good: 3 pictures")
    assert any(line.split()[:4] == ["psnr", "dB", "higher", "3"] for line in table)
    written = json.loads(files[0].read_text())
    assert written["metrics"]["psnr"] == {
        "unit": "dB",
        "better": "higher",
        "about": "Peak signal-to-noise ratio",
    }
    assert written["comparisons"][0]["metrics"]["psnr"]["win_rate"] == 1
    rows = list(csv.DictReader(files[1].read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == [*NAMES, *NAMES]
    first = written["methods"][0]["pictures"]["a"]["psnr"]
    assert float(rows[0]["psnr"]) == first
    assert pyarrow.parquet.read_table(files[2])["psnr"][0].as_py() == first
    assert cli.main(argv) == 2
    assert "scores.json exists" in capsys.readouterr().err
    (folders / "bad" / "b.png").write_bytes(b"")
    assert cli.main([*argv, "--overwrite"]) == 1
    assert "b.png: it is empty" in capsys.readouterr().err
    assert cli.main(["evaluate", str(folders / "good"), "--metrics", "psnr"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
