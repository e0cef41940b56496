"""The example faces that come with the package, as files of the user's.

They are six degraded faces of 32 x 32 pixels. The generator made them, see
`scripts/make_examples.py`, and they show no real person.
"""

from pathlib import Path

from perceptual_jax.config_files import shipped_folder
from perceptual_jax.io.files import (
    check_folder,
    make_folder,
    refuse_existing,
    write_atomically,
)


def write_examples(out: Path, *, overwrite: bool = False) -> list[Path]:
    """Writes the example faces into a folder, as inputs for `restore`.

    Args:
        out: The folder; made if it does not exist.
        overwrite: Replace files of their names.

    Returns:
        The paths of the written files.

    Raises:
        UsageError: If the folder cannot be made, or has a file of such a name.
        WriteError: If a file cannot be written.
    """
    check_folder(out)
    sources = sorted(shipped_folder("examples").glob("*.png"))
    paths = [out / source.name for source in sources]
    refuse_existing(paths, overwrite=overwrite)
    make_folder(out)
    for source, path in zip(sources, paths, strict=True):
        write_atomically(path, source.read_bytes())
    return paths
