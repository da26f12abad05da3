"""The live frames: what a row costs to take in and what a plain DataFrame of 10,000 rows costs to hand out, in one run.

The yardstick for a snapshot is an equal frame, all columns, built the plain way from arrays that lie ready, with one
copy of them. Ratios are of the best of interleaved rounds, so that a busy machine slows both sides alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kit.market import candles
from kit.market.frame import CandleRing, QuoteRing, TradeRing
from kit.model import Candle, Quote, Side, Trade

pytestmark = pytest.mark.bench

ROWS = 10_000
MINUTE = 60_000_000
ATTRS = candles.labels("BTC/USDT", "1m", "binance", "SANDBOX")
Ring = CandleRing | TradeRing | QuoteRing


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


def prints(count: int) -> list[Trade]:
    return [Trade("X", n, 1.0 + n, 0.5, n * 1_000, Side.BUY) for n in range(count)]


def quotes(count: int) -> list[Quote]:
    return [Quote("X", 1.0 + n, 2.0, 1.5 + n, 3.0, n) for n in range(count)]


def fill_candles(rows: list[Candle], capacity: int = ROWS) -> CandleRing:
    ring = CandleRing(capacity)
    for row in rows:
        ring.put(row, "ws", row.time + 7)
    return ring


def fill_trades(rows: list[Trade], capacity: int = ROWS) -> TradeRing:
    ring = TradeRing(capacity)
    for row in rows:
        ring.put(row, "ws", row.time + 7)
    return ring


def fill_quotes(rows: list[Quote], capacity: int = ROWS, *, changes_only: bool = False) -> QuoteRing:
    ring = QuoteRing(capacity, changes_only=changes_only)
    for row in rows:
        ring.put(row, "ws", row.update_id)
    return ring


def full_candles() -> CandleRing:
    """10,000 rows, the last one forming."""
    ring = fill_candles(bars(ROWS - 1))
    ring.put(Candle("X", "1m", ROWS * MINUTE, 1.0, 2.0, 0.5, 1.5, 10.0, 20.0, 3, False), "ws", ROWS * MINUTE)
    return ring


def plainly(told: pd.DataFrame) -> Callable[[], pd.DataFrame]:
    """Builds a frame equal to ``told`` from ready arrays, with one copy."""
    ready: dict[str, Any] = {name: told[name].array.copy() for name in told.columns}
    times, name = candles.open_times(told).copy(), told.index.name

    def build() -> pd.DataFrame:
        frame = pd.DataFrame(ready, index=candles.index(times.copy()).rename(name), copy=True)
        frame.attrs.update(ATTRS)
        return frame

    return build


def changed(ring: Ring) -> Callable[[], pd.DataFrame]:
    """Reads a ring that has changed since it was read last."""

    def read() -> pd.DataFrame:
        if isinstance(ring, CandleRing):
            ring._built = None
        return ring.snapshot(ATTRS)

    return read


def test_a_snapshot_costs_little_more_than_an_equal_frame_from_ready_arrays() -> None:
    rings: Mapping[str, Ring] = {
        "candles": full_candles(),
        "trades": fill_trades(prints(ROWS)),
        "quotes": fill_quotes(quotes(ROWS)),
    }
    print("\n10,000 rows      ready arrays   changed          unchanged, in µs and as ratio")
    for name, ring in rings.items():
        plain = plainly(ring.snapshot(ATTRS))
        pd.testing.assert_frame_equal(changed(ring)(), plain())
        floor, snapshot, again = best(plain, changed(ring), lambda ring=ring: ring.snapshot(ATTRS))  # type: ignore[misc]  # mypy can't infer a lambda's default
        print(
            f"{name:<16} {floor * 1e6:12.0f} {snapshot * 1e6:9.0f} {snapshot / floor:6.2f} "
            f"{again * 1e6:9.0f} {again / floor:6.2f}"
        )
        assert snapshot <= 1.5 * floor
        assert again <= 0.3 * floor


def test_a_frame_of_what_never_changes_costs_the_same_however_long_it_is() -> None:
    small, large = fill_trades(prints(1_000), 1_000), fill_trades(prints(200_000), 200_000)
    few, many = best(lambda: small.snapshot({}), lambda: large.snapshot({}))
    print(f"\ntrades: 1,000 rows {few * 1e6:.0f} µs, 200,000 rows {many * 1e6:.0f} µs, ratio {many / few:.2f}")
    assert many <= 3 * few


def test_a_row_is_taken_in_within_a_few_times_of_a_list_and_read_much_faster() -> None:
    rows, trades, bests = bars(ROWS), prints(ROWS), quotes(ROWS)
    forming = [Candle("X", "1m", 0, 1.0, 2.0, 0.5, 1.5, 10.0, 20.0, n, False) for n in range(ROWS)]

    def tuples() -> list[tuple[object, ...]]:
        kept: list[tuple[object, ...]] = []
        for b in rows:
            kept += [(b.time, b.open, b.high, b.low, b.close, b.volume, b.quote_volume, b.trades, b.closed)]
        return kept

    works: dict[str, Callable[[], object]] = {
        "list of tuples": tuples,
        "closed candles": lambda: fill_candles(rows),
        "a forming candle": lambda: fill_candles(forming),
        "trades": lambda: fill_trades(trades),
        "quotes": lambda: fill_quotes(bests),
        "tops": lambda: fill_quotes(bests, changes_only=True),
    }
    took = [seconds / ROWS * 1e9 for seconds in best(*works.values(), rounds=10, times=1)]
    print("\nns a row")
    for name, ns in zip(works, took, strict=True):
        print(f"{name:<16} {ns:6.0f} {ns / took[0]:6.2f}")
    kept, ring = tuples(), full_candles()
    times = candles.index(np.array([bar.time for bar in rows]))
    slow, fast = best(lambda: pd.DataFrame(kept, index=times), changed(ring), rounds=40, times=1)
    print(f"a read: of the list {slow * 1e6:.0f} µs, of the candle ring {fast * 1e6:.0f} µs")
    assert max(took[1:]) <= 6 * took[0]
    assert fast <= slow / 5


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_memory_is_flat_over_ten_million_rows() -> None:
    rings = CandleRing(ROWS), TradeRing(50_000), QuoteRing(50_000), QuoteRing(50_000, changes_only=True)
    candle_ring, trade_ring, quote_ring, top_ring = rings
    sizes = []
    for n in range(2_500_000):
        candle_ring.put(Candle("X", "1m", n // 100 * MINUTE, 1.0, 2.0, 0.5, 1.5, 10.0, 20.0, n, False), "ws", n)
        trade_ring.put(Trade("X", n, 1.0, 1.0, n, Side.BUY), "ws", n)
        told = Quote("X", 1.0 + n % 7, 2.0, 9.0, 3.0, n)
        quote_ring.put(told, "ws", n)
        top_ring.put(told, "ws", n)
        if n % 250_000 == 249_999:
            for ring in rings:
                ring.snapshot(ATTRS)
            sizes.append(resident() / 2**20)
    print("\nMiB after each million rows: " + " ".join(f"{size:.0f}" for size in sizes))
    assert max(sizes) <= sizes[0] + 16


def test_pages_of_history_are_taken_in_at_once() -> None:
    told = fill_candles(bars(ROWS)).snapshot(ATTRS)
    columns = {name: told[name].to_numpy() for name in candles.COLUMNS[:-1]} | {"time": candles.open_times(told)}
    closed = np.ones(ROWS, bool)
    rows = bars(ROWS)

    def at_once() -> None:
        CandleRing(ROWS).extend(columns, closed, "rest", 7)

    one_by_one, together = best(lambda: fill_candles(rows), at_once, rounds=10, times=1)
    print(f"\n10,000 bars: one by one {one_by_one * 1e6:.0f} µs, at once {together * 1e6:.0f} µs")
    assert together <= one_by_one / 5
