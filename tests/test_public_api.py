"""What holds for the whole package, as far as no linter checks it: names, signatures, purity.

Each test names all offenders at once.
"""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
import typing
from pathlib import Path

import numpy as np
import pytest

import perceptual_jax

ROOT = Path(perceptual_jax.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

POSITIONAL = {
    "key",
    "header",
    "label",
    "argv",
    "path",
    "name_or_path",
    "axis",
    "resolution",
    "options",
    "offset",
}
"""Parameters that may have a default without being keyword-only: a call reads better without."""

PURE = {"generator", "prior", "restoration", "likelihood"}
IMPURE = {
    "likelihood/config.py": "is a config",
    "likelihood/models.py": "reads files",
    "restoration/batch.py": "looks at devices",
    "restoration/default_prior.py": "reads configs",
    "restoration/presets.py": "reads configs and looks at devices",
    "restoration/stages.py": "reads configs",
}

LONGEST = 350
"""Lines of a file that one can read."""


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.fixture(scope="module")
def functions():
    """Functions and methods without an underscore, each once, by the name to report."""
    found = {}
    for info in pkgutil.walk_packages([str(ROOT)], prefix=f"{perceptual_jax.__name__}."):
        for key, value in vars(importlib.import_module(info.name)).items():
            if key.startswith("_") or getattr(value, "__module__", None) != info.name:
                continue
            if inspect.isfunction(inspect.unwrap(value)):
                found[f"{info.name}.{key}"] = value
            elif inspect.isclass(value):
                for method in vars(value):
                    function = inspect.getattr_static(value, method)
                    function = getattr(function, "__func__", function)
                    if inspect.isfunction(function) and not method.startswith("_"):
                        found[f"{info.name}.{key}.{method}"] = function
    return found


def test_pure_packages_know_no_files_no_devices_and_no_configs():
    calls = {"print", "open", "input", "jax.devices", "jax.local_devices"}
    imports = {"os", "pathlib", "PIL", "sys", "perceptual_jax.config", "perceptual_jax.io"}
    pure = {name for name in TREES if name.partition("/")[0] in PURE} - IMPURE.keys()
    found = []
    for name in sorted(pure):
        found += [
            f"{name} imports {module}" for module in imports & set(imported_modules(TREES[name]))
        ]
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in calls:
                found.append(f"{name}:{node.lineno} calls {ast.unparse(node.func)}")
    assert not found


def test_files_are_of_a_size_that_one_can_read():
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in FILES.items()}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST}


def test_randomness_comes_by_an_argument_called_key(functions):
    found = []
    for name, function in functions.items():
        for parameter in inspect.signature(function).parameters.values():
            on_the_host = parameter.annotation is np.random.Generator  # where numpy draws
            if parameter.name in {"rng", "rngs", "prng", "rng_key", "prng_key"} and not on_the_host:
                found.append(f"{name}({parameter.name})")
    assert not found


def test_options_are_keyword_only(functions):
    assert not [
        f"{name}({parameter.name})"
        for name, function in functions.items()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is not parameter.empty
        and parameter.kind != parameter.KEYWORD_ONLY
        and parameter.name not in POSITIONAL
    ]


def test_public_names_exist_and_no_others():
    for name in perceptual_jax.__all__:
        assert getattr(perceptual_jax, name) is not None
    assert set(perceptual_jax.__all__) <= set(dir(perceptual_jax))
    with pytest.raises(AttributeError, match="restore_file"):
        perceptual_jax.restore_file  # noqa: B018


def own_classes(hint):
    """The classes of this package in an annotation."""
    if inspect.isclass(hint) and hint.__module__.startswith("perceptual_jax"):
        yield hint
    for part in typing.get_args(hint):
        for one in part if isinstance(part, list | tuple) else [part]:
            yield from own_classes(one)


def test_what_public_functions_take_and_return_is_public():
    public = {name: getattr(perceptual_jax, name) for name in perceptual_jax.__all__}
    seams = {"Entry"}  # the catalogue, which tests replace
    missing = set()
    for name, value in public.items():
        # Of a class: what its values are made of.
        hints = typing.get_type_hints(inspect.unwrap(value))
        for kind in (one for hint in hints.values() for one in own_classes(hint)):
            if kind not in public.values() and kind.__name__ not in seams:
                missing.add(f"{name} has {kind.__module__}.{kind.__name__}")
    assert not missing


def test_version_is_that_of_the_distribution():
    pyproject = ROOT.parent / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    assert perceptual_jax.__version__ == project["version"]


def test_help_does_not_wait_for_jax():
    code = """
import contextlib, sys
def waited(after):
    slow = {"jax", "jaxtyping", "numpy", "rich", "PIL"} & sys.modules.keys()
    if slow:
        sys.exit(f"{after} imports {slow}")
import perceptual_jax
waited("import perceptual_jax")
from perceptual_jax.cli import main
for argv in ["--version"], ["--help"], ["restore", "--help"]:
    with contextlib.suppress(SystemExit):
        main(argv)
    waited(argv)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
