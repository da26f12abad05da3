"""The synthetic market: the same from every side, at any time, in any window."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.clock import DAY, HOUR, MINUTE, SECOND
from kit.errors import BadRange, UnknownName
from kit.market import candles as calendar
from kit.market.book import Book
from kit.model import BookDelta, Quote, Side, Trade
from kit.sandbox.market import Market, MarketEvent
from kit.sandbox.path import CHUNK_MINUTES
from kit.sandbox.synthetic import LISTINGS, Synthetic

NOW = 1_790_000_000_000_000 + 123_456
"""2026-09-21, some way into a minute."""
MARKET = Synthetic(7)
ELSEWHERE = Synthetic(7)
"""The same market in another process: nothing that the first one has computed is in it."""
NATIVES = ("BTCUSDT", "DOGEUSDT", "ETHUSDT", "PAXGUSDT", "SOLUSDT")
"""From busy to quiet, for what is tried on each; what is drawn is drawn from all."""
natives = st.sampled_from(sorted(MARKET.instruments))
CHUNKS = 12 * 365 * DAY // (CHUNK_MINUTES * MINUTE)
moments = st.integers(MARKET.begins + DAY, MARKET.begins + 12 * 365 * DAY) | st.builds(
    lambda chunk, before: MARKET.begins + chunk * CHUNK_MINUTES * MINUTE - before,
    st.integers(1, CHUNKS),
    st.integers(0, 10 * SECOND),
)
"""Any time, and the last seconds before the borders between what is computed at once."""
EVERYTHING = 10_000


def test_it_is_a_market() -> None:
    market: Market = MARKET
    assert market.label == "synthetic, seed 7"
    assert market.ends is None
    assert {one.instrument.native for one in LISTINGS} == set(market.instruments)


# -- one history ------------------------------------------------------------------------------------------------------


def spelled(event: MarketEvent) -> tuple[object, ...]:
    """An event's values, whatever else the nouns learn to say."""
    match event:
        case Trade():
            return (event.id, event.price, event.qty, event.time, event.side.value)
        case Quote():
            return (event.update_id, event.bid, event.bid_qty, event.ask, event.ask_qty, event.time)
    return (event.first_id, event.last_id, event.bids, event.asks, event.time)


@pytest.mark.parametrize(
    ("listed", "bits"),
    [
        (NATIVES, "7e8d1e5ed7afad10"),
        (("ADAUSDT", "AVAXUSDT", "BCHUSDT", "BNBUSDT", "LINKUSDT", "XRPUSDT"), "cd0f4c859f53129b"),
    ],
)
def test_the_seed_gives_the_same_bits_on_every_machine(listed: tuple[str, ...], bits: str) -> None:
    """Whoever changes these digests changes the history of every sandbox: saved notebooks and accounts rest on it."""
    digest = sha256()
    for native in listed:
        for interval in ("1m", "1d"):
            for column in MARKET.candles(native, interval, now=NOW, limit=100).values():
                digest.update(np.ascontiguousarray(column).astype("<f8").tobytes())
        events = MARKET.events(native, after=NOW, until=NOW + 5 * SECOND)
        digest.update(repr([spelled(event) for event in events]).encode())
    assert digest.hexdigest()[:16] == bits


@settings(max_examples=30)
@given(
    native=natives, interval=st.sampled_from(["1s", "1m", "15m", "1h", "1d", "1w", "1M"]), now=moments, data=st.data()
)
def test_a_bar_is_the_same_in_whichever_window_it_is_asked_for(
    native: str, interval: str, now: int, data: st.DataObject
) -> None:
    wide = MARKET.candles(native, interval, now=now, limit=12)
    first = data.draw(st.integers(0, len(wide["time"]) - 1))
    after = data.draw(st.integers(first + 1, len(wide["time"])))
    start, end = int(wide["time"][first]), int(wide["time"][after - 1])
    narrow = ELSEWHERE.candles(native, interval, now=now, start=start, end=end)
    for name, column in wide.items():
        np.testing.assert_array_equal(column[first:after], narrow[name], err_msg=name)


@settings(max_examples=30)
@given(native=natives, now=moments, seconds=st.integers(1, 12))
def test_history_is_what_the_stream_said(native: str, now: int, seconds: int) -> None:
    until = now + seconds * SECOND
    streamed = [e for e in MARKET.events(native, after=now, until=until) if isinstance(e, Trade)]
    remembered = MARKET.trades(native, now=until + DAY, start=now + 1, end=until, limit=EVERYTHING)
    assert streamed == remembered


@settings(max_examples=30)
@given(native=natives, now=moments, cut=st.integers(1, 3 * SECOND - 1))
def test_a_stream_read_in_pieces_is_the_same_stream(native: str, now: int, cut: int) -> None:
    until = now + 3 * SECOND
    cut += now
    whole = MARKET.events(native, after=now, until=until)
    pieces = MARKET.events(native, after=now, until=cut) + ELSEWHERE.events(native, after=cut, until=until)
    assert whole == pieces


def test_another_seed_is_another_market() -> None:
    one, other = (Synthetic(seed).candles("BTCUSDT", "1h", now=NOW, limit=50)["close"] for seed in (7, 8))
    assert not np.array_equal(one, other)


# -- bars -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("native", NATIVES)
@pytest.mark.parametrize("interval", ["3m", "5m", "15m", "30m", "1h", "2h", "4h", "12h"])
def test_longer_bars_are_the_minutes_resampled(native: str, interval: str) -> None:
    longer = MARKET.candles(native, interval, now=NOW, limit=7)
    start = int(longer["time"][0])
    minutes = MARKET.candles(native, "1m", now=NOW, start=start, limit=EVERYTHING)
    _assert_resampled(minutes, "1m", longer, interval)


@pytest.mark.parametrize("interval", ["3d", "1w", "1M"])
def test_bars_of_days_are_the_hours_and_the_days_resampled(interval: str) -> None:
    longer = MARKET.candles("BTCUSDT", interval, now=NOW, limit=3)
    start = int(longer["time"][0])
    days = MARKET.candles("BTCUSDT", "1d", now=NOW, start=start, limit=EVERYTHING)
    _assert_resampled(days, "1d", longer, interval)
    hours = MARKET.candles("BTCUSDT", "1h", now=NOW, start=start, limit=EVERYTHING)
    _assert_resampled(hours, "1h", days, "1d")


def _assert_resampled(short: object, short_name: str, long: object, long_name: str) -> None:
    assert isinstance(short, dict)
    assert isinstance(long, dict)
    attrs = calendar.labels("X/Y", short_name, "sandbox", "SANDBOX")
    frame = calendar.frame(short, np.ones(len(short["time"]), bool), attrs)
    resampled = calendar.resample(frame, long_name)
    np.testing.assert_array_equal(calendar.open_times(resampled), long["time"])
    for name in ("open", "high", "low", "close", "trades"):
        np.testing.assert_array_equal(resampled[name].to_numpy(), long[name], err_msg=name)
    for name in ("volume", "quote_volume"):  # floats added in another order
        np.testing.assert_allclose(resampled[name].to_numpy(), long[name], rtol=1e-12, err_msg=name)


@given(native=natives, now=moments, interval=st.sampled_from(["1s", "1m", "5m"]))
def test_bars_are_their_trades_even_while_they_form(native: str, now: int, interval: str) -> None:
    bars = MARKET.candles(native, interval, now=now, limit=5)
    start = int(bars["time"][0])
    trades = MARKET.trades(native, now=now, start=start, limit=EVERYTHING)
    for at, opened in enumerate(bars["time"]):
        inside = [t for t in trades if calendar.floor_time(t.time, interval) == opened]
        assert bars["trades"][at] == len(inside)
        assert bars["volume"][at] == pytest.approx(sum(t.qty for t in inside))
        assert bars["quote_volume"][at] == pytest.approx(sum(t.qty * t.price for t in inside))
        assert bars["taker_base"][at] == pytest.approx(sum(t.qty for t in inside if t.side is Side.BUY))
        if inside:
            prices = [t.price for t in inside]
            shown = [float(bars[name][at]) for name in ("open", "high", "low", "close")]
            assert shown == [prices[0], max(prices), min(prices), prices[-1]]
            assert (bars["first_id"][at], bars["last_id"][at]) == (inside[0].id, inside[-1].id)


def test_a_second_without_trades_is_flat_at_the_price_before() -> None:
    bars = MARKET.candles("PAXGUSDT", "1s", now=NOW, limit=300)
    empty = np.flatnonzero(bars["trades"] == 0)
    assert len(empty) > 200
    assert len(bars["time"]) == 300
    for at in empty[empty > 0]:
        flat = {float(bars[name][at]) for name in ("open", "high", "low", "close")}
        assert flat == {float(bars["close"][at - 1])}
        assert bars["volume"][at] == 0
        assert bars["first_id"][at] == bars["last_id"][at] == -1


@pytest.mark.parametrize("native", NATIVES)
def test_every_minute_has_a_trade(native: str) -> None:
    assert MARKET.candles(native, "1m", now=NOW - NOW % MINUTE - 1, limit=5000)["trades"].min() >= 1


def test_bars_before_the_beginning_do_not_exist() -> None:
    begins = MARKET.begins
    bars = MARKET.candles("BTCUSDT", "1w", now=begins + 30 * DAY, start=0)
    assert bars["time"][0] == calendar.floor_time(begins, "1w") < begins
    assert len(MARKET.candles("BTCUSDT", "1d", now=begins - 1)["time"]) == 0
    assert len(MARKET.candles("BTCUSDT", "1h", now=NOW, start=0, end=begins - 1)["time"]) == 0
    assert len(MARKET.candles("BTCUSDT", "1h", now=NOW, start=NOW + HOUR)["time"]) == 0


def test_start_gives_the_oldest_bars_and_its_absence_the_newest() -> None:
    start = NOW - 10 * DAY
    oldest = MARKET.candles("BTCUSDT", "1h", now=NOW, start=start, limit=5)["time"]
    assert oldest[0] == calendar.next_time(start - 1, "1h")
    newest = MARKET.candles("BTCUSDT", "1h", now=NOW, limit=5)["time"]
    assert newest[-1] == calendar.floor_time(NOW, "1h")
    until = MARKET.candles("BTCUSDT", "1h", now=NOW, end=start, limit=5)["time"]
    assert until[-1] == calendar.floor_time(start, "1h")
    both = MARKET.candles("BTCUSDT", "1h", now=NOW, start=start, end=start + 2 * HOUR)["time"]
    assert len(both) == 2


# -- trades -----------------------------------------------------------------------------------------------------------


@given(native=natives, now=moments, limit=st.integers(1, 300))
def test_trade_ids_run_on_and_times_never_go_back(native: str, now: int, limit: int) -> None:
    trades = MARKET.trades(native, now=now, limit=limit)
    assert len(trades) == limit
    assert [t.id for t in trades] == list(range(trades[0].id, trades[0].id + limit))
    assert all(a.time <= b.time for a, b in pairwise(trades))
    assert trades[-1].time <= now
    later = MARKET.trades(native, now=now, from_id=trades[0].id, limit=limit)
    assert later == trades
    assert MARKET.trades(native, now=now, from_id=trades[-1].id + 1) == []


def test_the_first_trade_has_the_first_id() -> None:
    first = MARKET.trades("BTCUSDT", now=NOW, from_id=0, limit=3)
    assert [t.id for t in first] == [1, 2, 3]
    assert first == MARKET.trades("BTCUSDT", now=NOW, start=0, limit=3)
    assert MARKET.trades("BTCUSDT", now=MARKET.begins - 1) == []


@given(native=natives, now=moments)
def test_prices_and_quantities_are_on_the_grid(native: str, now: int) -> None:
    instrument = MARKET.instruments[native]
    for trade in MARKET.trades(native, now=now, limit=50):
        assert float(instrument.price(trade.price)) == trade.price > 0
        assert float(instrument.qty(trade.qty)) == trade.qty > 0


# -- the book ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(native=natives, now=moments, steps=st.integers(0, 120))
def test_deltas_applied_to_a_book_give_the_later_book(native: str, now: int, steps: int) -> None:
    until = now + steps * 73_000
    book = Book(native)
    book.load(MARKET.book(native, now=now, limit=EVERYTHING))
    expected_first = book.last_id + 1
    for event in MARKET.events(native, after=now, until=until):
        if isinstance(event, BookDelta):
            assert event.first_id == expected_first <= event.last_id
            assert event.bids or event.asks
            assert book.apply(event)
            expected_first = event.last_id + 1
        elif isinstance(event, Quote):
            best = book.best()
            shown = (event.bid, event.bid_qty, event.ask, event.ask_qty)
            assert (best.bid, best.bid_qty, best.ask, best.ask_qty) == shown
            assert event.update_id == book.last_id
    later = MARKET.book(native, now=until, limit=EVERYTHING)
    assert (book.last_id, book.bids(EVERYTHING), book.asks(EVERYTHING)) == (later.last_id, later.bids, later.asks)


@given(native=natives, now=moments)
def test_a_book_is_deep_ordered_and_never_crossed(native: str, now: int) -> None:
    book = MARKET.book(native, now=now)
    quote = MARKET.quote(native, now=now)
    bids, asks = ([price for price, _ in levels] for levels in (book.bids, book.asks))
    assert len(bids) >= 500
    assert len(asks) >= 500
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert 0 < bids[-1] < bids[0] < asks[0]
    assert min(qty for _, qty in book.bids + book.asks) > 0
    assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty) == (*book.bids[0], *book.asks[0])
    assert MARKET.book(native, now=now, limit=5).asks == book.asks[:5]


@settings(max_examples=30)
@given(native=natives, now=moments)
def test_takers_trade_at_the_touch_shown_before_and_not_more_than_it_showed(native: str, now: int) -> None:
    quote, left = MARKET.quote(native, now=now), dict[Side, float]()
    for event in MARKET.events(native, after=now - now % 100_000, until=now + 8 * SECOND):
        if isinstance(event, Quote):
            quote, left = event, {Side.BUY: event.ask_qty, Side.SELL: event.bid_qty}
        elif isinstance(event, Trade) and left:
            assert event.price == (quote.ask if event.side is Side.BUY else quote.bid)
            left[event.side] -= event.qty
            assert left[event.side] > -1e-9


def test_a_quiet_instrument_is_quiet_and_a_busy_one_busy() -> None:
    quiet, busy = (MARKET.events(native, after=NOW, until=NOW + 2 * MINUTE) for native in ("PAXGUSDT", "BTCUSDT"))
    gaps = np.diff([event.time for event in quiet])
    assert gaps.max() > 5 * SECOND
    assert len(busy) > 5 * len(quiet)


def test_ten_instruments_trade_actively() -> None:
    """What a soak of the live feed follows: prints every few seconds, quotes and book changes all the time."""
    active = []
    for native in MARKET.instruments:
        seen = [type(event) for event in MARKET.events(native, after=NOW, until=NOW + MINUTE)]
        if seen.count(Trade) >= 5 and seen.count(Quote) >= 60 and seen.count(BookDelta) >= 300:
            active.append(native)
    assert len(active) >= 10


@given(now=moments)
def test_prices_stay_plausible(now: int) -> None:
    for listing in LISTINGS:
        middle = MARKET.quote(listing.instrument.native, now=now).mid / float(listing.instrument.tick)
        assert listing.shape.centre / 12 < middle < listing.shape.centre * 12


def test_volatility_is_about_what_was_asked_for() -> None:
    for listing in LISTINGS:
        close = MARKET.candles(listing.instrument.native, "1h", now=NOW, limit=2000)["close"]
        yearly = float(np.diff(np.log(close.astype(float))).std()) * (365.25 * 24) ** 0.5
        assert 0.5 < yearly / listing.shape.volatility < 2


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="BTCUSDT"):
        MARKET.quote("BTCUSD", now=NOW)
    with pytest.raises(UnknownName, match="interval"):
        MARKET.candles("BTCUSDT", "7m", now=NOW)


def test_there_is_no_book_before_the_beginning() -> None:
    with pytest.raises(BadRange, match="2020"):
        MARKET.book("BTCUSDT", now=MARKET.begins - 1)
    with pytest.raises(BadRange, match="2020"):
        MARKET.quote("BTCUSDT", now=MARKET.begins - 1)


def test_the_first_moment_has_a_book_and_a_stream() -> None:
    begins = MARKET.begins
    for native in NATIVES:
        assert MARKET.book(native, now=begins).last_id > 0
        assert MARKET.quote(native, now=begins).bid > 0
        first = MARKET.events(native, after=0, until=begins + MINUTE)
        assert any(isinstance(event, Trade) and event.id == 1 for event in first)
        assert len(MARKET.candles(native, "1s", now=begins + SECOND)["time"]) == 2
