"""The live frame: what a row costs to take in and what a plain DataFrame of 10,000 rows costs to hand out, in one run.

The yardstick for a snapshot is an equal frame built the plain way from arrays that lie ready, with one copy of them.
Ratios are of the best of interleaved rounds, so that a busy machine slows both sides alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from kit.market import candles
from kit.market.frame import SOURCES, CandleRing, TradeRing
from kit.model import Candle, Side, Trade

pytestmark = pytest.mark.bench

ROWS = 10_000
MINUTE = 60_000_000
ATTRS = candles.labels("BTC/USDT", "1m", "binance", "SANDBOX")


def best(*works: Callable[[], object], rounds: int = 60, times: int = 20) -> list[float]:
    """Seconds a call, the best of interleaved rounds, for each of the works."""
    found = [float("inf")] * len(works)
    for _ in range(rounds):
        for place, work in enumerate(works):
            began = time.perf_counter()
            for _ in range(times):
                work()
            found[place] = min(found[place], (time.perf_counter() - began) / times)
    return found


def bars(count: int) -> list[Candle]:
    return [Candle("X", "1m", n * MINUTE, 1.0 + n, 2.0 + n, 0.5, 1.5 + n, 10.0, 20.0, n, True) for n in range(count)]


def full() -> CandleRing:
    """10,000 rows, the last one forming."""
    ring = CandleRing(ROWS)
    for bar in bars(ROWS - 1):
        ring.put(bar, "ws")
    ring.put(Candle("X", "1m", ROWS * MINUTE, 1.0, 2.0, 0.5, 1.5, 10.0, 20.0, 3, False), "ws")
    return ring


def test_a_snapshot_costs_little_more_than_an_equal_frame_from_ready_arrays() -> None:
    ring = full()
    told = ring.snapshot(ATTRS)
    arrays = {name: told[name].to_numpy() for name in candles.COLUMNS}
    codes, times = np.asarray(told["source"].cat.codes), candles.open_times(told)

    def plain() -> pd.DataFrame:
        source = pd.Categorical.from_codes(codes, dtype=SOURCES)
        frame = pd.DataFrame({**arrays, "source": source}, index=candles.index(times.copy()), copy=True)
        frame.attrs.update(ATTRS)
        return frame

    def changed() -> pd.DataFrame:
        ring._built = None
        return ring.snapshot(ATTRS)

    pd.testing.assert_frame_equal(changed(), plain())
    floor, snapshot, again = best(plain, changed, lambda: ring.snapshot(ATTRS))
    print(f"\n10,000 rows          µs   ratio\nfrom ready arrays {floor * 1e6:6.0f}    1.00")
    print(f"changed snapshot  {snapshot * 1e6:6.0f}   {snapshot / floor:5.2f}")
    print(f"unchanged again   {again * 1e6:6.0f}   {again / floor:5.2f}")
    assert snapshot <= 1.5 * floor
    assert again <= 0.3 * floor


def test_a_trade_frame_costs_the_same_however_long_it_is() -> None:
    small, large = TradeRing(1_000), TradeRing(200_000)
    for ring in (small, large):
        for n in range(ring.capacity):
            ring.put(Trade("X", n, 1.0, 1.0, n, Side.BUY), "ws")
    few, many = best(lambda: small.snapshot({}), lambda: large.snapshot({}))
    print(f"\ntrades: 1,000 rows {few * 1e6:.0f} µs, 200,000 rows {many * 1e6:.0f} µs, ratio {many / few:.2f}")
    assert many <= 3 * few


def test_rows_are_taken_in_nearly_as_fast_as_by_a_list_and_read_much_faster() -> None:
    rows, prints = bars(ROWS), [Trade("X", n, 1.0, 1.0, n, Side.BUY) for n in range(ROWS)]

    def tuples() -> list[tuple[object, ...]]:
        kept: list[tuple[object, ...]] = []
        for b in rows:
            kept += [(b.time, b.open, b.high, b.low, b.close, b.volume, b.quote_volume, b.trades, b.closed)]
        return kept

    def candle_ring() -> CandleRing:
        ring = CandleRing(ROWS)
        for bar in rows:
            ring.put(bar, "ws")
        return ring

    def trade_ring() -> None:
        ring = TradeRing(ROWS)
        for one in prints:
            ring.put(one, "ws")

    kept, ring = tuples(), candle_ring()
    times = candles.index(np.array([bar.time for bar in rows]))

    def changed() -> pd.DataFrame:
        ring._built = None
        return ring.snapshot(ATTRS)

    took = [seconds / ROWS * 1e9 for seconds in best(tuples, candle_ring, trade_ring, rounds=10, times=1)]
    read = [s * 1e6 for s in best(lambda: pd.DataFrame(kept, index=times), changed, rounds=40, times=1)]
    print(f"\n                  ns a row   µs a read\nlist of tuples    {took[0]:8.0f}    {read[0]:8.0f}")
    print(f"candle ring       {took[1]:8.0f}    {read[1]:8.0f}\ntrade ring        {took[2]:8.0f}")
    assert max(took[1:]) <= 8 * took[0]
    assert read[1] <= read[0] / 5
