"""The candle frame: its schema, the calendar of bars, holes, resampling and candles from trades."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import HOUR, MINUTE
from kit.errors import BadRange, UnknownName, UsageError
from kit.market import candles
from kit.model import Side, Trade

T0 = candles.moment("2026-01-01", "start")
ATTRS = candles.labels("BTC/USDT", "1m", "sandbox", "SANDBOX")
intervals = st.sampled_from(sorted(candles.INTERVALS))
moments = st.integers(0, candles.moment("2100-01-01", "end"))
NESTING = [
    (short, long)
    for short, long in itertools.product(candles.INTERVALS, repeat=2)
    if short not in ("3d", "1w", "1M") and candles.INTERVALS[long] % candles.INTERVALS[short] == 0
]


def walk(count: int, seed: int, start: int = T0, interval: str = "1m") -> pd.DataFrame:
    """A random walk of ``count`` closed bars."""
    rng = np.random.default_rng(seed)
    close = 100 + rng.integers(-5, 6, count).cumsum() / 4
    opens = np.concatenate(([100.0], close[:-1]))
    times = candles.floor_time(start, interval) + np.arange(count) * candles.interval_us(interval)
    columns = {
        "time": times,
        "open": opens,
        "close": close,
        "high": np.maximum(opens, close) + 0.5,
        "low": np.minimum(opens, close) - 0.5,
        "volume": rng.integers(0, 100, count) / 4,
        "quote_volume": rng.integers(0, 100, count) / 2,
        "trades": rng.integers(0, 9, count),
    }
    return candles.frame(columns, np.ones(count, bool), {**ATTRS, "interval": interval})


# -- the calendar -----------------------------------------------------------------------------------------------------


@given(moments, intervals)
def test_a_moment_lies_in_the_bar_between_its_floor_and_the_next_open(t: int, interval: str) -> None:
    opened, following = candles.floor_time(t, interval), candles.next_time(t, interval)
    assert opened <= t < following
    assert candles.floor_time(opened, interval) == opened
    assert candles.next_time(opened, interval) == following
    assert candles.floor_time(following, interval) == following
    assert candles.floor_time(following - 1, interval) == opened
    assert candles.bars_before(following, interval, 1) == opened
    assert candles.ends(np.array([opened]), interval).tolist() == [following]


@given(moments, intervals, st.integers(0, 500))
def test_stepping_back_and_counting_forward_agree(t: int, interval: str, count: int) -> None:
    back = candles.bars_before(t, interval, count)
    assert candles.bar_count(back, candles.floor_time(t, interval), interval) == count


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    wednesday = candles.moment("2026-07-15 13:30", "t")
    assert candles.iso(candles.floor_time(wednesday, "1w")) == "2026-07-13T00:00:00+00:00"
    assert candles.iso(candles.floor_time(wednesday, "1M")) == "2026-07-01T00:00:00+00:00"
    assert candles.iso(candles.next_time(candles.moment("2024-02-29", "t"), "1M")) == "2024-03-01T00:00:00+00:00"


def test_a_mistyped_interval_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean '1h'"):
        candles.interval_us("1H")
    with pytest.raises(UnknownName, match="1m is a minute, 1M a month"):
        candles.floor_time(0, "1min")


# -- times as users say them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "2026-01-01",
        "2026",
        "2026-01-01T02:00+02:00",
        date(2026, 1, 1),
        datetime(2026, 1, 1),  # noqa: DTZ001 - a naive datetime is what is tested
        datetime(2026, 1, 1, tzinfo=UTC),
        pd.Timestamp("2026-01-01 01:00", tz="Europe/Berlin"),
        np.datetime64("2026-01-01"),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(said: candles.Moment) -> None:
    assert candles.moment(said, "start") == 1_767_225_600_000_000


@pytest.mark.parametrize(
    "said", ["01/02/2026", "now", "", 1_767_225_600, None, pd.NaT, "2026-13-01", "99999-01-01", "1969-12-31"]
)
def test_what_is_no_time_is_refused_by_the_name_of_its_argument(said: object) -> None:
    with pytest.raises(BadRange, match="start="):
        candles.moment(said, "start")  # type: ignore[arg-type]  # that is the test


# -- frames -----------------------------------------------------------------------------------------------------------


def test_every_frame_has_the_schema_even_the_empty_one() -> None:
    for frame in (walk(3, 1), candles.empty(ATTRS), candles.frame(candles.join([]), np.empty(0, bool), ATTRS)):
        assert frame.index.name == "time"
        assert str(frame.index.dtype) == "datetime64[us, UTC]"
        assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
            **dict.fromkeys(candles.FLOATS, "float64"),
            "trades": "int64",
            "closed": "bool",
        }
        assert json.loads(json.dumps(frame.attrs)) == frame.attrs


def test_a_frame_is_made_without_copying_and_never_writes_into_a_read_only_buffer() -> None:
    columns = {name: np.array([1.0, 2.0]) for name in candles.FLOATS}
    columns |= {"time": np.array([T0, T0 + MINUTE]), "trades": np.array([1, 2])}
    for array in columns.values():
        array.flags.writeable = False
    frame = candles.frame(columns, np.array([True, False]), ATTRS)
    assert np.shares_memory(frame["close"].to_numpy(), columns["close"])
    with pytest.raises(ValueError, match="read-only"):
        frame.iloc[0, 0] = 9.0
    assert columns["open"][0] == 1.0
    mine = frame.copy()
    mine.iloc[0, 0] = 9.0
    assert mine.iloc[0, 0] == 9.0


def test_two_frames_with_attrs_can_be_concatenated_and_keep_them() -> None:
    whole = walk(6, 3)
    assert pd.concat([whole[:3], whole[3:]]).attrs == whole.attrs


def test_of_rows_with_the_same_open_time_the_later_page_stays() -> None:
    first, second = walk(4, 1), walk(4, 2, T0 + 2 * MINUTE)
    pages = [{name: frame[name].to_numpy() for name in [*candles.FLOATS, "trades"]} for frame in (first, second)]
    for page, frame in zip(pages, (first, second), strict=True):
        page["time"] = candles.open_times(frame)
    joined = candles.join(pages)
    assert joined["time"].tolist() == [T0 + n * MINUTE for n in range(6)]
    assert joined["close"].tolist() == [*first["close"][:2], *second["close"]]


# -- holes ------------------------------------------------------------------------------------------------------------


@given(st.sampled_from(["1m", "3d", "1w", "1M"]), st.sets(st.integers(0, 30)), st.integers(0, 2), st.integers(0, 2))
def test_holes_and_bars_together_are_the_range(interval: str, kept: set[int], early: int, late: int) -> None:
    opens = [candles.floor_time(T0, interval)]
    while len(opens) < 32:
        opens.append(candles.next_time(opens[-1], interval))
    start, end = opens[0] - early, opens[31] - late
    times = np.array([opens[n] for n in sorted(kept)], dtype=np.int64)
    missing = set()
    for first, after in candles.holes(times, interval, start, end):
        a, b = candles.moment(first, "a"), candles.moment(after, "b")
        missing |= {n for n, t in enumerate(opens) if a <= t < b}
    assert missing == set(range(31)) - kept


def test_an_empty_range_has_no_hole_and_an_empty_answer_is_one() -> None:
    nothing = np.empty(0, np.int64)
    assert candles.holes(nothing, "1h", T0, T0) == []
    assert candles.holes(nothing, "1h", T0 + 1, T0 + HOUR) == []
    assert candles.holes(nothing, "1h", T0, T0 + HOUR) == [["2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00"]]


# -- resampling -------------------------------------------------------------------------------------------------------


@given(st.sampled_from(NESTING), st.integers(0, 99), st.integers(1, 400), st.integers(0, 60))
def test_resampling_in_one_step_or_two_is_the_same(pair: tuple[str, str], seed: int, count: int, skip: int) -> None:
    short, long = pair
    bars = walk(count, seed, T0 + skip * candles.INTERVALS[short], short)
    direct = candles.resample(bars, long)
    by_pandas = bars.groupby([candles.floor_time(t, long) for t in candles.open_times(bars).tolist()]).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "trades": "sum"}
    )
    assert direct[list(by_pandas.columns)].to_numpy().tolist() == by_pandas.to_numpy().tolist()
    for middle in ("5m", "1h"):
        if (short, middle) in NESTING and (middle, long) in NESTING:
            pd.testing.assert_frame_equal(candles.resample(candles.resample(bars, middle), long), direct)


def test_resampling_a_part_of_the_columns_names_the_others() -> None:
    with pytest.raises(UsageError, match="lacks volume, quote_volume, trades, closed"):
        candles.resample(walk(120, 5)[["open", "high", "low", "close"]], "1h")


def test_a_resampled_bar_is_closed_only_when_its_last_piece_has_come() -> None:
    assert candles.resample(walk(120, 5), "1h")["closed"].tolist() == [True, True]
    assert candles.resample(walk(119, 5), "1h")["closed"].tolist() == [True, False]
    forming = walk(120, 5)
    forming.loc[forming.index[-1], "closed"] = False
    assert candles.resample(forming, "1h")["closed"].tolist() == [True, False]


def test_the_part_of_a_resampled_bar_before_the_frame_begins_is_a_hole() -> None:
    bars = candles.resample(walk(90, 5, T0 + 30 * MINUTE), "1h")
    assert bars.attrs["holes"] == [["2026-01-01T00:00:00+00:00", "2026-01-01T00:30:00+00:00"]]
    assert bars.attrs["interval"] == "1h"


def test_resampling_nothing_gives_nothing_with_the_schema() -> None:
    pd.testing.assert_frame_equal(candles.resample(candles.empty(ATTRS), "1d"), candles.empty(ATTRS))


@pytest.mark.parametrize("given", [None, "1m", pd.DataFrame({"open": [1.0]})])
def test_what_does_not_say_its_interval_can_not_be_resampled(given: object) -> None:
    with pytest.raises(UsageError, match=r'attrs\["interval"\]'):
        candles.resample(given, "1h")  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(("short", "long"), [("3d", "1w"), ("1w", "1M"), ("1h", "1m"), ("1M", "1d"), ("2h", "3m")])
def test_bars_that_do_not_fit_are_refused(short: str, long: str) -> None:
    with pytest.raises(UsageError, match="don't fit"):
        candles.resample(candles.empty({**ATTRS, "interval": short}), long)


# -- candles from trades ----------------------------------------------------------------------------------------------


def print_at(second: float, price: float, qty: float = 1.0) -> Trade:
    return Trade("BTC/USDT", int(second), price, qty, T0 + int(second * 1e6), Side.BUY)


def test_candles_from_trades_are_flat_where_nobody_traded() -> None:
    prints = [print_at(5, 10), print_at(10, 12, 2), print_at(59, 11), print_at(185, 20)]
    bars = candles.from_trades(prints, "1m", T0 + 301_000_000, ATTRS)
    assert bars[["open", "high", "low", "close"]].to_numpy().tolist() == [
        [10, 12, 10, 11],
        [11, 11, 11, 11],
        [11, 11, 11, 11],
        [20, 20, 20, 20],
        [20, 20, 20, 20],
        [20, 20, 20, 20],
    ]
    assert bars["volume"].tolist() == [4, 0, 0, 1, 0, 0]
    assert bars["quote_volume"].tolist() == [45, 0, 0, 20, 0, 0]
    assert bars["trades"].tolist() == [3, 0, 0, 1, 0, 0]
    assert bars["closed"].tolist() == [True] * 5 + [False]
    assert candles.from_trades([], "1m", T0, ATTRS).empty


@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(1, 50), st.integers(1, 8)), min_size=1))
def test_minutes_and_hours_from_trades_agree_on_everything_a_quiet_minute_cannot_change(
    drawn: list[tuple[int, int, int]],
) -> None:
    prints = [print_at(second, price / 2, qty / 4) for second, price, qty in sorted(drawn)]
    until = T0 + 3 * HOUR
    minutes = candles.from_trades(prints, "1m", until, ATTRS)
    hours = candles.from_trades(prints, "1h", until, ATTRS)
    same = ["close", "volume", "quote_volume", "trades", "closed"]
    resampled = candles.resample(minutes, "1h")
    assert resampled[same].to_numpy().tolist() == hours[same].to_numpy().tolist()
    assert resampled.index.equals(hours.index)
