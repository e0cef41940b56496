"""What holds for the whole package: its names, signatures and docstrings."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import perceptual_jax

ROOT = Path(perceptual_jax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = sorted(
    info.name for info in pkgutil.walk_packages([str(ROOT)], prefix=f"{perceptual_jax.__name__}.")
)

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
}
"""Parameters that may have a default without being keyword-only."""

PURE = {"generator", "prior"}
PURE_FILES = {
    "degradation/resampling.py",
    "restoration/downscale.py",
    "restoration/objective.py",
    "restoration/search.py",
}


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def public_functions():
    """Functions and methods without an underscore, each once, with the name to report."""
    for name in MODULES:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if key.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if inspect.isfunction(inspect.unwrap(value)):
                yield f"{name}.{key}", value
            elif inspect.isclass(value):
                for method in vars(value):
                    function = inspect.getattr_static(value, method)
                    function = getattr(function, "__func__", function)
                    if inspect.isfunction(function) and not method.startswith("_"):
                        yield f"{name}.{key}.{method}", function


FUNCTIONS = dict(public_functions())


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_transform_but_those_of_jax(path):
    forbidden = {
        "jit",
        "grad",
        "value_and_grad",
        "vmap",
        "pmap",
        "scan",
        "remat",
        "Optimizer",
        "Rngs",
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert not (node.value.id == "nnx" and node.attr in forbidden), (
                f"{relative(path)}:{node.lineno} uses nnx.{node.attr}"
            )
        if isinstance(node, ast.ImportFrom):
            assert node.module != "__future__", f"{relative(path)} imports from __future__"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_pure_rooms_neither_read_nor_print_nor_look_at_devices(path):
    if path.relative_to(ROOT).parts[0] not in PURE and relative(path) not in PURE_FILES:
        return
    assert not {"os", "pathlib", "PIL", "sys"} & set(imported_modules(path))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "open", "input", "jax.devices", "jax.local_devices"}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_are_of_a_size_that_one_can_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("name", MODULES)
def test_modules_have_docstrings(name):
    assert inspect.getdoc(importlib.import_module(name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_docstrings(name):
    assert FUNCTIONS[name].__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_randomness_comes_by_an_argument_called_key(name):
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    if "rng" in parameters and parameters["rng"].annotation is np.random.Generator:
        return  # On the host, where numpy draws.
    assert not {"rng", "rngs", "prng", "rng_key", "prng_key"} & set(parameters)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keyword_only(name):
    """Except those that a call reads better without: a key, a label, a path, config_f(512)."""
    for parameter in inspect.signature(FUNCTIONS[name]).parameters.values():
        if parameter.default is not parameter.empty and parameter.kind != parameter.KEYWORD_ONLY:
            assert parameter.name in POSITIONAL, (
                f"{name}({parameter.name}) has a default but is not keyword-only"
            )


def test_public_names_exist_and_are_few():
    names = set(perceptual_jax._MODULE_OF)
    for name in names:
        assert getattr(perceptual_jax, name) is not None
    assert names <= set(dir(perceptual_jax))
    assert 25 <= len(names) <= 50
    with pytest.raises(AttributeError, match="no attribute 'restore_file'"):
        perceptual_jax.restore_file  # noqa: B018


def test_public_names_are_those_that_type_checkers_see():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    checked = {
        alias.asname: node.module.removeprefix("perceptual_jax.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("perceptual_jax.")
        for alias in node.names
    }
    assert checked == perceptual_jax._MODULE_OF


def test_version_is_that_of_the_distribution():
    pyproject = ROOT.parent / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    assert perceptual_jax.__version__ == project["version"]


@pytest.mark.parametrize("argv", [[], ["--version"], ["--help"], ["restore", "--help"]])
def test_help_does_not_wait_for_jax(argv):
    """An empty command line stands for `import perceptual_jax`."""
    code = f"""
import contextlib, sys
import perceptual_jax
if {argv}:
    from perceptual_jax.cli import main
    with contextlib.suppress(SystemExit):
        main({argv})
slow = {{"jax", "jaxtyping", "numpy", "rich", "PIL"}} & sys.modules.keys()
sys.exit(str(slow) if slow else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
