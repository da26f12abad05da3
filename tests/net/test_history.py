"""The past as Kraken and Coinbase tell it: whole ranges, honest about what can't be had, with bounded effort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from kit.clock import DAY, MINUTE, SECOND, ManualClock, WallClock
from kit.errors import RateLimited, UnknownName, UsageError
from kit.market import candles
from kit.model import Trade
from kit.net import paging
from kit.net.history import History
from kit.net.rest import Rest
from kit.venue import Venue
from kit.venues.base import MarketCodec
from kit.venues.coinbase import COINBASE, Coinbase
from kit.venues.kraken import KRAKEN, Kraken
from tests.net.loopback import START, Loopback, Print
from tests.net.tiny_coinbase import TinyCoinbase
from tests.net.tiny_kraken import TinyKraken

KBTC, CBTC = "BTC/USD", "BTC-USD"


class UnpacedKraken(Kraken):
    """Tests need not wait for what the real one allows."""

    def budgets(self) -> tuple[()]:
        return ()


class UnpacedCoinbase(Coinbase):
    """The same."""

    def budgets(self) -> tuple[()]:
        return ()


def served(tiny: Loopback, venue: Venue) -> Iterator[Any]:
    yield tiny, venue
    venue.close()
    tiny.close()


@pytest.fixture
def kraken() -> Iterator[tuple[TinyKraken, Venue]]:
    tiny = TinyKraken()
    yield from served(tiny, Venue(UnpacedKraken(), "data", tiny.hosts))


@pytest.fixture
def coinbase() -> Iterator[tuple[TinyCoinbase, Venue]]:
    tiny = TinyCoinbase()
    yield from served(tiny, Venue(UnpacedCoinbase(), "data", tiny.hosts))


def printed(tiny: Loopback, native: str, times: list[int]) -> None:
    """Prints at these times (µs after the start), and a minute after the last it is now."""
    prints = [Print(n, START + time, f"{100 + n % 7}.00", "0.5", "buy") for n, time in enumerate(times, 1)]
    tiny.markets[native].prints[:] = prints
    tiny.now = prints[-1].time + MINUTE


def minutes(frame: pd.DataFrame) -> list[int]:
    return [int(n) for n in (candles.open_times(frame) - START) // MINUTE]


def at(minute: int) -> pd.Timestamp:
    return pd.Timestamp(START + minute * MINUTE, unit="us", tz="UTC")


# -- candles


def test_coinbase_tells_a_range_by_the_calendar_and_leaves_out_what_was_not_traded(
    coinbase: tuple[TinyCoinbase, Venue],
) -> None:
    tiny, venue = coinbase
    traded = [0, 1, 5, 299, 300, 301, 650, 1500]
    printed(tiny, CBTC, [n * MINUTE for n in traded])
    frame = venue.candles("BTC/USD", start=at(0), end=at(2000))
    assert minutes(frame) == traded
    assert len(frame.attrs["holes"]) == 4
    assert venue.candles("BTC/USD", start=at(2), end=at(5)).empty
    assert minutes(venue.candles("BTC/USD", start=at(2), limit=3)) == [5, 299, 300]
    assert frame["closed"].tolist() == [True] * 8


def test_the_forming_bar_of_coinbase_is_marked(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, venue = coinbase
    printed(tiny, CBTC, [n * 10 * SECOND for n in range(30)])
    tiny.now -= MINUTE - SECOND
    frame = venue.candles("BTC/USD")
    assert minutes(frame) == [0, 1, 2, 3, 4]
    assert frame["closed"].tolist() == [True] * 4 + [False]


def test_the_newest_of_coinbase_are_found_over_long_silence(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, venue = coinbase
    traded = [0, 1, 2, 90 * 1440, 90 * 1440 + 1, 90 * 1440 + 600]
    printed(tiny, CBTC, [n * MINUTE for n in traded])
    assert minutes(venue.candles("BTC/USD", limit=4)) == traded[2:]
    assert len([name for name, _ in tiny.asked if name == "candles"]) < 16
    assert minutes(venue.candles("BTC/USD", end=at(3), limit=2)) == [1, 2]


def test_the_years_before_a_listing_are_crossed_by_days(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, venue = coinbase
    printed(tiny, CBTC, [0, 2 * MINUTE])
    frame = venue.candles("BTC/USD", start=at(-3 * 365 * 1440))
    assert minutes(frame) == [0, 2]
    assert len([name for name, _ in tiny.asked if name == "candles"]) < 16


def test_looking_back_is_bounded(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, venue = coinbase
    printed(tiny, CBTC, [day * DAY for day in range(100)])
    frame = venue.candles("BTC/USD", limit=300)
    assert 0 < len(frame) < 100
    assert len([name for name, _ in tiny.asked if name == "candles"]) <= 2 * paging.EFFORT
    assert len(venue.candles("BTC/USD", "1d", limit=300)) == 100


def test_an_instrument_that_was_never_traded_has_an_empty_frame(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    _, venue = coinbase
    assert venue.candles("BTC/USD").empty
    assert venue.candles("BTC/USD", start=at(0)).empty
    assert venue.trades("BTC/USD").empty
    assert venue.trades("BTC/USD", limit=500).empty
    assert venue.trades("BTC/USD", start=at(0)).empty


def test_kraken_has_its_newest_720_and_what_is_older_is_a_hole(kraken: tuple[TinyKraken, Venue]) -> None:
    tiny, venue = kraken
    printed(tiny, KBTC, [n * MINUTE for n in range(1_000)])
    newest = venue.candles("BTC/USD", limit=2_000)
    assert minutes(newest) == list(range(280, 1_001))
    frame = venue.candles("BTC/USD", start=at(0), end=at(900))
    assert minutes(frame) == list(range(280, 900))
    assert frame.attrs["holes"] == [[at(0).isoformat(), at(280).isoformat()]]
    gone = venue.candles("BTC/USD", start=at(0), end=at(100))
    assert gone.empty
    assert gone.attrs["holes"] == [[at(0).isoformat(), at(100).isoformat()]]
    assert len([name for name, _ in tiny.asked if name == "OHLC"]) <= 6


# -- trades


@pytest.mark.parametrize("gap", [SECOND // 5, 3 * SECOND, 7 * MINUTE])
def test_trades_of_a_range_come_whole_and_in_order(
    kraken: tuple[TinyKraken, Venue], coinbase: tuple[TinyCoinbase, Venue], gap: int
) -> None:
    for (tiny, venue), native in ((kraken, KBTC), (coinbase, CBTC)):
        printed(tiny, native, [n // 7 * gap for n in range(2_520)])  # seven at a time
        start = pd.Timestamp(START + 60 * gap, unit="us", tz="UTC")
        end = pd.Timestamp(START + 300 * gap, unit="us", tz="UTC")
        assert venue.trades("BTC/USD", start=start, end=end)["id"].tolist() == list(range(421, 2_101))
        assert venue.trades("BTC/USD", start=start, limit=5)["id"].tolist() == list(range(421, 426))
        assert venue.trades("BTC/USD", start=start)["id"].tolist() == list(range(421, 2_521))


def test_the_first_of_a_range_cost_no_walk_through_all_of_it(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, venue = coinbase
    printed(tiny, CBTC, [n * SECOND for n in range(20_000)])
    assert venue.trades("BTC/USD", start=at(0), limit=5)["id"].tolist() == [1, 2, 3, 4, 5]
    assert len(tiny.asked) < 10


@pytest.mark.parametrize("limit", [1, 100, 101, 1_000, 1_001, 2_400])
def test_the_newest_trades_come_as_many_as_wanted(
    kraken: tuple[TinyKraken, Venue], coinbase: tuple[TinyCoinbase, Venue], limit: int
) -> None:
    times, now = [], 0
    for n in range(2_500):  # busy and quiet by turns
        now += SECOND // 10 if n // 300 % 2 else 40 * SECOND
        times.append(now)
    for (tiny, venue), native in ((kraken, KBTC), (coinbase, CBTC)):
        printed(tiny, native, times)
        assert venue.trades("BTC/USD", limit=limit)["id"].tolist() == list(range(2_501 - limit, 2_501))


def test_a_second_with_more_trades_than_an_answer_holds_shows_as_a_step_in_the_ids(
    coinbase: tuple[TinyCoinbase, Venue],
) -> None:
    tiny, venue = coinbase
    crowd = [30 * SECOND + n for n in range(250)]
    printed(tiny, CBTC, [n * SECOND for n in range(30)] + crowd + [n * SECOND for n in range(31, 60)])
    found = History(venue.codec, venue.rest, WallClock()).trades_from(CBTC, 11, START + 10 * SECOND)
    ids = [trade.id for trade in found]
    assert ids == [*range(11, 31), *range(181, 310)]


def test_a_short_outage_takes_one_question(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, venue = coinbase
    printed(tiny, CBTC, [n * SECOND for n in range(200)])
    history = History(venue.codec, venue.rest, WallClock())
    history.now()
    asked = len(tiny.asked)
    assert [trade.id for trade in history.trades_from(CBTC, 151, START + 149 * SECOND)] == list(range(151, 201))
    assert len(tiny.asked) == asked + 1


def test_trades_are_read_on_from_an_id_in_pieces_of_a_thousand_or_more(kraken: tuple[TinyKraken, Venue]) -> None:
    tiny, venue = kraken
    printed(tiny, KBTC, [n * SECOND for n in range(3_500)])
    history, found = History(venue.codec, venue.rest, WallClock()), list[Trade]()
    first, since = 101, START + 99 * SECOND
    while len(page := history.trades_from(KBTC, first, since)) >= paging.PAGE:
        found += page
        first, since = page[-1].id + 1, page[-1].time
    assert [trade.id for trade in [*found, *page]] == list(range(101, 3_501))


# -- what it is called


@pytest.mark.parametrize("spelling", ["BTC/USD", "btc-usd", "BTCUSD", "XBT/USD", "xbtusd", " Btc_Usd "])
def test_an_instrument_of_kraken_goes_by_any_spelling(kraken: tuple[TinyKraken, Venue], spelling: str) -> None:
    tiny, venue = kraken
    assert venue.instrument(spelling).symbol == venue.instrument(spelling).native == "BTC/USD"
    assert len(tiny.asked) == 1


@pytest.mark.parametrize("spelling", ["BTC/USD", "btc-usd", "BTCUSD", "BTC-USD"])
def test_an_instrument_of_coinbase_goes_by_any_spelling(coinbase: tuple[TinyCoinbase, Venue], spelling: str) -> None:
    tiny, venue = coinbase
    assert venue.instrument(spelling).native == venue.instrument("btc/usd").native == "BTC-USD"
    assert len(tiny.asked) == 1


@pytest.mark.parametrize("typo", ["BTC/USDD", "BTCUSDD", "BTX-USD"])
def test_a_mistyped_symbol_is_told_the_nearest(
    kraken: tuple[TinyKraken, Venue], coinbase: tuple[TinyCoinbase, Venue], typo: str
) -> None:
    for _, venue in (kraken, coinbase):
        with pytest.raises(UnknownName, match=r"did you mean 'BTC/USD'.*lists all 2"):
            venue.instrument(typo)


def test_one_word_that_may_be_two_instruments_is_refused(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, venue = coinbase
    for native in ("AB-CUSD", "ABC-USD"):
        tiny.markets[native] = tiny.markets[CBTC]
    assert venue.instrument("ABC/USD").native == "ABC-USD"
    with pytest.raises(UsageError, match=r"may be AB/CUSD or ABC/USD|may be ABC/USD or AB/CUSD"):
        venue.instrument("ABCUSD")
    assert venue.instrument("AB/CUSD").native == "AB-CUSD"


def test_a_clock_that_was_put_ahead_leaves_out_none_of_the_bars_that_are_kept(
    coinbase: tuple[TinyCoinbase, Venue],
) -> None:
    tiny, _ = coinbase
    printed(tiny, CBTC, [n * MINUTE for n in range(50)])
    tiny.now -= SECOND
    clock, codec = ManualClock(tiny.now), UnpacedCoinbase()
    rest = Rest(codec, tiny.hosts, clock=clock)
    rest.sync()
    clock.advance(20 * SECOND)
    page = History(codec, rest, clock).newest(CBTC, "1m", START, 10)
    rest.close()
    assert (page["time"] - START).tolist()[-10:] == [n * MINUTE for n in range(40, 50)]


# -- how fast


@pytest.mark.parametrize(
    ("codec", "make", "limit", "window"),
    [(COINBASE, TinyCoinbase, 10, SECOND), (KRAKEN, TinyKraken, 30, 30 * SECOND)],
)
def test_no_more_is_asked_than_the_venue_allows_and_what_must_wait_does_not_fail(
    codec: MarketCodec, make: Callable[[], Loopback], limit: int, window: int
) -> None:
    tiny, clock, asked = make(), ManualClock(START), list[int]()
    rest = Rest(codec, tiny.hosts, clock=clock, sleep=lambda seconds: clock.advance(round(seconds * SECOND)), seed=1)
    for _ in range(5 * limit):
        rest.do(codec.time())
        asked.append(clock.now())
    rest.close()
    tiny.close()
    assert all(later - before > window for before, later in zip(asked, asked[limit:], strict=False))
    assert asked[limit * 8 // 10 - 1] == START
    assert asked[-1] < START + 10 * window


def test_a_clock_told_in_whole_seconds_is_known_to_half_of_one(kraken: tuple[TinyKraken, Venue]) -> None:
    tiny, _ = kraken
    for further in (0, SECOND // 2, SECOND - 1):
        tiny.now = START // SECOND * SECOND + further
        rest = Rest(KRAKEN, tiny.hosts, clock=ManualClock(tiny.now))
        offset = rest.sync()
        assert abs(offset.offset) <= offset.uncertainty == SECOND // 2
        rest.close()


def test_questions_of_many_threads_queue(coinbase: tuple[TinyCoinbase, Venue]) -> None:
    tiny, _ = coinbase
    rest = Rest(COINBASE, tiny.hosts, clock=WallClock())
    with ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(lambda _: rest.do(COINBASE.time()), range(12)))) == 12
    rest.close()


def test_what_is_not_worth_waiting_for_long_is_given_up(kraken: tuple[TinyKraken, Venue]) -> None:
    tiny, _ = kraken
    clock = ManualClock(START)
    rest = Rest(KRAKEN, tiny.hosts, clock=clock, sleep=lambda seconds: clock.advance(round(seconds * SECOND)), seed=1)
    for _ in range(25):
        rest.do(KRAKEN.time())
    with pytest.raises(RateLimited, match="held back, nothing was sent"):
        rest.do(replace(KRAKEN.time(), spare=True))
    assert clock.now() == START
    rest.do(KRAKEN.time())
    rest.close()
