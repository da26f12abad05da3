"""The live view in a real browser: its drawing in a plain page, and the whole way in JupyterLab."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from tests.notebook.browser import NEEDED, Notebook, Watched

pytestmark = NEEDED

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
