"""Serves the page on this machine.

Nothing leaves it: no analytics, no tunnel, no remote fonts; a Content-Security-Policy forbids
browsers to ask any other host. The files of the users lie in one temporary folder, Gradio's own
among them: a user's are deleted when the user leaves, the folder when the server ends.
"""

import contextlib
import importlib
import importlib.util
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import reason_of
from perceptual_jax.web.actions import Actions
from perceptual_jax.web.page import build_page
from perceptual_jax.web.queue import Queue
from perceptual_jax.web.requests import MAX_BYTES
from perceptual_jax.web.restoring import Tools
from perceptual_jax.web.sessions import Sessions

MISSING = "the page is made with Gradio; install it with pip install 'perceptual-jax[web]'"

POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'self'"
)

_LOCAL = ("127.0.0.1", "localhost", "::1")


def check_installed() -> None:
    """Checks that Gradio can be imported.

    Raises:
        UsageError: If it cannot.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UsageError(MISSING)


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server at this address."""
    return host in _LOCAL


def free_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0.

    Raises:
        UsageError: If nothing can be served there.
    """
    try:
        if not 0 <= port < 2**16:
            raise OSError("ports are below 65536")
        with socket.create_server((host, port)) as server:
            return server.getsockname()[1]
    except OSError as error:
        raise UsageError(
            f"nothing can be served at {host}, port {port} ({reason_of(error)}); choose another "
            "with --port, or 0 for any free one"
        ) from error


class Served(NamedTuple):
    """A page that is served."""

    address: str
    folder: Path
    """The temporary folder of its files."""


@contextlib.contextmanager
def served(tools: Tools, *, host: str, port: int, browse: bool = False) -> Iterator[Served]:
    """Serves the page as long as the context lasts.

    Args:
        tools: What requests share.
        host: Address of this machine to serve at.
        port: Port; 0 is any free one.
        browse: Whether the page is opened in a browser of this machine.

    Raises:
        UsageError: If Gradio is not installed, or the address cannot be used.
    """
    check_installed()
    port = free_port(host, port)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="perceptual-jax-web-", ignore_cleanup_errors=True)
        )
        folder = str(Path(folder).resolve())
        settings = {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        stack.enter_context(_environment(settings | {"HF_HUB_DISABLE_TELEMETRY": "1"}))
        queue = Queue(tools)
        stack.callback(queue.close)
        actions = Actions(tools, Sessions(Path(folder), queue))
        page = build_page(actions, degradation=tools.config.degradation)
        stack.callback(page.close, verbose=False)
        yield Served(_launch(page, host=host, port=port, browse=browse), Path(folder))


def _launch(page: Any, *, host: str, port: int, browse: bool) -> str:
    gr: Any = importlib.import_module("gradio")
    middleware: Any = importlib.import_module("starlette.middleware")
    page.queue(api_open=False)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=browse,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        max_file_size=MAX_BYTES,
        theme=gr.themes.Base(
            primary_hue="blue",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css_paths=Path(__file__).with_name("page.css"),
        app_kwargs={"middleware": [middleware.Middleware(Headers)]},
    )
    return address


class Headers:
    """Adds the headers to every answer that keep browsers from other hosts; ASGI middleware."""

    def __init__(self, app: Any):
        """Wraps an application."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request."""

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self._app(scope, receive, sending)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of the environment, from which Gradio takes some of its settings."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
