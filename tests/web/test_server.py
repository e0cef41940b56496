"""What is refused before the page is served."""

import importlib.util
import socket

import pytest

from perceptual_jax.cli import main
from perceptual_jax.errors import UsageError
from perceptual_jax.web.page import example_files
from perceptual_jax.web.server import free_port, is_local

GRADIO = importlib.util.find_spec("gradio") is not None


@pytest.mark.skipif(GRADIO, reason="needs an environment without gradio")
def test_a_missing_extra_is_named(capsys):
    assert main(["web", "--port", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("install it with pip install 'perceptual-jax[web]'")


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} .*choose another with --port"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", 0) > 0
    with pytest.raises(UsageError, match="nothing can be served"):
        free_port("127.0.0.1", 70000)


def test_only_this_machine_reaches_the_default_address():
    assert is_local("127.0.0.1")
    assert not is_local("0.0.0.0")


def test_two_examples_may_be_clicked_on():
    assert [path.name for path in example_files()] == ["face11.png", "face36.png"]
