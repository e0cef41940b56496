"""The folder that results go to."""

from pathlib import Path

from perceptual_jax.checked import UsageError


def check_folder(out: Path) -> None:
    """Makes sure that a folder is there or can be made.

    Raises:
        UsageError: If `out`, or what would hold it, is a file.
    """
    for path in (out, *out.absolute().parents):
        if path.is_dir():
            return
        if path.exists() or path.is_symlink():
            raise UsageError(f"the output folder {out} cannot be made, for {path} is a file")


def make_folder(out: Path) -> None:
    """Makes the folder.

    Raises:
        UsageError: If the system refuses.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot make the folder {out} ({reason}); choose another one") from error
