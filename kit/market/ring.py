"""What the live frames share: room for rows, and plain DataFrames around it.

One thread writes, any thread reads, and neither ever waits for the other. A row that has been counted never changes
again, and a whole state is published by a single reference. So a reader sees the state before a write or after it,
never a torn row, and no later write shows in a frame already handed out. Memory is bounded by rows.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.internals import create_dataframe_from_blocks  # type: ignore[import-not-found]  # newer than the stubs

from kit.market.candles import Attrs, Times, index

SOURCES = pd.CategoricalDtype(["rest", "ws", "backfill"])
"""Where a row came from: history by REST, the stream, or REST after the stream had lost something."""
SOURCE_CODE = {name: code for code, name in enumerate(SOURCES.categories)}
UNTOLD = int(np.iinfo(np.int64).min)
"""A moment nobody told: NaT in a column of times."""

Places = npt.NDArray[np.int64]
Parts = list[tuple[Any, Places]]
"""Columns of one kind together, and where in the frame they stand."""


class Block:
    """Room for ``rows`` rows of some floats, ints and one-byte codes. Rows below the published count are final.

    A row lies in one piece, because then a single call writes it (``pack``, at ``stop * size`` of ``room``): that takes
    two thirds of the time that a call for each column takes, and with the machine's own number types a third of that
    again (``n``, the signed ``size_t``, is read faster than ``q``). ``floats``, ``ints`` and ``codes`` are views of the
    columns, one a row.
    """

    def __init__(self, rows: int, *, floats: int, ints: int, codes: int) -> None:
        self.rows, self._kinds = rows, (floats, ints, codes)
        self.before = 0
        """How many rows came before the first one here."""
        numbers = floats + ints
        words = numbers + -(-codes // 8)
        self.size = 8 * words
        self.pack = Struct(f"@{floats}d{ints}n{codes}b{8 * (words - numbers) - codes}x").pack_into
        self._table = np.zeros((rows, words))
        self.room = self._table.data.cast("B")
        self.floats = self._table[:, :floats].T
        self.ints = self._table.view(np.int64)[:, floats:numbers].T
        self.codes = self._table.view(np.int8)[:, 8 * numbers : 8 * numbers + codes].T

    def continued(self, start: int, stop: int) -> Block:
        """A new block of the same size that begins with this one's rows ``start`` to ``stop``."""
        floats, ints, codes = self._kinds
        new = Block(self.rows, floats=floats, ints=ints, codes=codes)
        new._table[: stop - start] = self._table[start:stop]
        new.before = self.before + start
        return new


class Tail:
    """The newest ``capacity`` rows of what never changes once it was told.

    A snapshot is a view of the ring, and costs the same however long it is: pandas copies when somebody writes to it.
    A kind of row says which columns it has (``_parts``) and fills them (``put``).
    """

    COLUMNS: ClassVar[pd.Index]

    def __init__(self, capacity: int, *, floats: int, ints: int, codes: int) -> None:
        self.capacity = capacity
        self._publish(Block(2 * capacity + 1, floats=floats, ints=ints, codes=codes), 0)

    def __len__(self) -> int:
        return min(self._state[2], self.capacity)

    @property
    def version(self) -> int:
        """How many rows were taken."""
        block, _, stop = self._state
        return block.before + stop

    def snapshot(self, attrs: Attrs) -> pd.DataFrame:
        """A frame of the caller's own, with these ``attrs``."""
        _, whole, stop = self._state
        frame = whole.iloc[max(0, stop - self.capacity) : stop]
        frame.attrs = dict(attrs)
        return frame

    def _index(self, block: Block) -> pd.DatetimeIndex:
        raise NotImplementedError

    def _parts(self, block: Block) -> Parts:
        raise NotImplementedError

    def _publish(self, block: Block, stop: int) -> None:
        """Go on in ``block``, with one frame around all of it, of which snapshots are slices."""
        whole = create_dataframe_from_blocks(self._parts(block), index=self._index(block), columns=self.COLUMNS)
        self._state: tuple[Block, pd.DataFrame, int] = (block, whole, stop)

    def _go_on(self) -> tuple[Block, pd.DataFrame, int]:
        """The state in a new block that begins with what is kept of the full one."""
        block, _, stop = self._state
        self._publish(block.continued(stop - self.capacity, stop), self.capacity)
        return self._state


def categories(codes: npt.NDArray[np.int8], dtype: pd.CategoricalDtype) -> pd.Categorical:
    """A categorical column around ready codes, without a copy."""
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def moments(times: Times) -> Any:
    """A column of UTC times around µs, without a copy; ``UNTOLD`` is NaT."""
    return index(times).array


def places(*at: int) -> Places:
    """Where columns stand in a frame."""
    return np.array(at)
