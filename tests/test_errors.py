import importlib
import pkgutil

import pytest

import perceptual_jax
from perceptual_jax import cli
from perceptual_jax.cli.checkpoints import List
from perceptual_jax.errors import Error, UsageError

MODULES = [info.name for info in pkgutil.walk_packages(perceptual_jax.__path__, "perceptual_jax.")]


def classes_of_errors():
    for name in MODULES:
        for value in vars(importlib.import_module(name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and value.__module__ == name
            ):
                yield value


def test_every_error_of_the_package_has_the_base_and_its_exit_code():
    classes = set(classes_of_errors())
    assert len(classes) > 20
    assert not [cls for cls in classes if not issubclass(cls, Error)]
    usage = {cls for cls in classes if issubclass(cls, UsageError)}
    others = {"UnknownGeneratorError"}
    assert {cls.exit_code for cls in usage} == {2}
    assert {cls.__name__ for cls in classes - usage if cls.exit_code == 2} == others
    assert {cls.exit_code for cls in classes - usage if cls.__name__ not in others} == {1}


@pytest.mark.parametrize("cls", sorted(set(classes_of_errors()), key=lambda cls: cls.__name__))
def test_the_command_line_says_an_error_and_ends_with_its_code(cls, monkeypatch, capsys):
    def fail(self):
        raise cls("what came is not what was expected; do this")

    monkeypatch.setattr(List, "run", fail)
    assert cli.main(["weights", "list"]) == cls.exit_code
    message = "perceptual-jax: what came is not what was expected; do this\n"
    assert capsys.readouterr().err == message
