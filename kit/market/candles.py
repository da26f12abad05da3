"""The candle frame: its schema, its calendar, and what is missing from it.

A candle frame has a ``DatetimeIndex`` named ``time`` (open times, ``datetime64[us, UTC]``, ascending, unique) and the
columns ``open high low close volume quote_volume`` (float64), ``trades`` (int64) and ``closed`` (bool: False is the
bar still forming). Its ``attrs`` hold JSON values only: ``symbol interval venue environment holes``.

Intervals are Binance's, case-sensitive: ``1m`` is a minute, ``1M`` a month. Every bar opens on a multiple of its length
since the epoch, but weeks open on Monday and months on the first (rest-api.md, "Kline/Candlestick data").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.internals import create_dataframe_from_blocks  # type: ignore[import-not-found]  # newer than the stubs

from kit.clock import DAY, HOUR, MINUTE, SECOND
from kit.errors import BadRange, UnknownName, UsageError
from kit.model import Instrument, Trade

Times = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
Attrs = Mapping[Any, Any]
"""JSON values by name; ``Any`` because pandas calls the names Hashable."""
Moment = str | date | datetime | pd.Timestamp | np.datetime64
"""How a user may say a time; without a zone it is UTC."""

INTERVALS: Mapping[str, int] = {
    "1s": SECOND,
    "1m": MINUTE,
    "3m": 3 * MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "4h": 4 * HOUR,
    "6h": 6 * HOUR,
    "8h": 8 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
    "1w": 7 * DAY,
    "1M": 0,
}
"""Name -> length in µs; a month has no length and counts 0."""

FLOATS = ("open", "high", "low", "close", "volume", "quote_volume")
COLUMNS = pd.Index([*FLOATS, "trades", "closed"])
UTC_US = pd.DatetimeTZDtype("us", "UTC")

_PLACES = tuple((name, np.array([place])) for place, name in enumerate(COLUMNS[:-1]))
_LAST_PLACE = np.array([len(COLUMNS) - 1])
_MONDAY = 4 * DAY  # 1970-01-05: the epoch itself was a Thursday
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINS_WITH_A_YEAR = re.compile(r"\d{4}")


# -- the calendar of bars ---------------------------------------------------------------------------------------------


def interval_us(name: str) -> int:
    """Length of an interval in µs, 0 for the month; UnknownName suggests the nearest."""
    try:
        return INTERVALS[name]
    except (KeyError, TypeError):
        raise UnknownName("interval", name, INTERVALS, "(1m is a minute, 1M a month)") from None


def floor_time(t: int, interval: str) -> int:
    """Open time (µs) of the bar that ``t`` (µs) falls into."""
    step = interval_us(interval)
    if not step:
        return int(_opens(_numbers(np.array([t]), interval), interval)[0])
    return t - (t - _phase(step)) % step


def next_time(t: int, interval: str) -> int:
    """Open time (µs) of the first bar that opens after ``t`` (µs)."""
    step = interval_us(interval)
    if not step:
        return int(_opens(_numbers(np.array([t]), interval) + 1, interval)[0])
    return t - (t - _phase(step)) % step + step


def bars_before(t: int, interval: str, count: int) -> int:
    """Open time (µs) of the bar ``count`` bars before the one ``t`` (µs) falls into."""
    return int(_opens(_numbers(np.array([t]), interval) - count, interval)[0])


def bar_count(start: int, end: int, interval: str) -> int:
    """How many bars open in ``[start, end)`` (µs)."""
    first, last = _numbers(np.array([start - 1, end - 1]), interval)
    return max(0, int(last - first))


def ends(times: Times, interval: str) -> Times:
    """The moments (µs) at which the bars that open at ``times`` (µs) end."""
    return _opens(_numbers(times, interval) + 1, interval)


def holes(times: Times, interval: str, start: int, end: int) -> list[list[str]]:
    """Where bars that should open in ``[start, end)`` are missing from ``times`` (µs, ascending).

    Each hole is ``[first missing open, first open after it]`` as ISO strings, UTC; no hole: an empty list.
    """
    before, last = _numbers(np.array([start - 1, end - 1]), interval)
    numbers = np.concatenate(([before], _numbers(times, interval), [last + 1]))
    at = np.flatnonzero(np.diff(numbers) > 1)
    first, after = _opens(numbers[at] + 1, interval), _opens(numbers[at + 1], interval)
    return [[iso(int(a)), iso(int(b))] for a, b in zip(first, after, strict=True)]


def _phase(step: int) -> int:
    return _MONDAY if step == 7 * DAY else 0


def _numbers(times: Times, interval: str) -> Times:
    """Bars counted from the epoch: the same number, the same bar."""
    step = interval_us(interval)
    if not step:
        return times.astype("M8[us]").astype("M8[M]").astype(np.int64)
    return (times - _phase(step)) // step


def _opens(numbers: Times, interval: str) -> Times:
    step = interval_us(interval)
    if not step:
        return numbers.astype("M8[M]").astype("M8[us]").astype(np.int64)
    return numbers * step + _phase(step)


# -- times as users say them ------------------------------------------------------------------------------------------


def moment(value: Moment, name: str) -> int:
    """A user's time in µs since the epoch; without a zone it is read as UTC. BadRange names the argument ``name``."""
    year_first = not isinstance(value, str) or _BEGINS_WITH_A_YEAR.match(value.strip())
    if not year_first or not isinstance(value, str | date | np.datetime64):
        raise BadRange(
            f"{name}={value!r} is not a time this kit reads; write it year first, as in '2026-01-31', "
            "'2026-01-31 12:30' or '2026-01-31T12:30+02:00', or pass a datetime; nothing was asked"
        )
    since_epoch: int | None = None
    with suppress(ValueError, OverflowError):
        stamp = pd.Timestamp(value)
        stamp = stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")
        if not pd.isna(stamp):
            since_epoch = int(stamp.to_datetime64().astype("M8[us]").astype(np.int64))
    if since_epoch is None:
        raise BadRange(f"{name}={value!r} is no point in time; nothing was asked")
    if since_epoch < 0:
        raise BadRange(f"{name}={value!r} lies before 1970, where no venue's time begins; nothing was asked")
    return since_epoch


def iso(t: int) -> str:
    """``t`` (µs) as ISO 8601 with its zone, which is UTC."""
    return (_EPOCH + timedelta(microseconds=t)).isoformat()


# -- frames -----------------------------------------------------------------------------------------------------------


def labels(
    symbol: str,
    interval: str,
    venue: str,
    environment: str,
    holes: Iterable[Sequence[str]] = (),
    instrument: Instrument | None = None,
) -> dict[str, object]:
    """The ``attrs`` of a candle frame, JSON values only; with the steps of ``instrument``, for backtests."""
    said: dict[str, object] = {"symbol": symbol, "interval": interval, "venue": venue, "environment": environment}
    said["holes"] = [list(hole) for hole in holes]
    if instrument is not None:
        said["instrument"] = {name: str(getattr(instrument, name)) for name in ("tick", "lot", "min_notional")}
    return said


def index(times: Times) -> pd.DatetimeIndex:
    """Times in µs as the frame's index, without a copy: keep the array unchanged."""
    return pd.DatetimeIndex(times, dtype=UTC_US, copy=False, name="time")


def open_times(bars: pd.DataFrame) -> Times:
    """The frame's index as µs since the epoch."""
    return pd.DatetimeIndex(bars.index).as_unit("us").asi8


def frame(columns: Mapping[str, Array], closed: npt.NDArray[np.bool_], attrs: Attrs) -> pd.DataFrame:
    """A candle frame around ready arrays, none of them copied.

    The arrays become the frame's: hand over ones that nobody else writes to. Writable ones can be written to
    through the frame; read-only ones (views of a buffer) make such a write raise ValueError. Dtypes are not checked:
    they are ``time`` int64, ``FLOATS`` float64, ``trades`` int64. Further columns are left out.
    """
    blocks = [(columns[name].reshape(1, -1), place) for name, place in _PLACES]
    blocks.append((closed.reshape(1, -1), _LAST_PLACE))
    built: pd.DataFrame = create_dataframe_from_blocks(blocks, index=index(columns["time"]), columns=COLUMNS)
    built.attrs = dict(attrs)
    return built


def empty(attrs: Attrs) -> pd.DataFrame:
    """A candle frame without rows."""
    return frame(no_columns(), np.empty(0, bool), attrs)


def no_columns() -> dict[str, Array]:
    """Candle columns without rows."""
    counts = {name: np.empty(0, np.int64) for name in ("time", "trades")}
    return {**counts, **{name: np.empty(0) for name in FLOATS}}


def join(pages: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Pages of columns as one, ascending in ``time``; of rows with the same open time the last one given stays."""
    if not pages:
        return no_columns()
    whole = {name: np.concatenate([page[name] for page in pages]) for name in pages[0]} if pages[1:] else dict(pages[0])
    times = whole["time"]
    if (times[1:] > times[:-1]).all():
        return whole
    _, position = np.unique(times[::-1], return_index=True)
    keep = len(times) - 1 - position
    return {name: column[keep] for name, column in whole.items()}


def resample(bars: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Candles of a longer interval from a candle frame (its ``attrs`` name the shorter one).

    A resampled bar is closed when everything in it is closed and its last piece has come. Missing pieces stay in
    ``attrs["holes"]``: those of the source, and the part of the first bar that lies before the frame begins.
    UsageError where bars of the one interval don't fit into bars of the other, or columns are missing.
    """
    if "interval" not in getattr(bars, "attrs", {}):
        raise UsageError(
            "resample() takes a candle frame whose attrs name its interval, as venue.candles(…) and live.frame give; "
            'for a frame of your own say it: frame.attrs["interval"] = "1m"'
        )
    if missing := [name for name in COLUMNS if name not in bars]:
        raise UsageError(f"resample() takes all columns of a candle frame; this one lacks {', '.join(missing)}")
    source = str(bars.attrs["interval"])
    _must_nest(source, interval)
    attrs = {**bars.attrs, "interval": interval}
    if bars.empty:
        return empty(attrs)
    times = open_times(bars)
    numbers = _numbers(times, interval)
    first = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
    opens = _opens(numbers[first], interval)
    missing_before = holes(np.array([int(times[0])]), source, int(opens[0]), int(times[0]))
    attrs["holes"] = [*missing_before, *bars.attrs.get("holes", [])]
    closed = np.logical_and.reduceat(bars["closed"].to_numpy(), first)
    closed[-1] &= ends(times[-1:], source)[0] == ends(opens[-1:], interval)[0]
    return frame(_summed_up({name: bars[name].to_numpy() for name in COLUMNS[:-1]}, first, opens), closed, attrs)


def _summed_up(parts: Mapping[str, Array], first: npt.NDArray[np.intp], opens: Times) -> dict[str, Array]:
    """Columns whose groups begin at the positions ``first``, each group as one bar."""
    last = np.append(first[1:], len(parts["open"])) - 1
    return {
        "time": opens,
        "open": parts["open"][first],
        "high": np.maximum.reduceat(parts["high"], first),
        "low": np.minimum.reduceat(parts["low"], first),
        "close": parts["close"][last],
        **{name: np.add.reduceat(parts[name], first) for name in ("volume", "quote_volume", "trades")},
    }


def _must_nest(source: str, target: str) -> None:
    short, long = interval_us(source), interval_us(target)
    month = not long and (source == target or (short and DAY % short == 0))
    whole = long and short and long % short == 0 and _phase(long) % short == _phase(short) % short
    if not (month or whole):
        raise UsageError(
            f"{source} bars don't fit into {target} bars; ask the venue for {target} candles, or shorter ones that do"
        )


def from_trades(trades: Sequence[Trade], interval: str, until: int, attrs: Attrs) -> pd.DataFrame:
    """Candles of chronological public trades: every bar from the first trade's that opens before ``until`` (µs).

    As in Binance's klines, a bar without trades is flat at the price before it, with no volume; a bar is closed when
    it ends by ``until``. No trades: an empty frame.
    """
    if not trades:
        return empty({**attrs, "interval": interval})
    times = np.array([trade.time for trade in trades])
    prices = np.array([trade.price for trade in trades])
    amounts = np.array([trade.qty for trade in trades])
    numbers = _numbers(times, interval)
    first = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
    parts = {**dict.fromkeys(("open", "high", "low", "close"), prices), "volume": amounts}
    parts |= {"quote_volume": prices * amounts, "trades": np.ones(len(times), np.int64)}
    traded = _summed_up(parts, first, _opens(numbers[first], interval))
    last = max(int(numbers[-1]), int(_numbers(np.array([until - 1]), interval)[0]))
    columns = _with_quiet_bars(traded, numbers[first] - numbers[0], _opens(np.arange(numbers[0], last + 1), interval))
    return frame(columns, ends(columns["time"], interval) <= until, {**attrs, "interval": interval})


def _with_quiet_bars(traded: Mapping[str, Array], places: npt.NDArray[np.integer], opens: Times) -> dict[str, Array]:
    """The bars of ``traded`` at their ``places`` among ``opens``, and flat bars at the last close between them."""
    before = np.searchsorted(places, np.arange(len(opens)), side="right") - 1
    columns: dict[str, Array] = {"time": opens}
    for name in ("open", "high", "low", "close"):
        columns[name] = traded["close"][before]
        columns[name][places] = traded[name]
    for name in ("volume", "quote_volume", "trades"):
        columns[name] = np.zeros(len(opens), traded[name].dtype)
        columns[name][places] = traded[name]
    return columns
