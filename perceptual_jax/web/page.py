"""The page, in Gradio: what is on it, and which action each control takes."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perceptual_jax.config_files import shipped_folder
from perceptual_jax.web import html
from perceptual_jax.web.actions import Actions, Chosen, Shown
from perceptual_jax.web.queue import MAX_WAITING
from perceptual_jax.web.requests import DEGRADATIONS, MAX_SAMPLES

TITLE = "perceptual-jax"

EXAMPLES = ("face11.png", "face36.png")

ABOUT = (
    "A result is one plausible face that degrades to the given picture: its detail is invented. "
    "Never use it to identify anybody. Pictures stay on the machine that runs this page, and are "
    "deleted when you leave it."
)

_WHICH = [("all", "all"), ("the largest", "largest"), ("the one at the center", "center")]


def example_files() -> list[Path]:
    """The pictures that may be clicked on."""
    return [shipped_folder("examples") / name for name in EXAMPLES]


def build_page(actions: Actions, *, degradation: str = "auto") -> Any:
    """The page as `gradio.Blocks`, not launched; the extra `web` must be installed.

    Args:
        actions: What the controls do. Files of the sessions lie where Gradio keeps its own.
        degradation: The data term that is chosen at first.
    """
    gr: Any = importlib.import_module("gradio")

    quick: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_limit": 4,
    }

    def with_browser(function: Any) -> Any:
        """The function, to whose first parameter Gradio passes what it knows of the browser."""
        function.__annotations__["browser"] = gr.Request
        return function

    # Lambdas, since Gradio must see whether a function yields, which a check of types hides.
    def once(action: Callable[..., Any]) -> Any:
        return with_browser(lambda browser, *values: action(browser.session_hash, *values))

    def often(action: Callable[..., Iterator[Any]]) -> Any:
        return with_browser(
            lambda browser, *values: (yield from action(browser.session_hash, *values))
        )

    def choose(key: str, file: str | None, term: str) -> Any:
        return [None, ""] if file is None else _chosen(actions.choose(key, Path(file), term))

    def example(path: Path) -> Callable[[str, str], Any]:
        return lambda key, term: _chosen(actions.choose(key, path, term, keep=True))

    def look(file: str | None, term: str) -> str:
        return actions.look(_path(file), term)

    def restore(
        key: str, file: str | None, fidelity: float, term: str, samples: int, faces: str
    ) -> Iterator[Any]:
        asked = {"fidelity": fidelity, "degradation": term, "samples": int(samples), "faces": faces}
        hidden = gr.update(visible=False, value=None)
        clear = [hidden, gr.update(visible=False), hidden, "", ""]
        for shown in actions.restore(key, _path(file), **asked):
            buttons = [gr.update(interactive=not shown.works), gr.update(interactive=shown.works)]
            outcome = clear if shown.outcome is None else results(key, shown)
            yield [shown.status, *outcome, *buttons]
            clear = [gr.skip()] * len(clear)

    def results(key: str, shown: Shown) -> list[Any]:
        assert shown.outcome is not None
        record, pictures, maps = shown.outcome.record, shown.outcome.pictures, shown.outcome.maps
        samples = [(str(i + 1), i) for i in range(len(pictures))]
        return [
            gr.update(visible=True, value=_texts(actions.pair(key, 0))),
            gr.update(visible=len(samples) > 1, choices=samples, value=0),
            gr.update(visible=True, value=_texts(actions.downloads(key))),
            html.facts_html(record),
            html.maps_html(maps),
        ]

    def sample(key: str, number: int) -> Any:
        return _texts(actions.pair(key, number))

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 12 * 3600)) as page:
        gr.HTML(f"<h1>Restore a face</h1><p>{ABOUT}</p>", elem_classes="pj-title")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                file = gr.File(label="Photograph or aligned crop", height=130, elem_id="file")
                with gr.Row():
                    examples = [
                        (gr.Button(f"Example {i}", icon=path, elem_classes="pj-example"), path)
                        for i, path in enumerate(example_files(), 1)
                    ]
                seen = gr.HTML(elem_id="seen")
                fidelity = gr.Slider(
                    0, 1, 0.5, step=0.05, label="Fidelity", info="0 natural, 1 faithful"
                )
                terms = [(label, name) for name, label in DEGRADATIONS.items()]
                chosen = degradation if degradation in DEGRADATIONS else "auto"
                term = gr.Dropdown(terms, value=chosen, label="What happened to it")
                with gr.Accordion("More", open=False, elem_id="more"):
                    samples = gr.Slider(
                        1,
                        MAX_SAMPLES,
                        1,
                        step=1,
                        label="Samples",
                        info="With a map of their spread",
                        elem_id="samples",
                    )
                    faces = gr.Radio(_WHICH, value="all", label="Faces of a photograph")
                with gr.Row():
                    start = gr.Button("Restore", variant="primary", elem_id="start")
                    stop = gr.Button("Cancel", elem_id="stop", interactive=False)
            with gr.Column(scale=3, min_width=300):
                status = gr.HTML(elem_id="status")
                slider = gr.ImageSlider(
                    label="Given and restored",
                    visible=False,
                    elem_id="slider",
                    max_height=1024,
                    buttons=["fullscreen"],
                )
                which = gr.Radio([], label="Sample", visible=False, elem_id="which")
                files = gr.File(
                    label="Download",
                    visible=False,
                    elem_id="files",
                    file_count="multiple",
                    interactive=False,
                )
                facts = gr.HTML(elem_id="facts")
                maps = gr.HTML(elem_id="maps")
        file.upload(once(choose), [file, term], [file, seen], **quick)
        file.clear(lambda: "", None, seen, **quick)
        term.change(look, [file, term], seen, **quick)
        for button, path in examples:
            button.click(once(example(path)), term, [file, seen], **quick)
        start.click(
            often(restore),
            [file, fidelity, term, samples, faces],
            [status, slider, which, files, facts, maps, start, stop],
            **quick | {"concurrency_limit": MAX_WAITING + 4},
        )
        stop.click(once(actions.cancel), None, status, **quick | {"queue": False})
        which.input(once(sample), which, slider, **quick)
        page.unload(once(actions.leave))
    return page


def _path(file: str | None) -> Path | None:
    return None if file is None else Path(file)


def _chosen(chosen: Chosen) -> list[Any]:
    return [None if chosen.file is None else str(chosen.file), chosen.seen]


def _texts(files: Any) -> Any:
    return None if files is None else type(files)(map(str, files))
