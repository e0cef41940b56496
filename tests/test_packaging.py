"""The wheel and the source archive: what is in them, and that the wheel works by itself."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import PurePosixPath

import hatchling.build
import numpy as np
import pytest
from PIL import Image

from tests.helpers.processes import ROOT, environment

QUICK = """
[search]
steps = 2
draft = 0
[features]
resolution = 0
[finish]
steps = 0
[prior]
bank_size = 16
"""
LIMIT = 8e6
"""Bytes of an archive."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="module")
def wheel(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # a build backend is called where the project is
        return folder / hatchling.build.build_wheel(str(folder))


@pytest.fixture(scope="module")
def source(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / hatchling.build.build_sdist(str(folder))


def tracked(*folders):
    """The files of folders of the checkout, but for what Python and tools leave behind."""
    files = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {p.relative_to(ROOT).as_posix() for p in files if p.parent.name != "__pycache__"}


def test_the_wheel_has_the_package_its_data_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name for name in archive.namelist() if ".dist-info/" in name}
    moved = {f"perceptual_jax/{name}" for name in tracked("configs", "examples")}
    assert names == tracked("perceptual_jax") | moved
    kinds = {PurePosixPath(name).suffix for name in names}
    assert kinds >= {".py", ".pyi", ".toml", ".safetensors", ".html", ".css", ".js", ".png"}
    assert "perceptual_jax/py.typed" in names
    assert {name.rsplit("/", 1)[-1] for name in about} >= {"LICENSE", "NOTICE", "entry_points.txt"}
    assert wheel.stat().st_size < LIMIT


def test_the_source_archive_makes_the_same_wheel(wheel, source, tmp_path, monkeypatch):
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    others = {"README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"}
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    expected = tracked("perceptual_jax", "configs", "examples") | others
    assert found - {"PKG-INFO", ".gitignore"} == expected
    assert source.stat().st_size < LIMIT
    monkeypatch.chdir(root)
    again = tmp_path / hatchling.build.build_wheel(str(tmp_path))
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert one.namelist() == other.namelist()
        assert [x.CRC for x in one.infolist()] == [x.CRC for x in other.infolist()]


def check_installation(program, variables, generator, folder):
    """Restores the examples with an installed program, in an empty folder."""
    folder.mkdir()
    (folder / "quick.toml").write_text(QUICK)
    options = ["--config", "quick.toml", "--generator", str(generator), "--batch-size", "6"]
    for verb in (["examples"], ["restore", "examples", "--out", "restored", *options]):
        done = subprocess.run(
            [*program, *verb], cwd=folder, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "restored 6, kept 0, failed 0" in done.stderr
    with Image.open(folder / "restored" / "face11.png") as image:
        assert np.ptp(np.asarray(image)) > 0


PROGRAM = """
import sys
import perceptual_jax
from perceptual_jax.cli import program
assert perceptual_jax.__file__.startswith(sys.argv.pop(1))
program()
"""
"""The program, of the package in the folder that its first argument names."""


@pytest.mark.slow
@pytest.mark.long
def test_the_wheel_works_without_the_checkout(wheel, narrow_path, tmp_path):
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    program = [sys.executable, "-c", PROGRAM, str(target)]
    check_installation(program, environment(PYTHONPATH=str(target)), narrow_path, tmp_path / "work")


@pytest.mark.slow
@pytest.mark.long
def test_the_wheel_installs_into_an_empty_environment(wheel, narrow_path, tmp_path):
    """With what it asks for, fetched; beside pytest's own environment."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    programs = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([programs / "python", "-m", "pip", "install", "-q", str(wheel)], check=True)
    variables = environment()
    del variables["PYTHONPATH"]
    check_installation([programs / "perceptual-jax"], variables, narrow_path, tmp_path / "work")


def test_the_extras_are_documented():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    missing = [name for name in project["optional-dependencies"] if f"| `{name}` |" not in text]
    assert missing == []
