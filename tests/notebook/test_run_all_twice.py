"""Run All, twice in one kernel and once more after it was killed, as each front end does it: nothing is placed twice.

The notebook orders in every way a cell can; what counts is what the venue has, not what the journal says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import kit
from kit.sandbox.launcher import Handle
from kit.venues.binance import BINANCE
from tests.notebook.kernel import CellFailed, Kernel

OPEN = {
    "paper": """
import asyncio, json, time, kit
venue = kit.connect(seed=7)
broker = kit.paper(venue, account="{name}", latency=0)
def enter(qty):
    return broker.buy("BTC/USDT", qty)
""",
    "live": """
import asyncio, json, time, kit
venue = kit.connect(seed=7)
broker = kit.live(venue, account="{name}")
def enter(qty):
    return broker.buy("BTC/USDT", qty)
""",
}
CELLS = (
    "broker.buy('BTC/USDT', 0.001)\nbroker.buy('BTC/USDT', 0.001)",
    "for qty in (0.002, 0.003):\n    broker.buy('BTC/USDT', qty)",
    "broker.buy('BTC/USDT', 0.004, key='entry')",
    "%%time\nbroker.buy('BTC/USDT', 0.005)",
    "enter(0.006)\nenter(0.006)",
    "async def later():\n    await asyncio.sleep(0)\n    return broker.buy('BTC/USDT', 0.007)\nawait later()",
    "broker.buy('BTC/USDT', round(0.008 + time.time() % 1 / 2000, 5))",
    "broker.buy('BTC/USDT', 0.009, again=True)",
)
UNNAMED = (0, 1, 3, 4, 5, 6)
"""Cells whose orders nothing but the cell tells apart."""
MEANT = Counter({1: 2, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 1, 8: 1})
"""What the cells mean: quantity in thousandths -> orders; besides one of nine thousandths each time they run."""
RUNS = 3
TELL = """
for id_ in broker.orders["id"]:
    broker.order(id_).wait(30)
print(json.dumps([broker.orders["qty"].tolist(), float(broker.fills["qty"].sum()), list(broker.orders["id"])]))
"""
FRONTS = ("lab", "vscode", "nbclient")
KINDS = ("paper", "live")


def as_lab(cell: int) -> dict[str, object]:
    """What JupyterLab and Notebook send with a cell; ``test_identity_in_browser`` has it from themselves."""
    return {"trusted": True, "deletedCells": [], "recordTiming": False, "cellId": f"0eb406f{cell}"}


def as_vscode(cell: int, run: int) -> dict[str, object]:
    """What VS Code sends (vscode-jupyter, cellExecution.ts). Its window was opened anew with the second kernel."""
    return {"cellId": f"vscode-notebook-cell:/home/me/a.ipynb#W{cell + 20 * (run == RUNS)}sZmlsZQ%3D%3D", "tags": []}


def run_all(kernel: Kernel, front: str, kind: str, run: int = 1) -> None:
    cells = (*CELLS, OPEN[kind].format(name=f"{front}-{kind}"))
    if front == "nbclient":
        form: Any = nbformat.v4
        notebook = form.new_notebook(cells=[form.new_code_cell(cell) for cell in (cells[-1], *CELLS)])
        client = NotebookClient(notebook, km=kernel.manager, timeout=60)
        client.execute()
        assert client.kc is not None
        client.kc.stop_channels()
        return
    for number in (-1, *range(len(CELLS))):
        kernel.run(cells[number], as_vscode(number, run) if front == "vscode" else as_lab(number))


def told(kernel: Kernel, front: str, kind: str) -> tuple[Counter[int], float, set[str]]:
    """What an account has: orders by quantity in thousandths, the sum of its fills, its orders' ids."""
    kernel.run(OPEN[kind].format(name=f"{front}-{kind}"))
    quantities, filled, names = json.loads(kernel.run(TELL)["stream"].splitlines()[-1])
    return in_thousandths(quantities), filled, set(names)


def in_thousandths(quantities: list[float]) -> Counter[int]:
    return Counter(int(quantity * 1000 + 1e-6) for quantity in quantities)


@pytest.fixture(scope="module")
def kernel(sandbox_home: Path) -> Iterator[Kernel]:
    """A kernel after every front end had run everything twice, was killed, and had run everything again."""
    kernel = Kernel(sandbox_home)
    for run in range(1, RUNS + 1):
        if run == RUNS:
            kernel.restart()
        for front in FRONTS:
            for kind in KINDS:
                run_all(kernel, front, kind, run)
    yield kernel
    kernel.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("front", FRONTS)
def test_run_all_again_places_nothing_again(kernel: Kernel, front: str, kind: str) -> None:
    orders, filled, names = told(kernel, front, kind)
    assert orders == MEANT + Counter({9: RUNS})
    assert len(names) == orders.total()
    assert filled == pytest.approx(sum(n * qty / 1000 for qty, n in orders.items()), abs=0.0005)


def test_the_venue_itself_has_each_order_once(kernel: Kernel, sandbox: Handle) -> None:
    venue = kit.Venue(BINANCE, "sandbox", sandbox.hosts, key=sandbox.key, sandbox=sandbox)
    placed = venue.rest.do(BINANCE.orders_since(venue.instrument("BTC/USDT"), 0))
    venue.close()
    ours = [names for front in FRONTS for names in told(kernel, front, "live")[2]]
    assert sorted(order.client_id for order in placed) == sorted(ours)
    each = MEANT + Counter({9: RUNS})
    assert in_thousandths([float(order.request.qty) for order in placed]) == Counter(
        {qty: 3 * n for qty, n in each.items()}
    )


LATER = """
class Later:
    def __init__(self, clock, hours):
        self.clock, self.hours = clock, hours
    def now(self):
        return self.clock.now() + self.hours * 3_600_000_000
    def __getattr__(self, name):
        return getattr(self.clock, name)
broker.desk._clock = Later(getattr(broker.desk._clock, "clock", broker.desk._clock), {hours})
"""


def test_after_twelve_hours_a_cell_is_asked_what_it_means_and_a_new_session_means_new_orders(kernel: Kernel) -> None:
    run_all(kernel, "later", "paper")
    kernel.run(LATER.format(hours=11))
    for number, cell in enumerate(CELLS[:-1]):
        kernel.run(cell, as_lab(number))
    kernel.run(LATER.format(hours=13))
    for number in UNNAMED:
        with pytest.raises(CellFailed, match=r"13 h ago.*Nothing was sent.*again=True.*key=.*session="):
            kernel.run(CELLS[number], as_lab(number))
    kernel.run(CELLS[2], as_lab(2))
    assert told(kernel, "later", "paper")[0] == MEANT + Counter({9: 1})
    kernel.run("broker = kit.paper(venue, account='later-paper', latency=0, session='tomorrow')")
    for number, cell in [*enumerate(CELLS[:-1])] * 2:
        kernel.run(cell, as_lab(number))
    assert told(kernel, "later", "paper")[0] == MEANT + MEANT + Counter({9: 1})
