"""The verb that serves a local page."""

import dataclasses
import threading
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from perceptual_jax.cli.common import Number, enable_compilation_cache, optional, sigterm_raises
from perceptual_jax.cli.console import USUAL, Console, say, show
from perceptual_jax.config_files import load_config, override, parse_setting


@dataclasses.dataclass(frozen=True)
class Web:
    """Serve a page on this machine: drop a picture, watch it form, compare, download.

    Nothing leaves the machine, and pictures are deleted when their user leaves the page.
    """

    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address to serve at; 0.0.0.0 lets everybody in who reaches this machine."""
    port: Number = 7860
    """Port; 0 is any free one."""
    browse: bool = False
    """Open the page in a browser of this machine."""
    config: Annotated[str, arg(metavar="FILE|NAME")] = "default"
    """A TOML file, or the name of a preset."""
    generator: Annotated[str | None, optional("the config's", metavar="NAME|PATH")] = None
    """A name of `weights list`, a converted file, or a checkpoint of another project."""
    settings: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(name="set", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
    ] = ()
    """Any setting of the config, by its name in a file, such as prior.mmd_weight=50."""
    console: Console = USUAL

    def run(self) -> int:
        """Serves until it is interrupted."""
        settings = {"generator": self.generator} | dict(map(parse_setting, self.settings))
        config = override(load_config(self.config), settings)
        from perceptual_jax.web.server import check_installed, free_port, is_local, served

        check_installed()
        free_port(self.host, self.port)  # before anything is fetched
        enable_compilation_cache()
        from perceptual_jax.web.restoring import load_tools

        tools = load_tools(config, report=say)
        if tools.why_no_faces is not None:
            say(f"only aligned crops are restored, since {tools.why_no_faces}")
        if not is_local(self.host):
            say(f"everybody who reaches {self.host} can use the page; it asks for no password")
        with (
            sigterm_raises(),
            served(tools, host=self.host, port=self.port, browse=self.browse) as page,
        ):
            show(page.address)
            say("serving until Ctrl-C")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                say("the page is closed, and its pictures are deleted", event="summary")
        return 0
