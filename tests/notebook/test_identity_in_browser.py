"""Run All in JupyterLab and Notebook themselves: again, after kernel and page began anew, in notebooks of old."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import kit
from kit.sandbox.launcher import Handle
from kit.venues.binance import BINANCE
from tests.notebook.browser import NEEDED, Notebook

pytestmark = NEEDED

OPEN = """
import json, os, kit
venue = kit.connect(seed=7)
paper, live = kit.paper(venue, account="{name}", latency=0), kit.live(venue, account="{name}-live")
print(os.environ["JPY_SESSION_NAME"])
"""
PAPER = "for qty in (0.01, 0.01, 0.02):\n    paper.buy('ETH/USDT', qty)"
LIVE = "live.buy('ETH/USDT', 0.01)\nlive.buy('ETH/USDT', 0.01)"
TELL = "print(json.dumps([len(paper.orders), len(live.orders)]))"


@pytest.mark.parametrize(
    ("front", "minor"),
    [
        pytest.param("lab", 5, id="lab"),
        pytest.param("lab", 4, id="lab-old-format", marks=pytest.mark.soak),
        pytest.param("notebook", 5, id="notebook", marks=pytest.mark.soak),
        pytest.param("notebook", 4, id="notebook-old-format", marks=pytest.mark.soak),
    ],
)
def test_run_all_again_places_nothing_again(
    opened: Callable[..., Notebook], sandbox: Handle, front: str, minor: int
) -> None:
    pytest.importorskip("notebook" if front == "notebook" else "jupyterlab")
    before = at_the_venue(sandbox)
    notebook = opened(OPEN.format(name=f"{front}-{minor}"), PAPER, LIVE, TELL, front=front, minor=minor)
    assert json.loads(notebook.run_all()) == [3, 2]
    assert Path(notebook.run(0).strip()).suffix == ".ipynb", "the kernel is told where its notebook is"
    assert json.loads(notebook.run_all()) == [3, 2]
    notebook.do("docmanager:save")
    notebook.restart()
    assert json.loads(notebook.run_all()) == [3, 2]
    assert at_the_venue(sandbox) - before == 2
    notebook.do("notebook:cut-cell", "notebook:paste-cell-below", cell=1)
    assert json.loads(notebook.run_all()) == [3, 2], "a cell that was moved is the cell it was"
    notebook.do("notebook:copy-cell", "notebook:paste-cell-below", cell=2)
    copied = [6, 2] if minor == 5 else [3, 2]
    assert json.loads(notebook.run_all()) == copied, "a copy is another cell, where cells have ids"


def at_the_venue(sandbox: Handle) -> int:
    """How many orders in ETH/USDT the sandbox itself has had."""
    venue = kit.Venue(BINANCE, "sandbox", sandbox.hosts, key=sandbox.key, sandbox=sandbox)
    placed = venue.rest.do(BINANCE.orders_since(venue.instrument("ETH/USDT"), 0))
    venue.close()
    return len(placed)
