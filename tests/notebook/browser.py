"""JupyterLab and Notebook in a real browser: their fixtures, and what a test does in them.

One server serves both. It and the browser are each file's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
NEEDED = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
"""The marks of a file of such tests."""

ROOT = Path(__file__).resolve().parents[2]
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
TOKEN = "papertape-test"
THEIRS = re.compile(
    r"(reading 'schema'|'filebrowser:open-path' not registered).*/static/notebook/notebook_core\.", re.DOTALL
)
"""What Notebook 7.6 does wrong by itself while a page is opened: its shortcuts look at their own settings before they
are there (an empty notebook's page complains, too), and its files ask for a command that a notebook's page lacks."""


@dataclass
class Watched:
    """A page and everything it complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def complain(self, error: Any) -> None:
        """Remember what went wrong in the page, unless the front end does it without us."""
        if not THEIRS.search(f"{error}{error.stack}"):
            self.complaints.append(str(error))

    def until(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(f"() => Boolean({condition})"):
            assert time.monotonic() < deadline, f"not within {seconds} s: {condition}; {self.complaints}"
            self.page.wait_for_timeout(100)

    def veil(self) -> str:
        """What the veil of the newest view says; empty when there is none."""
        veil = "[...document.querySelectorAll('.kit-live-veil:not([hidden])')].pop()"
        return str(self.page.evaluate(f"() => {veil}?.textContent.trim() ?? ''"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Any, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A new page; what it complains about fails the test. ``SCREENSHOTS`` names a folder for pictures of the end."""
    watched = Watched(browser.new_page(viewport={"width": 1200, "height": 800}))
    watched.page.on("pageerror", watched.complain)
    yield watched
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        watched.page.screenshot(path=str(Path(folder) / f"{request.node.name}.png"))
    watched.page.close()
    assert not watched.complaints, watched.complaints


@dataclass
class Lab:
    """A JupyterLab, and Notebook where it is installed, of the tests' own, and the notebooks it serves."""

    url: str
    folder: Path

    def write(self, name: str, *cells: str, minor: int = 5) -> None:
        """A notebook with these code cells; below nbformat 4.5 (``minor``) it keeps no ids of them."""
        form: Any = nbformat.v4
        made = form.new_notebook(cells=[form.new_code_cell(cell) for cell in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = json.loads(form.writes(made)) | {"nbformat_minor": minor}
        for cell in made["cells"] if minor < 5 else ():
            del cell["id"]
        (self.folder / name).write_text(json.dumps(made))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, sandbox_home: Path) -> Iterator[Lab]:
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    homes = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    homes += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    places = {name: tmp_path_factory.mktemp(name.lower()) for name in homes}
    env = os.environ | {name: str(place) for name, place in places.items()}
    env |= {"PYTHONPATH": str(ROOT), "PAPERTAPE_HOME": str(sandbox_home)}
    quiet = (
        places["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    )
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    options = (
        "--no-browser --allow-root --ip=127.0.0.1 --ServerApp.port_retries=0 "
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.extension_manager=readonly "
        "--LabApp.expose_app_in_browser=True --JupyterNotebookApp.expose_app_in_browser=True "
        f"--port={port} --IdentityProvider.token={TOKEN}"
    )
    command = [sys.executable, "-m", "jupyterlab", *options.split(), str(folder)]
    with (folder.parent / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _until(lambda: requests.get(f"{url}/api", timeout=5).ok)
        yield Lab(url, folder)
    finally:
        with contextlib.suppress(requests.RequestException):
            requests.post(f"{url}/api/shutdown", params={"token": TOKEN}, timeout=10)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def _until(test: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(requests.RequestException):
            if test():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


READY = """(() => {
  const panel = globalThis.jupyterapp?.shell.currentWidget, kernel = panel?.sessionContext?.session?.kernel;
  const connected = kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
  return panel?.context?.isReady && panel.sessionContext.isReady && connected;
})()"""
SAID = """(widget) => {
  const failed = (output) => (output.traceback ? `ERROR ${output.evalue}` : '');
  const text = (output) => output.text ?? output.data?.['text/plain'] ?? failed(output);
  return widget.model.outputs.toJSON().map(text).join('');
}"""
RUN = """async (place) => {
  const panel = jupyterapp.shell.currentWidget;
  panel.content.activeCellIndex = place;
  const late = new Promise((_, no) => setTimeout(() => no(new Error(`cell ${place} takes too long`)), 30000));
  await Promise.race([jupyterapp.commands.execute('notebook:run-cell'), late]);
  return (SAID)(panel.content.widgets[place]);
}""".replace("SAID", SAID)
RUN_ALL = """async () => {
  await jupyterapp.commands.execute('notebook:run-all-cells');
  return jupyterapp.shell.currentWidget.content.widgets.map(SAID);
}""".replace("SAID", SAID)


@dataclass
class Notebook:
    """A notebook opened in JupyterLab."""

    watched: Watched

    def run(self, cell: int) -> str:
        """Run a cell and return what it printed."""
        said = str(self.watched.page.evaluate(RUN, cell))
        assert not said.startswith("ERROR"), said
        return said

    def run_all(self) -> str:
        """Run all cells, as the menu does, and return what the last one printed."""
        said = self.watched.page.evaluate(RUN_ALL)
        assert not [text for text in said if text.startswith("ERROR")], said
        return str(said[-1])

    def do(self, *commands: str, cell: int = 0) -> None:
        """Give the front end commands, as its menus do, about a cell."""
        self.watched.page.evaluate("(cell) => { jupyterapp.shell.currentWidget.content.activeCellIndex = cell; }", cell)
        for command in commands:
            self.watched.page.evaluate("(command) => jupyterapp.commands.execute(command)", command)

    def restart(self) -> None:
        """Restart the kernel and open the page anew."""
        self.watched.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.watched.page.reload()
        self.watched.until(READY, seconds=60)


@pytest.fixture
def opened(lab: Lab, watched: Watched, request: pytest.FixtureRequest) -> Callable[..., Notebook]:
    """``opened(*cells)`` is a new notebook with these cells in JupyterLab, its kernel connected.

    ``front="notebook"`` opens it in Notebook instead; ``minor`` is its format's, 4.5 unless said.
    """

    def opened(*cells: str, front: str = "lab", minor: int = 5) -> Notebook:
        test = re.sub(r"\W", "-", request.node.name)
        test = test[:20] + test[-10:]
        lab.write(f"{test}.ipynb", *cells, minor=minor)
        place = f"lab/workspaces/{test}/tree" if front == "lab" else "notebooks"
        watched.page.goto(f"{lab.url}/{place}/{test}.ipynb?reset&token={TOKEN}")
        watched.until(READY, seconds=60)
        return Notebook(watched)

    return opened
