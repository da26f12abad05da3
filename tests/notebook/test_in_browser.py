"""The live view in a real browser: its drawing in a plain page, and the whole way in JupyterLab."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]

ROOT = Path(__file__).resolve().parents[2]
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
TOKEN = "papertape-test"


@dataclass
class Watched:
    """A page and everything it complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)

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
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Any, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A new page; what it complains about fails the test. ``SCREENSHOTS`` names a folder for pictures of the end."""
    watched = Watched(browser.new_page(viewport={"width": 1200, "height": 800}))
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    yield watched
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        watched.page.screenshot(path=str(Path(folder) / f"{request.node.name}.png"))
    watched.page.close()
    assert not watched.complaints


# -- in a plain page --------------------------------------------------------------------------------------------------

STAGE = """
async ({js, css}) => {
  const style = document.createElement('style');
  style.textContent = css;
  document.head.append(style);
  const module = await import(URL.createObjectURL(new Blob([js], {type: 'text/javascript'})));
  globalThis.__kit.plotly = Promise.resolve(globalThis.Plotly);
  const step = 60000, begins = Date.UTC(2026, 0, 1), count = 100, columns = [[], [], [], [], [], []];
  const bar = (i) => [begins + i * step, 100 + i % 7, 109, 98, 101 + i % 5, 2];
  const add = (i) => bar(i).forEach((value, column) => columns[column].push(value));
  for (let i = 0; i < count; i++) add(i);
  const packed = () => new DataView(new Float64Array(columns.flat()).buffer);
  const head = {symbol: 'BTC/USDT', interval: '1m', badge: 'SANDBOX', tone: 'caution', decimals: 2, step};
  const state = {head, bars: packed(), ended: '', plotly: 'IPY_MODEL_none'}, heard = {};
  const model = {
    get: (name) => state[name],
    on: (name, listener) => (heard[name] ??= []).push(listener),
    off: (name, listener) => { heard[name] = heard[name].filter((other) => other !== listener); },
  };
  const view = (values) => new DataView(new Float64Array(values).buffer);
  const tell = (event, ...what) => heard[event]?.forEach((listener) => listener(...what));
  window.stage = {
    say: (message, close = 102) => tell('msg:custom', {state: 'LIVE', reason: '', age: 0.1, error: '', ...message}, [
      view([begins + columns[0].length * step, 101, Math.max(103, close), 100, close, 1]),
      view([close, close - 1, close + 1]),
    ]),
    closeBar: () => { add(columns[0].length); state.bars = packed(); tell('change:bars'); },
    end: (reason) => { state.ended = reason; tell('change:ended'); },
    plot: () => document.querySelector('.kit-live-plot'),
  };
  const el = document.createElement('div');
  document.body.append(el);
  stage.leave = module.default.render({model, el});
}
"""


@pytest.fixture
def stage(watched: Watched) -> Watched:
    """A view in a plain page, spoken to as a kernel would."""
    page = watched.page
    page.set_content("<!doctype html><body style='background: white; color: #222'></body>")
    page.add_script_tag(path=str(files("plotly") / "package_data" / "plotly.min.js"))
    room = files("kit.notebook")
    page.evaluate(STAGE, {kind: (room / f"live_view.{kind}").read_text() for kind in ("js", "css")})
    page.evaluate("() => stage.say({})")
    watched.until("__kit.draws > 0")
    return watched


def test_drawing_keeps_up_keeps_the_zoom_and_never_pretends(stage: Watched) -> None:
    page = stage.page
    before = page.evaluate("() => ({...__kit})")
    page.evaluate("() => { for (let i = 0; i < 200; i++) stage.say({}, 100 + i / 100); }")
    stage.until(f"__kit.draws > {before['draws']}")
    page.wait_for_timeout(200)
    after = page.evaluate("() => ({...__kit})")
    assert after["draws"] - before["draws"] <= 2, "200 messages at once are one drawing, the newest"
    assert page.evaluate("() => stage.plot().layout.shapes.at(-1).label.text") == "101.99"
    assert after["redraws"] == before["redraws"], "a new price moves shapes, not candles"

    zoom = {"xaxis.range[0]": "2026-01-01 00:30", "xaxis.range[1]": "2026-01-01 01:00"}
    page.evaluate("(zoom) => Plotly.relayout(stage.plot(), zoom)", zoom)
    page.evaluate("() => { stage.closeBar(); stage.say({}); }")
    stage.until("stage.plot().data[0].x.length === 101")
    assert page.evaluate("() => stage.plot().layout.xaxis.range[0]") == "2026-01-01 00:30", "the user's zoom stays"

    stage.until("!document.querySelector('.kit-live-doubtful')", seconds=2)
    page.evaluate("() => stage.say({state: 'STALE', reason: 'the connection is gone', age: 12})")
    stage.until("document.querySelector('.kit-live-doubtful')")
    assert stage.veil() == "STALE · the connection is gone · last market data 12 s ago"
    page.evaluate("() => stage.say({})")
    stage.until("!document.querySelector('.kit-live-doubtful')")
    stage.until("document.querySelector('.kit-live-doubtful')", seconds=6)
    assert re.fullmatch(r"STALE · nothing from the kernel for \d s", stage.veil())
    page.evaluate("() => { stage.say({}); stage.end('continues in a newer cell'); }")
    assert stage.veil() == "continues in a newer cell"

    page.evaluate("() => stage.leave()")
    assert page.evaluate("() => [__kit.views, __kit.errors]") == [0, []]


# -- in JupyterLab ----------------------------------------------------------------------------------------------------


START = """
import os, threading
import kit
venue = kit.connect(seed=7)
live = venue.live("BTC/USDT", "1m")
live.ready(30), os.getpid()
"""


@dataclass
class Lab:
    """A JupyterLab of its own, and the notebooks it serves."""

    url: str
    folder: Path

    def write(self, name: str, *cells: str) -> None:
        """A notebook with these code cells."""
        form: Any = nbformat.v4
        made = form.new_notebook(cells=[form.new_code_cell(cell) for cell in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        (self.folder / name).write_text(form.writes(made))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, sandbox_home: Path) -> Iterator[Lab]:
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
        f"--LabApp.expose_app_in_browser=True --port={port} --IdentityProvider.token={TOKEN}"
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
RUN = """async (place) => {
  const panel = jupyterapp.shell.currentWidget;
  panel.content.activeCellIndex = place;
  const late = new Promise((_, no) => setTimeout(() => no(new Error(`cell ${place} takes too long`)), 30000));
  await Promise.race([jupyterapp.commands.execute('notebook:run-cell'), late]);
  const outputs = panel.content.widgets[place].model.outputs.toJSON();
  const failed = (output) => (output.traceback ? `ERROR ${output.evalue}` : '');
  const text = (output) => output.text ?? output.data?.['text/plain'] ?? failed(output);
  return outputs.map(text).join('');
}"""


@dataclass
class Notebook:
    """A notebook opened in JupyterLab."""

    watched: Watched

    def run(self, cell: int) -> str:
        """Run a cell and return what it printed."""
        said = str(self.watched.page.evaluate(RUN, cell))
        assert not said.startswith("ERROR"), said
        return said


@pytest.fixture
def opened(lab: Lab, watched: Watched, request: pytest.FixtureRequest) -> Callable[..., Notebook]:
    """``opened(*cells)`` is a new notebook with these cells in JupyterLab, its kernel connected."""

    def opened(*cells: str) -> Notebook:
        name = f"{request.node.name[:30]}.ipynb"
        lab.write(name, *cells)
        watched.page.goto(f"{lab.url}/lab/workspaces/{request.node.name[:20]}/tree/{name}?reset&token={TOKEN}")
        watched.until(READY, seconds=60)
        return Notebook(watched)

    return opened


def test_the_view_follows_survives_a_rerun_and_a_reload_and_takes_the_theme(opened: Callable[..., Notebook]) -> None:
    count = "[t.name for t in threading.enumerate()].count('kit-views')"
    notebook = opened(START, "live", f"print({count})")
    watched, page = notebook.watched, notebook.watched.page
    notebook.run(0)
    notebook.run(1)
    watched.until("globalThis.__kit?.draws > 5")
    notebook.run(1)
    notebook.run(1)
    watched.until("__kit.views === 1 && document.querySelectorAll('.kit-live').length === 1")
    assert notebook.run(2).strip() == "1"
    drawn = page.evaluate("() => __kit.draws")
    page.wait_for_timeout(2000)
    assert 8 <= page.evaluate("() => __kit.draws") - drawn <= 18, "about eight drawings a second, not three times that"
    assert watched.veil() == ""
    page.evaluate("() => jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    watched.until("getComputedStyle(document.querySelector('.kit-live')).color !== 'rgb(0, 0, 0)'")
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(1000)
        page.screenshot(path=str(Path(folder) / "dark.png"))
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    watched.until("globalThis.__kit?.draws > 5", seconds=60)
    assert page.evaluate("() => __kit.errors") == []


def test_a_killed_kernel_is_seen_by_the_page_itself(opened: Callable[..., Notebook]) -> None:
    notebook = opened(START, "live")
    pid = int(re.sub(r"\D", "", notebook.run(0)))
    notebook.run(1)
    notebook.watched.until("globalThis.__kit?.draws > 5")
    assert notebook.watched.veil() == ""
    os.kill(pid, signal.SIGKILL)
    notebook.watched.until("document.querySelector('.kit-live-doubtful')", seconds=10)
    assert notebook.watched.veil().startswith("STALE · nothing from the kernel for")
