"""Runs the tutorial's notebooks as a person in JupyterLab would, each in a home and a kernel of its own.

    python tests/notebooks/execute.py [--write] [01_explore …]

``--write`` keeps the outputs in the notebooks. A cell tagged ``run-twice`` is run twice in a row. What is kept is
what reads without a kernel: no widgets and no volatile metadata, and with each plotly figure a picture of it, which
Chromium draws, because GitHub shows nothing of a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from kit.sandbox.home import published
from kit.sandbox.launcher import Handle

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LONGEST = 60
"""Seconds a cell may take."""
RUN_TWICE = "run-twice"
WIDGET = "application/vnd.jupyter.widget-view+json"
FIGURE = "application/vnd.plotly.v1+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDTH, HEIGHT = 960, 460
"""Of a figure's picture, in pixels, where the figure itself does not say."""

Notebook = Any
"""An ``nbformat`` notebook: a dict whose keys are attributes too."""


def paths(names: Iterable[str] = ()) -> list[Path]:
    """The notebooks in reading order, or those of the given names."""
    wanted = set(names)
    return [path for path in sorted(FOLDER.glob("*.ipynb")) if not wanted or path.stem in wanted]


def read(path: Path) -> Notebook:
    """A notebook, checked against its format."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call] # nbformat has no types
    nbformat.validate(notebook)
    return notebook


def run(notebook: Notebook, home: Path, *, passes: int = 1, each: Callable[[], object] = lambda: None) -> None:
    """Run All, ``passes`` times in one kernel, with the kit's data in ``home``; the last outputs are in ``notebook``.

    ``each`` is called after every cell. Raises nbclient's CellExecutionError at the first cell that fails. The
    sandboxes it began are ended.
    """
    client = NotebookClient(notebook, timeout=LONGEST, kernel_name="python3")
    client.store_widget_state, client.coalesce_streams = False, True
    client.on_cell_execute = _say_which_cell(client)
    own = {"PAPERTAPE_HOME": str(home), "IPYTHONDIR": str(home / "ipython")}

    async def every_cell() -> None:
        async with client.async_setup_kernel(env={**os.environ, **own}):
            for _ in range(passes):
                for index, cell in enumerate(notebook.cells):
                    for _ in range(2 if RUN_TWICE in cell.metadata.get("tags", ()) else 1):
                        await client.async_execute_cell(cell, index)
                    each()

    try:
        asyncio.run(every_cell())  # a loop of its own, closed at the end: notebooks run side by side, in threads
    finally:
        end_sandboxes(home)


def _say_which_cell(client: NotebookClient) -> Any:
    """Send each cell's id along with it, as JupyterLab does and nbclient does not."""

    def tell(cell: Any, cell_index: int) -> None:
        if client.kc is not None:
            client.kc.session.metadata["cellId"] = cell.id

    return tell


def end_sandboxes(home: Path) -> None:
    """End what runs in ``home``: a sandbox outlives its kernel."""
    for file in home.glob("sandbox/*/running.json"):
        address = published(file.parent)
        if address is not None and address.ready:
            Handle(address, file.parent).stop()


# -- what is kept -----------------------------------------------------------------------------------------------------


def tidy(notebook: Notebook) -> None:
    """Leave in the notebook what reads without a kernel and does not change from one run to the next without need."""
    notebook.metadata = nbformat.from_dict(METADATA)  # type: ignore[no-untyped-call] # nbformat has no types
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if cell.cell_type == "code":
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET, None)
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]


def illustrate(notebook: Notebook) -> None:
    """Put a picture beside every figure, drawn by the plotly.js that comes with plotly."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    figures = [output.data for output in outputs if FIGURE in output.get("data", {})]
    if not figures:
        return
    with _page() as page:
        for data in figures:
            size = {"format": "png", "width": WIDTH, "height": data[FIGURE]["layout"].get("height", HEIGHT)}
            url = page.evaluate("([figure, size]) => Plotly.toImage(figure, size)", [data[FIGURE], size])
            if "text/html" in data:  # it goes before a picture wherever no figure is drawn
                data["text/html"] += f'<img src="{url}">'
            else:
                data["image/png"] = url.partition(",")[2]


@contextmanager
def _page() -> Iterator[Any]:
    """A browser's empty page with plotly.js."""
    from playwright.sync_api import sync_playwright  # only for --write

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.add_script_tag(content=files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8"))
        yield page
        browser.close()


def main(arguments: list[str]) -> int:
    """Run the notebooks; 0 when no cell failed."""
    parser = argparse.ArgumentParser(description="Run the tutorial's notebooks.")
    parser.add_argument("names", nargs="*", help="01_explore … (default: all)")
    parser.add_argument("--write", action="store_true", help="keep the outputs")
    given = parser.parse_args(arguments)
    for path in paths(given.names):
        notebook, began = read(path), time.monotonic()
        with tempfile.TemporaryDirectory(prefix="papertape-notebooks-", ignore_cleanup_errors=True) as home:
            run(notebook, Path(home))
        took = time.monotonic() - began
        if given.write:
            tidy(notebook)
            illustrate(notebook)
            nbformat.write(notebook, path)  # type: ignore[no-untyped-call] # nbformat has no types
        sys.stdout.write(f"{path.stem}: {took:.1f} s, {path.stat().st_size / 1000:.0f} kB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
