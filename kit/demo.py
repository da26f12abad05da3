"""``kit demo``: the main job in a terminal, narrated, each claim checked; exits non-zero if one fails."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import kit
from kit.broker.broker import DISCLAIMER
from kit.errors import KitError, StalePicture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.broker.broker import Broker
    from kit.net.live import Live
    from kit.venue import Venue

STYLE = """<!doctype html><meta charset=utf-8><title>papertape demo</title>
<style>body{font:15px system-ui;margin:2rem auto;max-width:1100px;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}
</style>"""
BARE = {"displayModeBar": False}
TRADER = """
import json, sys, time, kit
venue = kit.connect("sandbox", sandbox=sys.argv[1])
broker = kit.paper(venue, cash=10_000, account="survivor")
live = venue.live(sys.argv[2], "1m")
live.ready(timeout=30)
bought = broker.buy(sys.argv[2], sys.argv[3], key="survivor-1")
bought.wait(timeout=30)
resting = broker.buy(sys.argv[2], sys.argv[3], price=sys.argv[4], key="survivor-2")
print(json.dumps({"bought": bought.id, "status": str(bought.status), "resting": resting.id,
                  "cash": str(broker.cash)}), flush=True)
time.sleep(60)
"""


@dataclass
class Story:
    """What is told and what was checked."""

    began: float = field(default_factory=time.monotonic)
    checks: list[tuple[str, bool, str]] = field(default_factory=list)

    def tell(self, text: str) -> None:
        """Print a line with the seconds since the demo began."""
        print(f"[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def check(self, claim: str, holds: bool, seen: str = "") -> None:
        """Note whether a claim holds, with what was seen."""
        self.checks.append((claim, holds, seen))
        self.tell(f"  {'ok  ' if holds else 'FAIL'} {claim}" + (f": {seen}" if seen else ""))

    @property
    def failed(self) -> int:
        """How many claims did not hold."""
        return sum(not holds for _, holds, _ in self.checks)

    def table(self) -> str:
        """The checks as an aligned table."""
        wide = max(len(claim) for claim, _, _ in self.checks)
        rows = [f"  {'ok  ' if ok else 'FAIL'}  {claim:<{wide}}  {seen}" for claim, ok, seen in self.checks]
        return "\n".join(rows)


@dataclass
class Stage:
    """The demo's market: a sandbox of its own name, an instrument of it, and the picture of it."""

    venue: Venue
    live: Live
    symbol: str
    interval: str
    qty: str


def main(arguments: Sequence[str]) -> int:
    """Run the demo; 0 when every check held."""
    parser = argparse.ArgumentParser(prog="kit demo", description=__doc__)
    parser.add_argument(
        "--replay", metavar="FILE", help="play a recording of a real venue instead of the synthetic market"
    )
    parser.add_argument("--out", default="papertape-demo.html", metavar="HTML", help="where to write the page")
    given = parser.parse_args(arguments)
    story = Story()
    print(f"papertape {kit.__version__}. {DISCLAIMER}\n")
    with _home(), ExitStack() as cleanup:
        try:
            stage = open_market(story, given.replay, cleanup)
            broker = cleanup.enter_context(_closing(kit.paper(stage.venue, cash=10_000, account="demo")))
            one_intent_one_order(story, stage, broker)
            never_on_a_stale_picture(story, stage, broker)
            unknown_is_not_failed(story, stage, cleanup)
            killed_and_restarted(story, stage)
            write_page(story, stage, broker, Path(given.out))
        except KitError as error:
            story.check("the demo runs to its end", holds=False, seen=f"{type(error).__name__}: {error}")
    print(f"\nWhat was checked, in {time.monotonic() - story.began:.0f} s:\n{story.table()}")
    print(f"\n{len(story.checks) - story.failed} of {len(story.checks)} checks hold. {DISCLAIMER}")
    return 1 if story.failed else 0


def open_market(story: Story, replay: str | None, cleanup: ExitStack) -> Stage:
    """REST candles and a live frame that continues them."""
    story.tell(f"Starting a sandbox exchange on {'a recording: ' + replay if replay else 'its synthetic market'}.")
    venue = kit.connect("sandbox", sandbox="demo", replay=replay)
    if venue.sandbox is not None:
        cleanup.callback(venue.sandbox.stop)
    cleanup.callback(venue.close)
    symbol, interval = venue.instruments().index[0], "1s" if replay else "1m"
    candles = venue.candles(symbol, interval, limit=1000 if not replay else 500)
    story.tell(f"Asked for {symbol} candles over REST:\n{candles.tail(3).to_string()}")
    whole = candles.index.is_monotonic_increasing and candles.index.is_unique and not candles.attrs["holes"]
    story.check(
        "candles arrive by REST, in order and without holes", whole and len(candles) > 0, f"{len(candles)} rows"
    )
    live = venue.live(symbol, interval)
    live.ready(timeout=30)
    seen = live.version
    live.wait(seen, timeout=30)
    story.check("a live frame follows by WebSocket", live.state == "LIVE" and live.version > seen, repr(live))
    _until(lambda: int(live.frame["closed"].sum()) > 2, 20)  # a recording has just begun: no history yet
    frame = live.frame
    again = venue.candles(symbol, interval, start=frame.index[0])
    story.check("history and now meet without a seam", _agree(frame, again), f"{len(frame)} rows agree with REST")
    qty = _quantity(venue, symbol, live)
    return Stage(venue, live, symbol, interval, qty)


def one_intent_one_order(story: Story, stage: Stage, broker: Broker) -> None:
    """The same key twice is one order."""
    story.tell("Placing a paper order twice with one key.")
    first = broker.buy(stage.symbol, stage.qty, key="demo-entry")
    second = broker.buy(stage.symbol, stage.qty, key="demo-entry")
    first.wait(timeout=30)
    story.tell(f"  {first.why()}")
    story.check("the same key twice is one order", first.id == second.id and len(broker.orders) == 1, first.id)
    story.check(
        "it is filled, not instantly and not for free",
        first.status == "filled" and (first.latency or 0) > 0,
        repr(first),
    )


def never_on_a_stale_picture(story: Story, stage: Stage, broker: Broker) -> None:
    """Cut the socket: refused. Heal it: resynced, and the frame is what it would have been."""
    sandbox = stage.venue.sandbox
    assert sandbox is not None  # noqa: S101 - connect("sandbox") gives one
    story.tell("Cutting the socket for 4 seconds.")
    sandbox.fault("drop", for_=4)
    _until(lambda: stage.live.state != "LIVE", 15)
    orders = len(broker.orders)
    try:
        broker.buy(stage.symbol, stage.qty, key="demo-blind")
        refusal = ""
    except StalePicture as error:
        refusal = str(error)
    story.tell(f"  {refusal}")
    story.check(
        "no order leaves on a stale picture", bool(refusal) and len(broker.orders) == orders, f"{stage.live.state}"
    )
    _until(lambda: stage.live.state == "LIVE", 30)
    frame = stage.live.frame
    again = stage.venue.candles(stage.symbol, stage.interval, start=frame.index[0])
    filled_in = int((frame["source"] == "backfill").sum())
    story.check("reconnected, resynced, the gap filled in", _agree(frame, again), f"{filled_in} rows by backfill")
    instrument = stage.venue.instrument(stage.symbol)
    held = broker.balances.set_index("asset")["free"][instrument.base]
    order = broker.sell(stage.symbol, instrument.qty(float(held)), key="demo-exit")
    order.wait(timeout=30)
    story.check("and orders leave again", order.status in ("filled", "expired"), repr(order))


def unknown_is_not_failed(story: Story, stage: Stage, cleanup: ExitStack) -> None:
    """An order the venue took without answering is found by its id."""
    sandbox = stage.venue.sandbox
    assert sandbox is not None  # noqa: S101 - connect("sandbox") gives one
    story.tell(
        "An order through the live gateway (the sandbox's own account): the exchange takes it and never answers."
    )
    instrument = stage.venue.instrument(stage.symbol)
    account = cleanup.enter_context(_closing(kit.live(stage.venue, account="demo-live")))
    sandbox.fault("no_answer", match="POST /api/v3/order", times=1)
    order = account.buy(stage.symbol, stage.qty, key="demo-lost")
    first = str(order.status)
    story.tell(f"  at first: {first}")
    order.wait(timeout=30)
    story.tell(f"  asked with {order.id}: {order.status}")
    story.check(
        "an unanswered order is found again by its id",
        order.status in ("filled", "expired"),
        f"{first} -> {order.status}",
    )
    executions = stage.venue.rest.do(stage.venue.trading.fills(instrument, venue_order_id=None, from_id=None))
    at_venue = {fill.venue_id for fill in executions}
    story.check("and the venue has it once", len(at_venue) == len(account.orders) == 1, f"{len(at_venue)} order there")


def killed_and_restarted(story: Story, stage: Stage) -> None:
    """Kill the trading process with -9; the account is there again."""
    story.tell("A second process trades on an account of its own, and is killed with -9.")
    price = str(stage.venue.instrument(stage.symbol).price(stage.live.frame["close"].iloc[-1] * 0.9))
    child = subprocess.Popen(  # noqa: S603 - this interpreter, this file's script
        [sys.executable, "-c", TRADER, "demo", stage.symbol, stage.qty, price], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None  # noqa: S101 - PIPE was asked for
    with child.stdout:
        before = json.loads(child.stdout.readline() or "{}")
        child.kill()
        child.wait()
    story.check("the process is gone", child.returncode not in (0, None), f"exit code {child.returncode}")
    with _closing(kit.paper(stage.venue, cash=10_000, account="survivor")) as broker:
        orders = broker.orders
        resting = broker.order(before["resting"]) if before else None
        same = bool(before) and str(broker.cash) == before["cash"] and len(orders) == 2
        story.check("its account came back as it was", same, f"cash {broker.cash}, {len(orders)} orders")
        repeat = broker.buy(stage.symbol, stage.qty, price=price, key="survivor-2")
        rests = resting is not None and resting.status == "open" and repeat.id == resting.id
        story.check(
            "its resting order still rests, and a retry finds it", rests and len(broker.orders) == 2, repr(resting)
        )


def write_page(story: Story, stage: Stage, broker: Broker, path: Path) -> None:
    """The chart, the fills and the equity as one HTML page that needs no network."""
    from kit.notebook.chart import chart, equity_figure

    market = chart(stage.live.frame.tail(300), fills=broker.fills)
    checks = pd.DataFrame(story.checks, columns=["claim", "holds", "seen"])
    parts = [
        STYLE,
        f"<h1>papertape demo</h1><p>{DISCLAIMER}</p>",
        market.to_html(full_html=False, include_plotlyjs=True, config=BARE),
        equity_figure(broker.equity).to_html(full_html=False, include_plotlyjs=False, config=BARE),
        f"<h2>Fills</h2>{broker.fills.to_html(index=False, border=0)}",
        f"<h2>What was checked</h2>{checks.to_html(index=False, border=0)}",
    ]
    try:
        path.write_text("\n".join(parts), encoding="utf-8")
        seen = str(path)
    except OSError as error:
        seen = f"{path} can't be written ({error.strerror}); choose another with --out"
    story.check("a page with chart, fills and equity is written", seen == str(path), seen)


def _quantity(venue: Venue, symbol: str, live: Live) -> str:
    """About a tenth of the demo's cash worth, in lots."""
    instrument = venue.instrument(symbol)
    return str(instrument.qty(1_000 / float(live.frame["close"].iloc[-1])))


def _agree(frame: pd.DataFrame, rest: pd.DataFrame) -> bool:
    """True when both have the same closed rows, to the last digit, over the time they share."""
    columns = ["open", "high", "low", "close", "volume", "trades"]
    mine, theirs = frame[frame["closed"]][columns], rest[rest["closed"]][columns]
    if mine.empty or theirs.empty:
        return False
    end = min(mine.index[-1], theirs.index[-1])
    return bool(mine.loc[:end].equals(theirs.loc[mine.index[0] : end]))


def _until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)


@contextmanager
def _closing(broker: Broker) -> Iterator[Broker]:
    try:
        yield broker
    finally:
        broker.close()


@contextmanager
def _home() -> Iterator[None]:
    """A data folder for this demo alone: it never touches the accounts of the person who runs it."""
    before = os.environ.get("PAPERTAPE_HOME")
    with tempfile.TemporaryDirectory(prefix="papertape-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["PAPERTAPE_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["PAPERTAPE_HOME"]
            else:
                os.environ["PAPERTAPE_HOME"] = before
