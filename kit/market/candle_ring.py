"""The live frame of candles: closed bars, and the one still forming."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.internals import create_dataframe_from_blocks  # type: ignore[import-not-found]  # newer than the stubs

from kit.market.candles import COLUMNS, FLOATS, Array, Attrs, Times, index
from kit.market.ring import SOURCE_CODE, SOURCES, UNTOLD, Block, categories, moments, places
from kit.model import Candle

CANDLE_COLUMNS = pd.Index([*COLUMNS, "source", "recv_ts"])
_FLOATS, _TRADES, _CLOSED, _SOURCE, _RECEIVED = places(*range(6)), places(6), places(7), places(8), places(9)

State = tuple[Block, int, Candle | None, int, int]
"""All a reader needs: a block, how many closed rows are in it, the bar still forming, its source's code and when it
was received."""


class CandleRing:
    """The newest ``capacity`` candles of one instrument and interval, ascending, each open time once.

    Its frame is that of ``kit.market.candles`` with two columns more: ``source``, and ``recv_ts`` (UTC), when the row
    was received as it stands. A bar is closed when the venue says so, or when the next one begins; from then on it is
    final, and whatever comes for it is ignored. Until then ``newer`` decides between two versions of it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.version = 0
        """Counts the changes."""
        self.last_time: int | None = None
        """Open time (µs) of the newest bar, None while empty."""
        self._state: State = (Block(2 * capacity + 1, floats=6, ints=3, codes=1), 0, None, 0, 0)
        self._built: tuple[State, pd.DataFrame] | None = None

    def __len__(self) -> int:
        _, stop, forming, _, _ = self._state
        return min(stop + (forming is not None), self.capacity)

    @property
    def closes(self) -> int:
        """How many bars closed since the ring was made."""
        block, stop, _, _, _ = self._state
        return block.before + stop

    @property
    def forming(self) -> Candle | None:
        """The newest bar while it is not closed."""
        return self._state[2]

    @property
    def times(self) -> Times:
        """Open times (µs) of the closed bars: a view that never changes."""
        block, stop, _, _, _ = self._state
        return block.ints[0, max(0, stop - self.capacity) : stop]

    def put(self, candle: Candle, source: str, received: int = 0) -> bool:
        """Take one bar, received at ``received`` (µs).

        False when it says nothing new: older than the newest, closed already, not ``newer`` than what is there.
        """
        block, stop, forming, code, seen = self._state
        last = self.last_time
        if last is not None and candle.time <= last:
            if candle.time < last or forming is None or not (candle.closed or newer(candle, forming)):
                return False
        elif forming is not None:
            self._close(forming, code, seen)
            block, stop, _, _, _ = self._state
        if candle.closed:
            self._close(candle, SOURCE_CODE[source], received or UNTOLD)
        else:
            self._state = (block, stop, candle, SOURCE_CODE[source], received or UNTOLD)
        self.last_time = candle.time
        self.version += 1
        return True

    def extend(
        self, columns: Mapping[str, Array], closed: npt.NDArray[np.bool_], source: str, received: int = 0
    ) -> int:
        """Take many bars, ascending, received at ``received`` (µs); how many of them said something new."""
        times = columns["time"]
        first = 0 if self.last_time is None else int(np.searchsorted(times, self.last_time))
        alone = [first] if first < len(times) and times[first] == self.last_time else []
        rest = first + len(alone)
        taken = sum(self.put(_candle(columns, at, closed), source, received) for at in alone)
        if rest < len(times) - 1:
            self._close_many(columns, range(rest, len(times) - 1), SOURCE_CODE[source], received or UNTOLD)
            taken += len(times) - 1 - rest
        if rest < len(times):
            taken += self.put(_candle(columns, len(times) - 1, closed), source, received)
        return taken

    def drop_forming(self) -> None:
        """Forget the bar that was forming: how it ended can't be had any more, and what it was is not how it closed."""
        block, stop, forming, _, _ = self._state
        if forming is not None:
            self.last_time = int(block.ints[0, stop - 1]) if stop else None
            self._state = (block, stop, None, 0, 0)
            self.version += 1

    def _close(self, candle: Candle, code: int, received: int) -> None:
        """Write a final row, then publish it: a reader that holds the old state does not look that far."""
        block, stop, _, _, _ = self._state
        if stop == block.rows:
            block, stop = block.continued(stop - self.capacity, stop), self.capacity
        block.pack(
            block.room, stop * block.size,
            candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume,
            candle.time, candle.trades, received, code,
        )  # fmt: skip
        self._state = (block, stop + 1, None, 0, 0)

    def _close_many(self, columns: Mapping[str, Array], rows: range, code: int, received: int) -> None:
        """As ``_close``, for these rows of ``columns``, which are newer than all that is there."""
        block, stop, forming, its_code, its_received = self._state
        if forming is not None:
            self._close(forming, its_code, its_received)
        for first in rows[:: self.capacity]:
            block, stop, _, _, _ = self._state
            after = min(first + self.capacity, rows.stop)
            if stop + after - first > block.rows:
                block, stop = block.continued(stop - self.capacity, stop), self.capacity
            end = stop + after - first
            for name, room in zip((*FLOATS, "time", "trades"), (*block.floats, *block.ints[:2]), strict=True):
                room[stop:end] = columns[name][first:after]
            block.ints[2, stop:end], block.codes[0, stop:end] = received, code
            self._state = (block, end, None, 0, 0)
        self.version += len(rows)
        self.last_time = int(columns["time"][rows[-1]])

    def snapshot(self, attrs: Attrs) -> pd.DataFrame:
        """The candle frame as a frame of the caller's own, with these ``attrs``.

        An unchanged ring answers from what it built before: the data is shared until somebody writes to their frame.
        """
        state, built = self._state, self._built
        if built is None or built[0] is not state:
            built = self._built = (state, self._build(state))
        frame = built[1].copy(deep=False)
        frame.attrs = dict(attrs)
        return frame

    def _build(self, state: State) -> pd.DataFrame:
        block, stop, forming, code, received = state
        start = max(0, stop - self.capacity + (forming is not None))
        count, rows = stop - start, stop - start + (forming is not None)
        floats, ints, codes = np.empty((6, rows)), np.empty((3, rows), np.int64), np.empty(rows, np.int8)
        closed = np.ones((1, rows), bool)
        floats[:, :count] = block.floats[:, start:stop]
        ints[:, :count] = block.ints[:, start:stop]
        codes[:count] = block.codes[0, start:stop]
        if forming is not None:
            floats[:, count] = _amounts(forming)
            ints[:, count] = forming.time, forming.trades, received
            codes[count], closed[0, count] = code, False
        parts = [
            (floats, _FLOATS),
            (ints[1:2], _TRADES),
            (closed, _CLOSED),
            (categories(codes, SOURCES), _SOURCE),
            (moments(ints[2]), _RECEIVED),
        ]
        frame: pd.DataFrame = create_dataframe_from_blocks(parts, index=index(ints[0]), columns=CANDLE_COLUMNS)
        return frame


def newer(one: Candle, other: Candle) -> bool:
    """True when ``one`` is a later version of the forming bar ``other``.

    The one with more trades is. A venue that counts none (Coinbase's candles, 0 throughout) is read by the volume, and
    where that is equal too a version with a count says more than one without. Versions that count the same and yet
    differ (a quote volume worked out from a rounded average price) are taken as they are told, the later told is the
    newer; a version equal in all of its columns tells nothing.
    """
    if one.trades and other.trades:
        mine, its = (float(one.trades), 0), (float(other.trades), 0)
    else:
        mine, its = (one.volume, one.trades), (other.volume, other.trades)
    return mine > its or (mine == its and _amounts(one) != _amounts(other))


def _amounts(candle: Candle) -> tuple[float, ...]:
    return candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume


def _candle(columns: Mapping[str, Array], at: int, closed: npt.NDArray[np.bool_]) -> Candle:
    """A row of ``columns`` as a bar; the ring knows whose it is."""
    values = {name: columns[name][at].item() for name in ("time", *FLOATS, "trades")}
    return Candle(symbol="", interval="", closed=bool(closed[at]), **values)
