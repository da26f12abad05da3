"""Live frames: columns in a ring inside, plain DataFrames outside.

One thread writes, any thread reads, and neither ever waits for the other. A row that has been counted never changes
again; what still changes (the forming bar) is one tuple, and a whole state is published by a single reference. So a
reader sees the state before a write or after it, never a torn row, and no later write shows in a frame already handed
out. Memory is bounded by rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.internals import create_dataframe_from_blocks  # type: ignore[import-not-found]  # newer than the stubs

from kit.market.candles import COLUMNS, FLOATS, Array, Attrs, index
from kit.model import Candle, Side, Trade

SOURCES = pd.CategoricalDtype(["rest", "ws", "backfill"])
"""Where a row came from: history by REST, the stream, or REST after the stream had lost something."""
SIDES = pd.CategoricalDtype([side.value for side in Side])

CANDLE_COLUMNS = pd.Index([*COLUMNS, "source"])
_CANDLE_PLACES = tuple(np.array(places) for places in (range(6), [6], [7], [8]))
TRADE_COLUMNS = pd.Index(["id", "price", "qty", "side", "source"])

_SOURCE_CODE = {name: code for code, name in enumerate(SOURCES.categories)}
_SIDE_CODE = {side: code for code, side in enumerate(Side)}


class Block:
    """Room for ``rows`` rows, column by column. Rows below the published count are never written again."""

    def __init__(self, rows: int, *, floats: int, ints: int, codes: int) -> None:
        self.rows = rows
        self.floats = np.zeros((floats, rows))
        self.ints = np.zeros((ints, rows), np.int64)
        self.codes = np.zeros((codes, rows), np.int8)
        parts: tuple[Array, ...] = (self.floats, self.ints, self.codes)
        self.cells: list[Any] = [memoryview(row) for part in parts for row in part]
        """One memoryview a column, floats first: a number is written a third faster than through the array."""

    def continued(self, start: int, stop: int) -> Block:
        """A new block of the same size that begins with this one's rows ``start`` to ``stop``."""
        new = Block(self.rows, floats=len(self.floats), ints=len(self.ints), codes=len(self.codes))
        for mine, its in ((self.floats, new.floats), (self.ints, new.ints), (self.codes, new.codes)):
            its[:, : stop - start] = mine[:, start:stop]
        return new


CandleState = tuple[Block, int, int, Candle | None, int]
"""All a reader needs: closed rows of the block from start to stop, the bar still forming, its source's code."""


class CandleRing:
    """The newest ``capacity`` candles of one instrument and interval, ascending, each open time once.

    A closed bar is final: whatever comes for it later is ignored. Of two versions of a forming bar the one with more
    trades is the newer. A bar is closed when the venue says so, or when the next one begins.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.version = 0
        """Counts the changes."""
        self.closes = 0
        """Counts the bars that closed since the ring was made."""
        self.last_time: int | None = None
        """Open time (µs) of the newest bar, None while empty."""
        self._state: CandleState = (Block(2 * capacity + 1, floats=6, ints=2, codes=1), 0, 0, None, 0)
        self._built: tuple[CandleState, pd.DataFrame] | None = None

    def __len__(self) -> int:
        _, start, stop, forming, _ = self._state
        return stop - start + (forming is not None)

    @property
    def forming(self) -> Candle | None:
        """The newest bar while it is not closed."""
        return self._state[3]

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """Open times (µs) of the closed bars: a view that never changes."""
        block, start, stop, _, _ = self._state
        return block.ints[0, start:stop]

    def put(self, candle: Candle, source: str) -> bool:
        """Take one bar; False when it says nothing new (older than the newest, closed already, an earlier version)."""
        block, start, stop, forming, code = self._state
        last = self.last_time
        if last is not None and candle.time <= last:
            newer = forming is not None and candle.time == last and (candle.closed or candle.trades >= forming.trades)
            if not newer:
                return False
        elif forming is not None:
            self._close(forming, code)
            block, start, stop, _, _ = self._state
        if candle.closed:
            self._close(candle, _SOURCE_CODE[source])
        else:
            self._state = (block, start, stop, candle, _SOURCE_CODE[source])
        self.last_time = candle.time
        self.version += 1
        return True

    def _close(self, candle: Candle, code: int) -> None:
        """Write a final row, then publish it: a reader that holds the old state does not look that far."""
        block, start, stop, _, _ = self._state
        if stop == block.rows:
            block, start, stop = block.continued(stop - self.capacity, stop), 0, self.capacity
        opens, highs, lows, closes, volumes, quote_volumes, times, trades, sources = block.cells
        opens[stop], highs[stop], lows[stop], closes[stop] = candle.open, candle.high, candle.low, candle.close
        volumes[stop], quote_volumes[stop], trades[stop] = candle.volume, candle.quote_volume, candle.trades
        times[stop], sources[stop] = candle.time, code
        stop += 1
        self._state = (block, max(start, stop - self.capacity), stop, None, 0)
        self.closes += 1

    def extend(self, columns: Mapping[str, Array], closed: npt.NDArray[np.bool_], source: str) -> int:
        """Take many bars, ascending; how many of them said something new."""
        rows = zip(*(columns[name].tolist() for name in ("time", *FLOATS, "trades")), closed.tolist(), strict=True)
        return sum(self.put(Candle("", "", *row), source) for row in rows)

    def snapshot(self, attrs: Attrs) -> pd.DataFrame:
        """The candle frame (``kit.market.candles``) with a column ``source`` more, as a frame of the caller's own.

        An unchanged ring answers from what it built before: the data is shared until somebody writes to their frame.
        """
        state, built = self._state, self._built
        if built is None or built[0] is not state:
            built = self._built = (state, self._build(state))
        frame = built[1].copy(deep=False)
        frame.attrs = dict(attrs)
        return frame

    def _build(self, state: CandleState) -> pd.DataFrame:
        block, start, stop, forming, code = state
        start = max(start, stop - self.capacity + (forming is not None))
        count, rows = stop - start, stop - start + (forming is not None)
        floats, ints, codes = np.empty((6, rows)), np.empty((2, rows), np.int64), np.empty(rows, np.int8)
        closed = np.ones((1, rows), bool)
        floats[:, :count] = block.floats[:, start:stop]
        ints[:, :count] = block.ints[:, start:stop]
        codes[:count] = block.codes[0, start:stop]
        if forming is not None:
            floats[:, count] = [getattr(forming, name) for name in FLOATS]
            ints[:, count] = forming.time, forming.trades
            codes[count], closed[0, count] = code, False
        parts = (floats, ints[1:], closed, categories(codes, SOURCES))
        blocks = list(zip(parts, _CANDLE_PLACES, strict=True))
        frame: pd.DataFrame = create_dataframe_from_blocks(blocks, index=index(ints[0]), columns=CANDLE_COLUMNS)
        return frame


class TradeRing:
    """The newest ``capacity`` public trades of one instrument, ascending by id, each id once.

    A trade never changes, so a snapshot is a view of the ring: pandas copies when somebody writes to it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.version = 0
        """Counts the trades taken."""
        self.last_id: int | None = None
        self._start_block(Block(2 * capacity + 1, floats=2, ints=2, codes=2), 0)

    def _start_block(self, block: Block, stop: int) -> None:
        """Publish ``block`` and one frame around all of it, of which snapshots are slices."""
        blocks = [
            (block.ints[1:], np.array([0])),
            (block.floats, np.array([1, 2])),
            (categories(block.codes[0], SIDES), np.array([3])),
            (categories(block.codes[1], SOURCES), np.array([4])),
        ]
        whole = create_dataframe_from_blocks(blocks, index=index(block.ints[0]), columns=TRADE_COLUMNS)
        self._state: tuple[Block, pd.DataFrame, int] = (block, whole, stop)

    def __len__(self) -> int:
        return min(self._state[2], self.capacity)

    def put(self, trade: Trade, source: str) -> bool:
        """Take one trade; False when its id is not above the newest."""
        if self.last_id is not None and trade.id <= self.last_id:
            return False
        block, whole, stop = self._state
        if stop == block.rows:
            self._start_block(block.continued(stop - self.capacity, stop), self.capacity)
            block, whole, stop = self._state
        prices, qtys, times, ids, sides, sources = block.cells
        prices[stop], qtys[stop], times[stop], ids[stop] = trade.price, trade.qty, trade.time, trade.id
        sides[stop], sources[stop] = _SIDE_CODE[trade.side], _SOURCE_CODE[source]
        self._state = (block, whole, stop + 1)
        self.last_id = trade.id
        self.version += 1
        return True

    def snapshot(self, attrs: Attrs) -> pd.DataFrame:
        """A frame of the caller's own: index ``time`` (UTC), columns ``id price qty side source``.

        The side is the taker's.
        """
        _, whole, stop = self._state
        frame = whole.iloc[max(0, stop - self.capacity) : stop]
        frame.attrs = dict(attrs)
        return frame


def categories(codes: npt.NDArray[np.int8], dtype: pd.CategoricalDtype) -> pd.Categorical:
    """A categorical column around ready codes, without a copy."""
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
