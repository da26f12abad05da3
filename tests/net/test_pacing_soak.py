"""Two notebooks and a script at the limits of one venue for ten minutes: never turned away, and nearly all is used.

The venue is the embedded exchange, which counts as Binance does; what it turned away and what was used is counted
there, not by those who ask. ``KIT_SOAK_SECONDS=240`` makes it shorter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from kit.sandbox.budgets import WEIGHT_LIMIT
from kit.sandbox.home import folder, published

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]

SECONDS = float(os.environ.get("KIT_SOAK_SECONDS", "600"))
NAME = "at-the-limit"
ORDERS = 100
"""How many an account may place in ten seconds."""

COUNTING = """
import json, os, sys, time
from collections import Counter
from pathlib import Path
from kit.sandbox import server
from kit.sandbox.front import Front

kept = Path(sys.argv.pop(1))
statuses, weights, orders, written = Counter(), {}, {}, [0.0]
answer = Front.answer

def counted(self, request, now):
    told = answer(self, request, now)
    statuses[told.status] += 1
    weights[now // 60_000_000] = max(weights.get(now // 60_000_000, 0), int(told.headers["x-mbx-used-weight-1m"]))
    placed = int(told.headers.get("x-mbx-order-count-10s", 0))
    orders[now // 10_000_000] = max(orders.get(now // 10_000_000, 0), placed)
    if told.status != 200 or time.monotonic() - written[-1] > 1:
        written.append(time.monotonic())
        kept.with_suffix(".new").write_text(json.dumps([statuses, weights, orders]))
        os.replace(kept.with_suffix(".new"), kept)
    return told

Front.answer = counted
server.main(sys.argv[1:])
"""

WORK = """
import itertools, json, threading, time
from decimal import Decimal
import kit
from kit.errors import KitError, RateLimited
from kit.model import OrderRequest, OrderType, Side
from kit.venues.binance import BINANCE

def work(name, seconds, readers, traders):
    venue = kit.connect(sandbox="at-the-limit")
    btc = venue.instrument("BTC/USDT")
    ends, said, full, slowest = time.monotonic() + seconds, [], set(), [0.0]
    numbers = itertools.count(1)

    def ask(call):
        while time.monotonic() < ends:
            began = time.monotonic()
            try:
                venue.rest.do(call)
                return time.monotonic() - began
            except RateLimited as error:
                if call.orders:
                    full.add(venue.rest.clock.now() // 10_000_000)
                elif call.effect.value == "write":
                    said.append("a cancel was held back: " + str(error))
                time.sleep(error.retry_after)
            except KitError as error:
                said.append(repr(error))
                return 0.0

    def read():
        for depth in itertools.cycle((100, 1000, 100, 500)):
            if time.monotonic() > ends:
                return
            ask(BINANCE.book("BTCUSDT", depth))

    def trade():
        price = Decimal(str(venue.candles("BTC/USDT", limit=1)["close"].iloc[-1])) * Decimal("0.9")
        bid = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.001"),
                           price=price // btc.tick * btc.tick)
        while time.monotonic() < ends:
            client_id = f"{name}-{next(numbers)}"
            if ask(BINANCE.order(btc, bid, client_id)):
                slowest[0] = max(slowest[0], ask(BINANCE.cancel(btc, client_id)) or 0.0)

    threads = [threading.Thread(target=each) for each in [read] * readers + [trade] * traders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"said": said[:5], "full": sorted(full), "slowest cancel": round(slowest[0], 3)}))
"""


@pytest.fixture
def venue(home: Path) -> Iterator[Path]:
    """A sandbox that keeps account of what it answers; the file it does so in."""
    kept = home / "counted.json"
    command = [sys.executable, "-c", COUNTING, str(kept), "--name", NAME]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends = time.monotonic() + 60
    while published(folder(NAME)) is None:
        assert time.monotonic() < ends
        time.sleep(0.05)
    yield kept
    process.terminate()
    process.wait()


def in_a_notebook(call: str) -> tuple[Any, Any, str]:
    """A kernel that has begun to run ``call``, as a cell."""
    kernel, client = start_new_kernel(kernel_name="python3", startup_timeout=60)
    client.execute(WORK)
    return kernel, client, client.execute(call)


def answer(client: Any, asked: str) -> dict[str, Any]:
    """What the cell printed."""
    printed = ""
    while True:
        message = client.get_iopub_msg(timeout=SECONDS + 120)
        if message["parent_header"].get("msg_id") != asked:
            continue
        content = message["content"]
        assert message["msg_type"] != "error", "\n".join(content["traceback"])
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed += content["text"]
        if content.get("execution_state") == "idle":
            return dict(json.loads(printed))


def test_two_notebooks_and_a_script_use_nearly_all_a_venue_allows_and_are_never_turned_away(venue: Path) -> None:
    notebooks = [in_a_notebook(f"work({name!r}, {SECONDS}, 4, 3)") for name in ("one", "two")]
    script = subprocess.Popen(
        [sys.executable, "-c", f"{WORK}\nwork('script', {SECONDS}, 4, 3)"], stdout=subprocess.PIPE, text=True
    )
    try:
        told = [answer(client, asked) for _, client, asked in notebooks]
        told.append(json.loads(script.communicate(timeout=120)[0]))
    finally:
        script.kill()
        script.communicate()
        for kernel, client, _ in notebooks:
            client.stop_channels()
            kernel.shutdown_kernel(now=True)
    statuses, weights, orders = json.loads(venue.read_text())
    minutes = [used for _, used in sorted(weights.items())][1:-1]
    tens = dict(sorted((int(began), used) for began, used in orders.items())[1:-1])
    print(f"\n{SECONDS:.0f} s: answers {statuses}; weight a minute {minutes} of {WEIGHT_LIMIT}; orders in ten seconds")
    print(f"{list(tens.values())} of {ORDERS}; slowest cancels {[each['slowest cancel'] for each in told]} s")
    assert statuses.keys() == {"200"}
    assert min(minutes) >= 0.9 * WEIGHT_LIMIT
    full = {began for each in told for began in each["full"]}  # the machine may be too slow to fill the others
    assert all(tens[began] >= 0.9 * ORDERS for began in full & tens.keys())
    for each in told:
        assert not each["said"]
        assert each["slowest cancel"] < 4
