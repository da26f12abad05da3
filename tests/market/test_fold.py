"""Candles from trades as they come: the same as from all of them at once, and the same as the venue's own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import UnknownName
from kit.market import candles
from kit.market.fold import Fold
from kit.model import Candle, Side, Trade
from kit.venues.binance import BINANCE

MINUTE = 60_000_000
T0 = 1_700_000_040_000_000
VALUES = ("time", "open", "high", "low", "close", "volume", "quote_volume", "trades")


def trade(id_: int, time: int, price: float = 100.0, qty: float = 0.5) -> Trade:
    return Trade("BTCUSDT", id_, price, qty, T0 + time, Side.BUY)


def values(bar: Candle) -> tuple[object, ...]:
    return tuple(getattr(bar, name) for name in VALUES)


def bars(fold: Fold, trades: list[Trade]) -> list[Candle]:
    """The last version of every bar."""
    kept: dict[int, Candle] = {}
    for one in trades:
        bar = fold.add(one)
        kept[bar.time] = bar
    return list(kept.values())


def test_a_bar_is_told_anew_with_every_trade() -> None:
    fold = Fold("BTC/USDT", "1m")
    first = fold.add(trade(7, 0, 100.0, 2.0))
    assert values(first) == (T0, 100.0, 100.0, 100.0, 100.0, 2.0, 200.0, 1)
    fold.add(trade(8, 10, 103.0, 1.0))
    fold.add(trade(9, 20, 99.0, 1.0))
    last = fold.add(trade(10, MINUTE - 1, 101.0, 1.0))
    assert values(last) == (T0, 100.0, 103.0, 99.0, 101.0, 5.0, 503.0, 4)
    assert (last.symbol, last.interval, last.closed) == ("BTC/USDT", "1m", False)
    assert (last.last_trade, last.event_time) == (10, T0 + MINUTE - 1)
    assert values(first)[-1] == 1
    assert fold.bar == last


def test_the_next_bar_begins_with_the_first_trade_at_or_after_its_open() -> None:
    fold = Fold("BTC/USDT", "1m")
    fold.add(trade(1, MINUTE - 1))
    assert values(fold.add(trade(2, MINUTE, 90.0, 1.0))) == (T0 + MINUTE, 90.0, 90.0, 90.0, 90.0, 1.0, 90.0, 1)


def test_a_bar_in_which_nobody_traded_is_not_told() -> None:
    made = bars(Fold("BTC/USDT", "1m"), [trade(1, 0), trade(2, 5 * MINUTE + 3)])
    assert [bar.time for bar in made] == [T0, T0 + 5 * MINUTE]


def test_a_trade_told_twice_counts_once() -> None:
    fold = Fold("BTC/USDT", "1m")
    fold.add(trade(1, 0))
    bar = fold.add(trade(2, 1))
    assert fold.add(trade(1, 0)) == fold.add(trade(2, 1)) == bar


def test_a_trade_dated_before_the_bar_counts_in_it_since_the_bar_before_is_final() -> None:
    fold = Fold("BTC/USDT", "1m")
    fold.add(trade(1, MINUTE, 100.0, 1.0))
    late = fold.add(trade(2, MINUTE - 1, 95.0, 1.0))
    assert values(late) == (T0 + MINUTE, 100.0, 100.0, 95.0, 95.0, 2.0, 195.0, 2)


def test_amounts_are_summed_as_the_venue_sums_them_not_as_floats() -> None:
    fold = Fold("BTC/USDT", "1m")
    for n in range(10):
        bar = fold.add(trade(n + 1, n, 0.1, 0.1))
    assert (bar.volume, bar.quote_volume) == (1.0, 0.1)
    assert reduce(add, [0.1] * 10) != 1.0  # sum() itself makes up for it since Python 3.12


def test_the_bar_goes_on_from_what_is_known_of_it() -> None:
    whole = Fold("BTC/USDT", "1m")
    trades = [trade(n + 1, n, 100.0 + n % 5 / 10, 0.1) for n in range(40)]
    halfway = [whole.add(one) for one in trades][19]
    fold = Fold("BTC/USDT", "1m", halfway)
    assert bars(fold, trades)[-1] == whole.bar


def test_an_unknown_interval_is_told_at_once() -> None:
    with pytest.raises(UnknownName, match="interval"):
        Fold("BTC/USDT", "7m")


@pytest.mark.parametrize(
    ("interval", "before", "after"),
    [
        ("1M", "2024-02-29 23:59:59.999999", "2024-03-01"),
        ("1w", "2024-03-03 23:59:59.999999", "2024-03-04"),
        ("1d", "2024-02-28 23:59:59.999999", "2024-02-29"),
        ("3d", "2024-03-02 23:59:59.999999", "2024-03-03"),
    ],
)
def test_long_bars_end_by_the_calendar(interval: str, before: str, after: str) -> None:
    fold = Fold("BTC/USDT", interval)
    last, first = candles.moment(before, "time"), candles.moment(after, "time")
    bar = fold.add(Trade("X", 1, 1.0, 1.0, last, Side.BUY))
    following = fold.add(Trade("X", 2, 1.0, 1.0, first, Side.BUY))
    assert bar.time == candles.floor_time(last, interval) < first
    assert following.time == first


@given(
    st.lists(
        st.tuples(st.integers(0, 200_000_000), st.integers(1, 10**8), st.integers(1, 10**9)), min_size=1, max_size=60
    ),
    st.sampled_from(["1s", "1m", "5m", "1h", "1d", "1w", "1M"]),
)
def test_one_by_one_or_all_at_once_the_candles_are_the_same(steps: list[tuple[int, int, int]], interval: str) -> None:
    trades, time = [], 0
    for n, (wait, price, qty) in enumerate(steps):
        time += wait
        trades.append(trade(n + 1, time, price / 100, qty / 10**5))
    frame = candles.from_trades(trades, interval, 0, {})
    traded = frame[frame["trades"] > 0]
    made = bars(Fold("BTC/USDT", interval), trades)
    assert [bar.time for bar in made] == candles.open_times(traded).tolist()
    for name in ("open", "high", "low", "close", "trades"):
        assert [getattr(bar, name) for bar in made] == traded[name].tolist()
    for name in ("volume", "quote_volume"):
        np.testing.assert_allclose([getattr(bar, name) for bar in made], traded[name], rtol=1e-13)


# -- against what venues sent


def test_real_trades_sum_up_to_the_decimals_that_binance_would_write(recording: Callable[[str], Path]) -> None:
    fold, exact, made = Fold("BTC/USDT", "1m"), dict[int, list[tuple[Decimal, Decimal]]](), dict[int, Candle]()
    trades = []
    with gzip.open(recording("binance_spot_btcusdt_20240808.gz"), "rb") as lines:
        for line in lines:
            if b'"e":"trade"' in line:
                frame = line.partition(b" ")[2]
                (one,) = BINANCE.decode(frame)
                assert isinstance(one, Trade)
                said = json.loads(frame)
                said = said.get("data", said)
                trades.append(one)
                exact.setdefault(one.time // MINUTE * MINUTE, []).append((Decimal(said["p"]), Decimal(said["q"])))
                bar = fold.add(one)
                made[bar.time] = bar
    assert len(made) >= 5
    for time, parts in exact.items():
        assert made[time].volume == float(sum(qty for _, qty in parts))
        assert made[time].quote_volume == float(sum(price * qty for price, qty in parts))
        assert made[time].trades == len(parts)
    at_once = candles.from_trades(trades, "1m", 0, {})
    columns = {name: [getattr(bar, name) for bar in made.values()] for name in VALUES[1:]}
    folded = pd.DataFrame(columns, index=at_once.index)
    pd.testing.assert_frame_equal(folded, at_once[list(VALUES[1:])], check_exact=False, rtol=1e-13)


def us_events(path: Path) -> Iterator[Any]:
    """Candles and trades of the Binance US recording; its aggregate trades are single ones, but for their name."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row["t"] == "recv" and ("kline" in row["data"] or "aggTrade" in row["data"]):
                said = json.loads(row["data"])["data"]
                if said["e"] == "kline":
                    yield from BINANCE.decode(row["data"])
                else:
                    assert said["f"] == said["l"]
                    yield Trade(said["s"], said["f"], float(said["p"]), float(said["q"]), said["T"] * 1000, Side.BUY)


def test_folded_bars_equal_the_bars_that_binance_streamed(recording: Callable[[str], Path]) -> None:
    events = list(us_events(recording("binance_us_20211012.jsonl.gz")))
    told = [event for event in events if isinstance(event, Candle)]
    trades = [event for event in events if isinstance(event, Trade)]
    fold = Fold("OMGBUSD", "1m", told[0])
    made = {bar.last_trade: bar for bar in (fold.add(one) for one in trades)}
    assert len(told) == 5
    for bar in told[1:]:
        assert values(made[bar.last_trade]) == values(bar)
