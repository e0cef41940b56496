"""The folder that results go to."""

from upath import UPath

from perceptual_jax.checked import UsageError
from perceptual_jax.data.places import Place, names_in


def check_folder(out: Place) -> None:
    """Makes sure that a folder is there or can be made.

    Raises:
        UsageError: If `out`, or what would hold it, is a file, or its store does not answer.
    """
    if isinstance(out, UPath):
        try:
            names_in(out)
        except Exception as error:  # Whatever a store's driver raises.
            reason = str(error) or type(error).__name__
            raise UsageError(f"the output folder {out} cannot be listed ({reason})") from error
        return
    for path in (out, *out.absolute().parents):
        if path.is_dir():
            return
        if path.exists() or path.is_symlink():
            raise UsageError(f"the output folder {out} cannot be made, for {path} is a file")


def make_folder(out: Place) -> None:
    """Makes the folder, where folders have to be made.

    Raises:
        UsageError: If the system refuses.
    """
    if isinstance(out, UPath):
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot make the folder {out} ({reason}); choose another one") from error
