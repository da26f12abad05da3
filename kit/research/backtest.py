"""A backtest: the desk, account and fill simulator of a paper account, driven by bars and a manual clock.

A decision is made on a bar's close; its order reaches the market after it, so it fills no earlier than the
next bar's open. What a bar's inner path leaves open takes the worse side (``kit.orders.matching``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import closing
from decimal import Decimal
from types import UnionType

import numpy as np
import numpy.typing as npt
import pandas as pd

from kit import errors
from kit.broker import frames
from kit.broker.desk import Desk
from kit.broker.gateway import Accepted, Outcome, Refused, outcome_of
from kit.clock import ManualClock
from kit.errors import BadRange, UsageError
from kit.market.candles import INTERVALS, ends
from kit.market.feed import FeedState, Picture
from kit.model import Balance, Candle, Fees, Instrument, OrderRequest, OrderState, Quote, Report
from kit.orders.account import exactly, reservation
from kit.orders.matching import Simulator
from kit.orders.request import Amount
from kit.orders.rules import parse_amount
from kit.research.report import Result, round_trips, statistics
from kit.research.strategy import COLUMNS, Runner, Strategy, made
from kit.research.trader import DeskTrader
from kit.store.journal import Journal
from kit.venues.contract import IN_PROCESS

NEEDED = ("open", "high", "low", "close")
UNLIMITED = 1e12
"""The volume of a bar whose candles tell none."""
SPREAD = Decimal("0.0002")
"""Assumed distance between bid and ask as a share of the price; half of it is paid by each taker."""


class BarGateway:
    """The simulator behind the gateway seam, fed with bars."""

    contract = IN_PROCESS

    def __init__(self, instrument: Instrument, fees: Fees, spread: Decimal, clock: ManualClock) -> None:
        self.instrument, self._clock = instrument, clock
        ids = itertools.count(1)
        self.simulator = Simulator(instrument, fees, ids=lambda: next(ids), bar_spread=spread)
        self._listener: Callable[[Report], None] = lambda report: None
        self.last = 0.0
        """The close of the bar that is decided on."""

    @property
    def price(self) -> Decimal:
        """The last close as exact money: asked for by orders, not by every bar."""
        return self.instrument.price(self.last)

    def picture(self, symbol: str) -> Picture:
        """What a decision sees: the last close, with nothing shown on either side."""
        return Picture(FeedState.LIVE, 0.0, Quote(symbol, self.last, 0.0, self.last, 0.0))

    def listen(self, listener: Callable[[Report], None]) -> None:
        self._listener = listener

    def submit(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Outcome:
        asset, amount = reservation(instrument, request, self.price)
        budget = amount if asset == instrument.quote else None
        return outcome_of(self.simulator.submit(client_id, request, self._clock.now(), budget=budget))

    def cancel(self, instrument: Instrument, client_id: str) -> Outcome:
        reports = self.simulator.cancel(client_id, self._clock.now())
        return Accepted(reports) if reports else Refused("nothing to cancel")

    def query(self, instrument: Instrument, client_id: str, since: int) -> OrderState | None:
        return None

    def open_orders(self) -> list[OrderState]:
        return []

    def balances(self) -> list[Balance]:
        return []

    def close(self) -> None:
        """Nothing runs here."""

    def on_bar(self, candle: Candle) -> None:
        """Let a bar pass over the working orders."""
        for report in self.simulator.on_bar(candle, self._clock.now()):
            self._listener(report)


@exactly
def backtest(
    strategy: Strategy,
    candles: pd.DataFrame,
    *,
    cash: Amount = 10_000,
    fees: Fees = Fees(),  # noqa: B008 - frozen
    spread: Amount = SPREAD,
    instrument: Instrument | None = None,
) -> Result:
    """Run ``strategy`` over closed candles (the schema of ``venue.candles``) and say what became of it.

    ``cash`` is the quote currency to begin with. ``spread`` is a share of the price. ``instrument``
    gives tick, lot and minimums; by default those the candles' ``attrs`` carry, else 8 decimals. As in a live run, an
    order that a risk check or the money refuses ends that bar's ``next`` and not the run: ``refusals`` tells of it.
    Raises BadRange without closed candles, UsageError on candles with missing or impossible values and on
    arguments that are none.
    """
    made(strategy)
    _must_be("fees", fees, Fees)
    _must_be("instrument", instrument, Instrument | None)
    _must_be("candles", candles, pd.DataFrame)
    bars = _Bars(candles)
    what = instrument or instrument_of(candles)
    clock = ManualClock(int(bars.times[0]))
    gateway = BarGateway(what, fees, _spread(spread), clock)
    start = parse_amount("cash", cash)
    with closing(Journal.in_memory({what.quote: start}, fees=fees)) as journal:
        desk = Desk(
            "backtest", "backtest", journal, gateway, clock, instruments=lambda symbol: what, picture=gateway.picture
        )
        trader = DeskTrader(desk, what, lambda: gateway.price, repr(strategy))
        runner = Runner(strategy, trader)
        runner.load(bars.times, bars.columns)
        refused = _walk(bars, runner, gateway, clock)
        return _result(strategy, candles, bars, what, desk, start=float(start), refused=refused)


_WAYS = {
    "fees": "pass kit.Fees(maker=0.001, taker=0.001), shares of what is traded",
    "instrument": 'pass venue.instrument("BTC/USDT"), or nothing',
    "candles": "pass a DataFrame of candles: venue.candles(…) or live.frame",
}


def _must_be(name: str, value: object, kind: type | UnionType) -> None:
    if not isinstance(value, kind):
        raise UsageError(f"{name}={value!r:.80}: {_WAYS[name]}; nothing was run")


def _spread(value: Amount) -> Decimal:
    """A spread as typed: a share of the price, 0 for none."""
    share = Decimal(0) if value == 0 else parse_amount("spread", value)
    if share >= 1:
        raise UsageError(f"spread={value!r}: it is a share of the price; 0.0002 is 0.02 %. Nothing was run")
    return share


class _Bars:
    """Closed candles as arrays: open times and close times (µs), and the columns a strategy sees."""

    def __init__(self, candles: pd.DataFrame) -> None:
        missing = [name for name in NEEDED if name not in candles]
        if missing or not isinstance(candles.index, pd.DatetimeIndex):
            raise UsageError(
                f"candles need a DatetimeIndex and the columns {', '.join(NEEDED)}; missing: {missing or 'the index'}"
            )
        closed = candles[candles["closed"].to_numpy(dtype=bool)] if "closed" in candles else candles
        if len(closed) < 2:
            raise BadRange(f"a backtest needs at least 2 closed candles, not {len(closed)}: ask for a longer range")
        index = pd.DatetimeIndex(closed.index)
        if not (index.is_monotonic_increasing and index.is_unique):
            raise UsageError("candles must be in time order, each bar once: sort_index() and drop duplicates first")
        self.frame = closed
        self.interval = str(candles.attrs.get("interval") or _interval(index))
        self.times: npt.NDArray[np.int64] = (index if index.tz else index.tz_localize("UTC")).as_unit("us").asi8
        self.ends = ends(self.times, self.interval)
        volume = closed["volume"] if "volume" in closed else pd.Series(UNLIMITED, index=index)
        self.columns = {n: closed[n].to_numpy(dtype=np.float64) for n in NEEDED} | {
            "volume": volume.to_numpy(dtype=np.float64)
        }
        self._refuse_nonsense()

    def _refuse_nonsense(self) -> None:
        high, low = self.columns["high"], self.columns["low"]
        inside = np.all(
            [(self.columns[n] <= high) & (self.columns[n] >= low) & (low > 0) for n in ("open", "close")], axis=0
        )
        if not inside.all():
            first = int(np.flatnonzero(~inside)[0])
            raise UsageError(
                f"the candle at {self.frame.index[first]} is missing a price or has one outside its high and low"
            )

    def candle(self, row: int, symbol: str) -> Candle:
        o, h, low, c, v = (float(self.columns[name][row]) for name in COLUMNS)
        return Candle(symbol, self.interval, int(self.times[row]), o, h, low, c, v, 0.0, 0, closed=True)


def _interval(index: pd.DatetimeIndex) -> str:
    """The interval whose length is the most common distance between bars."""
    step = int(pd.Series(index.as_unit("us").asi8).diff().mode().iloc[0])
    for name, length in INTERVALS.items():
        if length == step:
            return name
    raise UsageError(
        f"bars {pd.Timedelta(step, unit='us')} apart are of no known interval; say candles.attrs['interval']"
    )


def instrument_of(candles: pd.DataFrame) -> Instrument:
    """The instrument the candles' ``attrs`` describe; steps of 8 decimals where they say none."""
    symbol = str(candles.attrs.get("symbol") or "BASE/QUOTE")
    base, _, quote = symbol.partition("/")
    facts = candles.attrs.get("instrument") or {}
    step = Decimal("1e-8")
    return Instrument(
        symbol=symbol,
        native=symbol.replace("/", ""),
        base=base,
        quote=quote or "QUOTE",
        tick=Decimal(facts.get("tick", step)),
        lot=Decimal(facts.get("lot", step)),
        min_notional=Decimal(facts.get("min_notional", 0)),
    )


def _walk(bars: _Bars, runner: Runner, gateway: BarGateway, clock: ManualClock) -> list[tuple[int, str]]:
    """Bar by bar: what was ordered before meets the bar, then the strategy decides on its close.

    The decisions (µs) that ended with an order refused, and why.
    """
    refused: list[tuple[int, str]] = []
    closes, warm = bars.columns["close"].tolist(), runner.warm
    working = gateway.simulator.working
    for row, end in enumerate(bars.ends.tolist()):
        clock.set(end)
        if working:
            gateway.on_bar(bars.candle(row, gateway.instrument.symbol))
        if row >= warm:
            gateway.last = closes[row]
            try:
                runner.decide(row, end)
            except errors.Refused as refusal:
                refused.append((end, str(refusal)))
    return refused


def _result(
    strategy: Strategy,
    candles: pd.DataFrame,
    bars: _Bars,
    instrument: Instrument,
    desk: Desk,
    *,
    start: float,
    refused: list[tuple[int, str]],
) -> Result:
    origin = {"kind": "backtest", "environment": str(candles.attrs.get("environment", ""))}
    attrs = {**origin, "symbol": instrument.symbol, "base": instrument.base}
    filled = frames.fills((fill for record in desk.records.values() for fill in record.fills), attrs)
    equity = _equity(filled, instrument, bars, start)
    trades = round_trips(filled, float(bars.columns["close"][-1]), float(instrument.lot))
    equity.attrs.update(origin)
    trades.attrs.update(attrs)
    return Result(
        strategy=repr(strategy),
        symbol=instrument.symbol,
        environment=origin["environment"],
        candles=candles,
        equity=equity,
        trades=trades,
        fills=filled,
        orders=frames.orders(desk, attrs),
        refusals=_refusals(refused, attrs),
        stats=statistics(equity, trades, float(instrument.lot)),
    )


def _refusals(refused: list[tuple[int, str]], attrs: Mapping[str, str]) -> pd.DataFrame:
    """When (UTC) an order was refused, and why."""
    frame = pd.DataFrame(refused, columns=["time", "reason"]).astype({"time": "int64", "reason": "str"})
    frame["time"] = pd.to_datetime(frame["time"], unit="us", utc=True).dt.as_unit("us")
    frame.attrs.update(attrs)
    return frame


def _equity(fills: pd.DataFrame, instrument: Instrument, bars: _Bars, start: float) -> pd.DataFrame:
    """Cash and position after each bar, valued at its close."""
    sign = np.where(fills["side"] == "buy", 1.0, -1.0)
    in_base = (fills["fee_asset"] == instrument.base).to_numpy()
    fee = fills["fee"].to_numpy()
    rows = np.searchsorted(bars.ends, fills["time"].dt.as_unit("us").astype("int64"))
    steps = np.zeros((2, len(bars.times)))
    np.add.at(steps[0], rows, -sign * fills["notional"].to_numpy() - np.where(in_base, 0.0, fee))
    np.add.at(steps[1], rows, sign * fills["qty"].to_numpy() - np.where(in_base, fee, 0.0))
    cash, position = steps.cumsum(axis=1)
    close = bars.columns["close"]
    worth = {"equity": start + cash + position * close, "cash": start + cash, "position": position, "close": close}
    return pd.DataFrame(worth, index=bars.frame.index)
