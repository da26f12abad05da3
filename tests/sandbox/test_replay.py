"""A replayed tape: what the venue said, in its order, at the time and pace that is wanted, to an announced end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import MINUTE, SECOND
from kit.errors import BadRange, DataError, UnknownName, UsageError
from kit.market.book import Book
from kit.model import BookDelta, Quote, Side, Trade
from kit.net.tape import TapeLine, read
from kit.sandbox.market import Market, MarketEvent
from kit.sandbox.replay import Replay

BTC = "BTCUSDT"
STARTED = 1_790_000_000 * SECOND
ZERO = 1_723_161_255_000  # ms, of the venue
LATE = 1_270  # ms by which the recorder's clock is behind
EVERYTHING = 1_000_000


class Writer:
    """A small tape, written by hand. Times are ms after ``ZERO`` by the venue's clock."""

    def __init__(self, native: str = BTC) -> None:
        self.native = native
        self.lines: list[TapeLine] = []

    def add(self, at: float, message: object, url: str = "") -> Writer:
        self.lines.append(TapeLine(round((ZERO + at - LATE) * 1_000_000), json.dumps(message), url))
        return self

    def stream(self, at: float, name: str, data: dict[str, object]) -> Writer:
        return self.add(at, {"stream": f"{self.native.lower()}@{name}", "data": data})

    def trade(self, at: int, number: int, price: str, qty: str, *, sold: bool = False) -> Writer:
        shared = {"E": ZERO + at, "s": self.native, "t": number, "p": price, "q": qty, "T": ZERO + at}
        return self.stream(at, "trade", {"e": "trade", **shared, "m": sold, "M": True})

    def aggregate(self, at: int, number: int, first: int, last: int, price: str, qty: str) -> Writer:
        shared = {"E": ZERO + at, "s": self.native, "a": number, "f": first, "l": last, "p": price, "q": qty}
        return self.stream(at, "aggTrade", {"e": "aggTrade", **shared, "T": ZERO + at, "m": False, "M": True})

    def quote(self, at: float, update: int, bid: str, bid_qty: str, ask: str, ask_qty: str) -> Writer:
        data = {"u": update, "s": self.native, "b": bid, "B": bid_qty, "a": ask, "A": ask_qty}
        return self.stream(at, "bookTicker", data)

    def delta(self, at: int, first: int, last: int, bids: Iterable[object] = (), asks: Iterable[object] = ()) -> Writer:
        shared = {"E": ZERO + at, "s": self.native, "U": first, "u": last, "b": list(bids), "a": list(asks)}
        return self.stream(at, "depth@100ms", {"e": "depthUpdate", **shared})

    def snapshot(self, at: float, last: int, *, named: bool = False) -> Writer:
        """A book of 100.00 to 100.29 a side, bids below 100."""
        levels = [[f"{100 + sign * step / 100:.2f}", "1.00000"] for sign in (-1, 1) for step in range(1, 31)]
        book = {"lastUpdateId": last, "bids": levels[:30], "asks": levels[30:]}
        return self.add(at, book, f"https://there/api/v3/depth?symbol={self.native}&limit=1000" if named else "")


def small() -> Writer:
    """Diffs 1 to 40 with the book at 15, quotes and trades between."""
    tape = Writer()
    tape.delta(0, 1, 10, bids=[["99.98", "7.00000"]])
    tape.trade(30, 501, "100.01", "0.50000")
    tape.quote(60, 14, "99.99", "1.00000", "100.01", "1.00000")
    tape.delta(100, 11, 15, bids=[["99.50", "0.00000"]])
    tape.snapshot(150, 15)
    tape.quote(160, 17, "99.99", "2.00000", "100.01", "1.00000")
    tape.delta(200, 16, 20, bids=[["99.99", "2.00000"]])
    tape.trade(230, 502, "100.01", "1.00000")
    tape.trade(230, 503, "100.02", "0.25000")
    tape.quote(231, 24, "99.99", "2.00000", "100.02", "0.75000")
    tape.delta(300, 21, 30, asks=[["100.01", "0.00000"], ["100.02", "0.75000"]])
    tape.trade(60_000, 504, "99.99", "0.10000", sold=True)
    tape.delta(60_100, 31, 40, bids=[["99.99", "1.90000"]])
    return tape


def play(tape: Writer, *, speed: float = 1.0, original_times: bool = False) -> Replay:
    return Replay(tape.lines, started=STARTED, speed=speed, original_times=original_times)


def after_ms(market: Market, ms: float) -> int:
    """The time that is told for ``ms`` after the play's beginning, at the tape's pace."""
    return market.begins + round(ms * 1000)


def followed(market: Market, native: str, after: int, until: int) -> Book:
    """The book at ``after``, moved along by the events up to ``until``."""
    book = Book(native)
    book.load(market.book(native, now=after, limit=EVERYTHING))
    for event in market.events(native, after=after, until=until):
        if isinstance(event, BookDelta):
            book.apply(event)
    return book


# -- what is played and when ------------------------------------------------------------------------------------------


def test_the_play_begins_when_it_is_started_at_the_first_known_book() -> None:
    market: Market = play(small())
    assert market.begins == STARTED
    book = market.book(BTC, now=STARTED)
    assert (book.last_id, book.bids[0], book.asks[0]) == (15, (99.99, 1.0), (100.01, 1.0))
    assert dict(book.bids)[99.98] == 1.0  # the diffs before the book are in it already


def test_events_keep_the_order_and_the_distances_of_the_venue() -> None:
    market = play(small())
    assert market.ends is not None
    told = [(type(e).__name__, e.time - STARTED) for e in market.events(BTC, after=STARTED, until=market.ends)]
    ms = [(kind, time / 1000) for kind, time in told]
    assert ms == [
        ("Quote", 60),
        ("BookDelta", 100),
        ("Trade", 130),
        ("Trade", 130),
        ("Quote", 131),
        ("BookDelta", 200),
        ("Trade", 59_900),
        ("BookDelta", 60_000),
    ]


def test_the_recorders_clock_does_not_matter() -> None:
    slow, right = small(), small()
    slow.lines = [line._replace(ns=line.ns - 90_000_000_000) for line in slow.lines]
    everything = [market.events(BTC, after=0, until=market.ends) for market in (play(slow), play(right)) if market.ends]
    assert everything[0] == everything[1]


def test_a_quote_lies_between_the_diffs_that_its_update_lies_between() -> None:
    tape = small()
    tape.lines = [
        line._replace(ns=line.ns + 5_000_000_000) if "bookTicker" in line.text else line for line in tape.lines
    ]
    market = play(tape)
    quotes = [e for e in market.events(BTC, after=0, until=after_ms(market, 1_000)) if isinstance(e, Quote)]
    assert [(q.update_id, (q.time - STARTED) / 1000) for q in quotes] == [
        (14, 0),
        (17, 100),
        (24, 200),
    ]


def test_twice_the_speed_is_half_the_time() -> None:
    once, twice = play(small()), play(small(), speed=2)
    assert once.ends is not None
    assert twice.ends is not None
    assert twice.ends - STARTED == (once.ends - STARTED) / 2
    pairs = zip(
        once.events(BTC, after=STARTED, until=once.ends),
        twice.events(BTC, after=STARTED, until=twice.ends),
        strict=True,
    )
    assert all((slow.time - STARTED) / 2 == fast.time - STARTED for slow, fast in pairs)


def test_original_times_are_the_venues_own() -> None:
    market = play(small(), original_times=True)
    assert market.begins == (ZERO + 100) * 1000
    assert market.ends == (ZERO + 60_100) * 1000
    assert [t.time // 1000 - ZERO for t in market.trades(BTC, now=market.ends)] == [30, 230, 230, 60_000]


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_pace_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(UsageError, match="no pace"):
        play(small(), speed=speed)


def test_the_end_is_announced_and_nothing_changes_after_it() -> None:
    market = play(small())
    assert market.ends == after_ms(market, 60_000)
    assert market.events(BTC, after=market.ends, until=market.ends + MINUTE) == []
    for now in (market.ends, market.ends + 10 * MINUTE):
        assert market.book(BTC, now=now).last_id == 40
        assert market.trades(BTC, now=now)[-1].id == 504
        assert len(market.candles(BTC, "1m", now=now)["time"]) == 2


# -- trades and bars --------------------------------------------------------------------------------------------------


def test_trades_from_before_the_play_are_its_history() -> None:
    market = play(small())
    [before] = market.trades(BTC, now=STARTED)
    assert before == Trade(BTC, 501, 100.01, 0.5, STARTED - 70_000, Side.BUY)


def test_trades_are_found_by_id_and_by_time() -> None:
    market = play(small())
    now = market.ends
    assert now is not None

    def ids(**asked: int) -> list[int]:
        return [trade.id for trade in market.trades(BTC, now=now, **asked)]

    assert ids() == [501, 502, 503, 504]
    assert ids(limit=2) == [503, 504]
    assert ids(from_id=502, limit=2) == [502, 503]
    assert ids(from_id=1) == [501, 502, 503, 504]
    assert ids(from_id=505) == []
    assert ids(start=STARTED + 130_000) == [502, 503, 504]
    assert ids(start=STARTED + 130_001) == [504]
    assert ids(end=STARTED + 130_000) == [501, 502, 503]
    assert ids(start=STARTED, end=STARTED + 130_000) == [502, 503]
    assert [trade.id for trade in market.trades(BTC, now=STARTED + 129_999)] == [501]


def test_bars_are_made_of_the_trades_and_of_nothing_before_them() -> None:
    market = play(small())
    assert market.ends is not None
    bars = market.candles(BTC, "1m", now=market.ends, start=0)
    rows = {name: column.tolist() for name, column in bars.items()}
    minute = STARTED - STARTED % MINUTE
    assert rows == {
        "time": [minute, minute + MINUTE],
        "open": [100.01, 99.99],
        "high": [100.02, 99.99],
        "low": [100.01, 99.99],
        "close": [100.02, 99.99],
        "volume": [1.75, 0.1],
        "quote_volume": [175.02, 9.999],
        "trades": [3, 1],
        "taker_base": [1.75, 0.0],
        "taker_quote": [175.02, 0.0],
        "first_id": [501, 504],
        "last_id": [503, 504],
    }
    forming = market.candles(BTC, "1m", now=STARTED)
    assert (forming["trades"].tolist(), forming["volume"].tolist()) == ([1], [0.5])


def test_a_bar_without_trades_is_flat() -> None:
    market = play(small())
    bars = market.candles(BTC, "1s", now=after_ms(market, 59_950))
    assert bars["trades"].tolist() == [1, 2, *[0] * 58, 1]
    assert set(bars["open"][2:-1]) == set(bars["low"][2:-1]) == {100.02}
    assert market.candles(BTC, "1s", now=after_ms(market, 3_000), start=after_ms(market, 1_500))["close"].tolist() == [
        100.02,
        100.02,
    ]


def test_before_the_first_trade_there_are_no_bars() -> None:
    assert len(play(small()).candles(BTC, "1m", now=STARTED - 70_001)["time"]) == 0


def test_where_a_tape_has_trades_its_aggregates_are_left_out() -> None:
    tape = small().aggregate(231, 90, 502, 503, "100.01", "1.25000")
    market = play(tape)
    assert [t.id for t in market.trades(BTC, now=STARTED + MINUTE)] == [501, 502, 503, 504]


def test_a_tape_of_aggregates_plays_them_numbered_on() -> None:
    tape = small()
    tape.lines = [line for line in tape.lines if "@trade" not in line.text]
    tape.aggregate(230, 90, 502, 505, "100.01", "1.25000").aggregate(240, 91, 506, 506, "100.01", "0.25000")
    assert [t.id for t in play(tape).trades(BTC, now=STARTED + MINUTE)] == [502, 503]


def test_what_came_twice_is_told_once() -> None:
    tape = small()
    market, doubled = play(tape), Writer()
    doubled.lines = [line for line in tape.lines for _ in range(2)]
    assert market.events(BTC, after=0, until=STARTED + MINUTE) == play(doubled).events(
        BTC, after=0, until=STARTED + MINUTE
    )


# -- the book ---------------------------------------------------------------------------------------------------------


def test_the_book_follows_the_diffs_and_their_ids() -> None:
    market = play(small())
    assert market.book(BTC, now=after_ms(market, 99.999)).last_id == 15
    book = market.book(BTC, now=after_ms(market, 200), limit=2)
    assert (book.last_id, book.bids, book.asks) == (30, [(99.99, 2.0), (99.98, 1.0)], [(100.02, 0.75), (100.03, 1.0)])
    assert market.book(BTC, now=STARTED).last_id == 15  # and back again


def test_before_the_play_there_is_a_quote_but_no_book() -> None:
    tape = Writer().quote(0, 5, "99.99", "1.00000", "100.01", "1.00000")
    tape.lines += small().lines
    market = play(tape)
    with pytest.raises(BadRange, match="not known before"):
        market.book(BTC, now=STARTED - 1)
    assert market.quote(BTC, now=STARTED - 100_000).update_id == 5
    assert market.quote(BTC, now=STARTED - 1).update_id == 14
    with pytest.raises(BadRange, match="no quote"):
        market.quote(BTC, now=STARTED - MINUTE)


def test_before_the_first_quote_the_book_gives_it() -> None:
    tape = small()
    tape.lines = [line for line in tape.lines if '"u": 14,' not in line.text]
    quote = play(tape).quote(BTC, now=STARTED)
    assert (quote.update_id, quote.bid, quote.bid_qty, quote.ask) == (15, 99.99, 1.0, 100.01)


def test_a_tape_without_quotes_takes_them_from_its_book() -> None:
    tape = small()
    tape.lines = [line for line in tape.lines if "bookTicker" not in line.text]
    market = play(tape)
    assert market.quote(BTC, now=STARTED).update_id == 15
    quotes = [e for e in market.events(BTC, after=STARTED, until=STARTED + MINUTE) if isinstance(e, Quote)]
    assert [(q.update_id, q.bid_qty, q.ask) for q in quotes] == [
        (20, 2.0, 100.01),
        (30, 2.0, 100.02),
        (40, 1.9, 100.02),
    ]


@pytest.mark.parametrize("last", [15, 16, 20, 25])
def test_a_book_may_end_anywhere_among_the_diffs(last: int) -> None:
    """``U <= lastUpdateId + 1 <= u``: also where it ends in the middle of a diff."""
    tape = small()
    tape.lines = [line for line in tape.lines if "lastUpdateId" not in line.text]
    market = play(tape.snapshot(150, last))
    assert market.book(BTC, now=market.begins).last_id == last
    assert followed(market, BTC, market.begins, market.begins + MINUTE + SECOND).last_id == 40


def test_a_book_that_is_older_than_every_diff_is_passed_over_for_the_next() -> None:
    tape = small()
    tape.lines = [line for line in tape.lines if '"U": 1,' not in line.text and "lastUpdateId" not in line.text]
    market = play(tape.snapshot(150, 9).snapshot(250, 22))
    assert market.book(BTC, now=market.begins).last_id == 22
    assert market.begins == STARTED


@pytest.mark.parametrize(
    "lines",
    [
        [],
        Writer().trade(0, 1, "100.00", "1").lines,
        Writer().delta(0, 1, 10).quote(5, 9, "99", "1", "101", "1").lines,
        Writer().delta(0, 20, 30).snapshot(5, 10).lines,
        Writer().delta(0, 20, 30).snapshot(5, 31).lines,
    ],
)
def test_a_tape_without_any_known_book_is_refused(lines: list[TapeLine]) -> None:
    with pytest.raises(DataError, match="nothing was played"):
        Replay(lines, started=STARTED)


def test_a_message_that_is_not_binances_is_named() -> None:
    tape = small().add(400, {"stream": "btcusdt@trade", "data": {"e": "trade", "s": BTC, "p": "soon"}})
    with pytest.raises(DataError, match="message 14 of the tape"):
        play(tape)


# -- what is missing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missing", "seen_at"), [('"U": 21,', 59_900), ('"t": 503,', 59_899.999)])
def test_the_play_ends_before_something_is_seen_to_be_missing(missing: str, seen_at: float) -> None:
    tape = small()
    tape.lines = [line for line in tape.lines if missing not in line.text]
    market = play(tape)
    assert market.ends is not None
    assert market.ends == after_ms(market, seen_at)
    assert all(e.time <= market.ends for e in market.events(BTC, after=STARTED, until=STARTED + 2 * MINUTE))
    assert market.book(BTC, now=STARTED + 2 * MINUTE).last_id < 40


def test_a_book_that_crosses_ends_the_play() -> None:
    tape = small().delta(60_200, 41, 50, bids=[["100.50", "1.00000"]]).trade(60_300, 505, "100.02", "1.00000")
    market = play(tape)
    assert market.ends == after_ms(market, 60_100) - 1
    assert market.book(BTC, now=STARTED + 2 * MINUTE).last_id == 40


# -- instruments ------------------------------------------------------------------------------------------------------


def test_steps_are_derived_from_the_data() -> None:
    instrument = play(small()).instruments[BTC]
    assert (instrument.symbol, instrument.base, instrument.quote) == ("BTC/USDT", "BTC", "USDT")
    assert (instrument.tick, instrument.lot) == (Decimal("0.01"), Decimal("0.01"))
    finer = play(small().trade(70_000, 505, "99.9925", "0.00003")).instruments[BTC]
    assert (finer.tick, finer.lot) == (Decimal("0.0001"), Decimal("0.00001"))


def test_a_few_old_orders_off_the_steps_do_not_make_them_finer() -> None:
    tape = small().delta(60_200, 41, 50, bids=[["90.00", "1.123456"]])
    assert play(tape).instruments[BTC].lot == Decimal("0.000001")
    many = [[f"{price / 100:.2f}", "2.00000"] for price in range(5000, 6000)]
    assert play(tape.delta(60_300, 51, 52, bids=many)).instruments[BTC].lot == Decimal("0.01")


def test_a_tape_of_several_instruments_plays_them_all() -> None:
    btc, eth = small(), Writer("ETHBTC")
    btc.lines = [line for line in btc.lines if "lastUpdateId" not in line.text]
    btc.snapshot(150, 15, named=True)
    eth.delta(40, 900, 910).snapshot(90, 905, named=True).delta(140, 911, 920, bids=[["99.99", "3.00000"]])
    market = Replay(sorted(btc.lines + eth.lines), started=STARTED)
    assert {one.symbol for one in market.instruments.values()} == {"BTC/USDT", "ETH/BTC"}
    assert market.begins == STARTED
    assert market.book("ETHBTC", now=STARTED + 40_000).last_id == 920
    assert market.book(BTC, now=STARTED + 40_000).last_id == 15
    assert market.events("ETHBTC", after=STARTED + 40_000, until=STARTED + MINUTE) == []
    with pytest.raises(UnknownName, match="ETHBTC"):
        market.quote("ETHBT", now=STARTED)


# -- recordings of real venues ----------------------------------------------------------------------------------------

Find = Callable[[str], Path]


@pytest.fixture(scope="module")
def real(recording: Find) -> Replay:
    return Replay(read(recording("binance_spot_btcusdt_20240808.gz")), started=STARTED)


def told(market: Replay) -> list[MarketEvent]:
    assert market.ends is not None
    return market.events(BTC, after=0, until=market.ends)


def test_all_of_a_real_tape_is_played(real: Replay) -> None:
    assert real.ends is not None
    kinds = [type(event) for event in told(real)]
    assert (kinds.count(Trade), kinds.count(Quote), kinds.count(BookDelta)) == (9757, 28040, 3449)  # 2 before the book
    assert (real.ends - real.begins) / SECOND == pytest.approx(345.964283)
    instrument = real.instruments[BTC]
    assert (instrument.tick, instrument.lot) == (Decimal("0.01"), Decimal("0.00001"))


def test_on_a_real_tape_book_and_quotes_agree_after_every_diff(real: Replay) -> None:
    book, quote, compared = Book(BTC), None, 0
    book.load(real.book(BTC, now=real.begins, limit=EVERYTHING))
    for event in told(real):
        if isinstance(event, Quote):
            quote = event
        elif isinstance(event, BookDelta) and book.apply(event) and quote:
            best = book.best()
            assert (best.bid, best.bid_qty, best.ask, best.ask_qty) == (
                quote.bid,
                quote.bid_qty,
                quote.ask,
                quote.ask_qty,
            )
            compared += 1
    assert compared > 3_400


def test_a_real_tapes_takers_trade_at_the_quotes_told_before(real: Replay) -> None:
    """Nearly all do: quotes carry no time, so a print may be told some ms from the quote that it was made on."""
    quote, seen, near, time = real.quote(BTC, now=real.begins), 0, 0, 0
    for event in told(real):
        if isinstance(event, Quote):
            quote = event
        elif isinstance(event, Trade) and event.time > time:  # the first of a sweep; the others print further out
            seen, near, time = seen + 1, near + (quote.bid - 1 <= event.price <= quote.ask + 1), event.time
    assert seen > 3_000
    assert near > 0.9 * seen


def test_a_real_tapes_bars_are_its_trades(real: Replay) -> None:
    assert real.ends is not None
    trades = real.trades(BTC, now=real.ends, limit=EVERYTHING)
    for interval, step in (("1s", SECOND), ("1m", MINUTE)):
        bars = real.candles(BTC, interval, now=real.ends, limit=1000)
        assert bars["trades"].sum() == len(trades) == 9757
        assert bars["volume"].sum() == pytest.approx(sum(t.qty for t in trades))
        assert bars["quote_volume"].sum() == pytest.approx(sum(t.qty * t.price for t in trades))
        assert np.all(np.diff(bars["time"]) == step)
        assert bars["close"][-1] == trades[-1].price


@given(data=st.data())
def test_on_a_real_tape_deltas_applied_to_a_book_give_the_later_book(real: Replay, data: st.DataObject) -> None:
    assert real.ends is not None
    after = data.draw(st.integers(real.begins, real.ends))
    until = data.draw(st.integers(after, min(real.ends, after + 30 * SECOND)))
    book, later = followed(real, BTC, after, until), real.book(BTC, now=until, limit=EVERYTHING)
    assert (book.last_id, book.bids(EVERYTHING), book.asks(EVERYTHING)) == (later.last_id, later.bids, later.asks)


def test_a_real_tape_of_four_instruments_plays_with_the_venues_own_rules(recording: Find) -> None:
    market = Replay(read(recording("binance_us_20211012.jsonl.gz")), started=STARTED)
    assert set(market.instruments) == {"COMPUSDT", "CRVUSDT", "OMGBUSD", "ZRXUSDT"}
    assert market.instruments["OMGBUSD"].min_notional == 10
    assert market.ends is not None
    for native in market.instruments:
        assert followed(market, native, market.begins, market.ends).last_id > 0
    assert len(market.trades("OMGBUSD", now=market.ends)) == 11
