from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import count

import pytest

from kit.errors import BookUnsynced
from kit.model import (
    Candle,
    Fees,
    Fill,
    Instrument,
    Levels,
    OrderRequest,
    OrderType,
    Report,
    ReportKind,
    Side,
    TimeInForce,
    Trade,
)
from kit.orders.matching import Simulator

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
GTC, IOC, FOK = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK
FREE = Fees(D(0), D(0))


class Picture:
    """A book that stands still."""

    def __init__(self, bids: Iterable[tuple[float, float]] = (), asks: Iterable[tuple[float, float]] = ()) -> None:
        self._bids, self._asks = list(bids), list(asks)

    def bids(self, n: int) -> Levels:
        return self._bids[:n]

    def asks(self, n: int) -> Levels:
        return self._asks[:n]


class Unsynced(Picture):
    """A book out of step: reading it raises."""

    def bids(self, n: int) -> Levels:
        raise BookUnsynced("gap")


CALM = Picture([(99.0, 1.0), (98.0, 2.0), (97.0, 3.0)], [(101.0, 1.0), (102.0, 2.0), (103.0, 3.0)])


def request(
    side: Side,
    qty: str,
    price: str | None = None,
    *,
    stop: str | None = None,
    tif: TimeInForce = GTC,
    post_only: bool = False,
) -> OrderRequest:
    types = {
        (False, False): OrderType.MARKET,
        (True, False): OrderType.LIMIT,
        (False, True): OrderType.STOP,
        (True, True): OrderType.STOP_LIMIT,
    }
    return OrderRequest(
        symbol="BTC/USDT",
        side=side,
        type=types[price is not None, stop is not None],
        qty=D(qty),
        price=D(price) if price else None,
        stop=D(stop) if stop else None,
        tif=tif,
        post_only=post_only,
    )


def trade(price: float, qty: float, side: Side, time: int = 50) -> Trade:
    return Trade("BTCUSDT", 1, price, qty, time, side)


def bar(o: float, h: float, l: float, c: float, volume: float = 100.0, time: int = 100) -> Candle:  # noqa: E741 - open high low close
    return Candle("BTCUSDT", "1m", time, o, h, l, c, volume, volume * c, 10, closed=True)


def fills(reports: Iterable[Report]) -> list[Fill]:
    return [report.fill for report in reports if report.fill]


def prints(reports: Iterable[Report]) -> list[tuple[str, str]]:
    """Quantity @ price of every fill, as text."""
    return [(f"{fill.qty.normalize():f}", f"{fill.price.normalize():f}") for fill in fills(reports)]


def queue(sim: Simulator) -> Decimal | None:
    return sim.working["a"].queue_ahead


def kinds(reports: Iterable[Report]) -> list[str]:
    return [str(report.kind) for report in reports]


@pytest.fixture
def sim(btc: Instrument) -> Simulator:
    """An exchange that has shown no picture yet."""
    numbers = count(1)
    return Simulator(btc, FREE, ids=lambda: next(numbers))


@pytest.fixture
def calm(sim: Simulator) -> Simulator:
    """Bids 99 (1), 98 (2), 97 (3); asks 101 (1), 102 (2), 103 (3)."""
    sim.on_book(CALM, 1)
    return sim


def test_a_market_order_walks_the_displayed_book(calm: Simulator) -> None:
    reports = calm.submit("a", request(BUY, "2.5"), 10)
    assert kinds(reports) == ["accepted", "filled", "filled"]
    assert prints(reports) == [("1", "101"), ("1.5", "102")]
    assert not calm.working


def test_a_market_order_that_empties_the_book_expires_with_the_reason(calm: Simulator) -> None:
    reports = calm.submit("a", request(SELL, "10"), 10)
    assert prints(reports) == [("1", "99"), ("2", "98"), ("3", "97")]
    assert reports[-1].kind is ReportKind.EXPIRED
    assert reports[-1].reason.startswith("INSUFFICIENT_LIQUIDITY")


def test_three_buys_of_the_same_displayed_size_do_not_all_get_it(calm: Simulator) -> None:
    """The pain of every simulator that refills: an ask of 1.0 sold 1.0 three times over."""
    got = [prints(calm.submit(name, request(BUY, "1"), 10)) for name in "abc"]
    assert got == [[("1", "101")], [("1", "102")], [("1", "102")]]
    calm.on_book(Picture(CALM.bids(9), CALM.asks(9)), 11)
    assert prints(calm.submit("d", request(BUY, "1"), 12)) == [("1", "103")]


def test_a_level_that_grows_offers_only_what_was_added(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1"), 10)
    calm.on_book(Picture([(99.0, 1.0)], [(101.0, 1.25)]), 11)
    assert prints(calm.submit("b", request(BUY, "1"), 12)) == [("0.25", "101")]


def test_reports_say_who_when_and_under_which_numbers(calm: Simulator) -> None:
    accepted, first, second = calm.submit("a", request(BUY, "2"), 10)
    assert {report.client_id for report in (accepted, first, second)} == {"a"}
    assert {report.venue_id for report in (accepted, first, second)} == {"1"}
    assert [fill.id for fill in fills([first, second])] == ["2", "3"]
    assert all(fill.time == 10 and fill.symbol == "BTC/USDT" and not fill.maker for fill in fills([first, second]))


def test_fees_come_out_of_what_is_received_by_maker_and_taker(btc: Instrument) -> None:
    numbers = count()
    sim = Simulator(btc, Fees(maker=D("0.001"), taker=D("0.002")), ids=lambda: next(numbers))
    sim.on_book(CALM, 1)
    bought = fills(sim.submit("a", request(BUY, "1"), 2))[0]
    assert (bought.fee, bought.fee_asset) == (D("0.002"), "BTC")
    sold = fills(sim.submit("b", request(SELL, "1"), 2))[0]
    assert (sold.fee, sold.fee_asset) == (D("0.198"), "USDT")
    sim.submit("c", request(BUY, "1", "98.5"), 3)
    made = fills(sim.on_trade(trade(98.0, 5.0, SELL), 60))[0]
    assert (made.fee, made.fee_asset, made.maker) == (D("0.001"), "BTC", True)


def test_a_fee_is_rounded_to_eight_decimals_against_us(btc: Instrument) -> None:
    numbers = count()
    sim = Simulator(btc, Fees(taker=D("0.00075")), ids=lambda: next(numbers))
    sim.on_book(Picture(asks=[(101.0, 1.0)], bids=[(33.33, 1.0)]), 1)
    assert fills(sim.submit("a", request(SELL, "0.001"), 2))[0].fee == D("0.000025")
    sim.on_book(Picture(bids=[(33.37, 1.0)]), 1)
    assert fills(sim.submit("b", request(SELL, "0.001"), 2))[0].fee == D("0.00002503")


def test_a_budget_is_never_overspent(calm: Simulator) -> None:
    """101 + 102 would cover two; with 150 the second stops where the money does."""
    reports = calm.submit("a", request(BUY, "2"), 10, budget=D(150))
    assert prints(reports) == [("1", "101"), ("0.48", "102")]
    assert reports[-1].kind is ReportKind.EXPIRED
    assert reports[-1].reason.startswith("INSUFFICIENT_BALANCE")
    assert kinds(calm.submit("b", request(BUY, "1"), 10, budget=D("0.05"))) == ["accepted", "expired"]


def test_a_limit_that_crosses_takes_what_it_accepts_and_rests_with_the_remainder(calm: Simulator) -> None:
    reports = calm.submit("a", request(BUY, "5", "102"), 10)
    assert prints(reports) == [("1", "101"), ("2", "102")]
    assert calm.working["a"].remaining == 2
    assert kinds(calm.cancel("a", 11)) == ["canceled"]
    assert calm.cancel("a", 12) == []


def test_an_ioc_takes_what_there_is_and_expires(calm: Simulator) -> None:
    reports = calm.submit("a", request(BUY, "5", "101.5", tif=IOC), 10)
    assert prints(reports) == [("1", "101")]
    assert reports[-1].reason.startswith("UNFILLED_IOC_QUANTITY_EXPIRED")
    assert not calm.working


def test_a_fok_is_all_or_nothing(calm: Simulator) -> None:
    reports = calm.submit("a", request(BUY, "4", "102", tif=FOK), 10)
    assert kinds(reports) == ["accepted", "expired"]
    assert reports[-1].reason.startswith("UNFILLED_FOK")
    assert prints(calm.submit("b", request(BUY, "3", "102", tif=FOK), 10)) == [("1", "101"), ("2", "102")]


def test_post_only_that_would_take_is_rejected_in_binances_words(calm: Simulator) -> None:
    (report,) = calm.submit("a", request(BUY, "1", "101", post_only=True), 10)
    assert (report.kind, report.reason) == (ReportKind.REJECTED, "Order would immediately match and take.")
    assert kinds(calm.submit("b", request(BUY, "1", "100.99", post_only=True), 10)) == ["accepted"]


def test_an_id_that_is_working_is_not_taken_twice(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "98"), 10)
    assert calm.submit("a", request(BUY, "1", "98"), 11) == []
    assert len(calm.working) == 1


# without a picture


def test_before_the_first_picture_an_order_waits(sim: Simulator) -> None:
    assert kinds(sim.submit("a", request(BUY, "1"), 10)) == ["accepted"]
    assert sim.on_trade(trade(50.0, 9.0, SELL), 51) == []
    assert prints(sim.on_book(CALM, 60)) == [("1", "101")]


def test_post_only_that_waited_is_rejected_by_its_first_picture(sim: Simulator) -> None:
    sim.submit("a", request(BUY, "1", "101", post_only=True), 10)
    assert kinds(sim.on_book(CALM, 60)) == ["rejected"]
    assert not sim.working


def test_nothing_fills_on_a_book_out_of_step(calm: Simulator) -> None:
    calm.on_book(Unsynced(), 5)
    assert kinds(calm.submit("a", request(BUY, "1"), 10)) == ["accepted"]
    assert calm.on_book(Unsynced(), 11) == []
    assert prints(calm.on_book(CALM, 12)) == [("1", "101")]


def test_a_picture_from_before_the_arrival_fills_nothing(sim: Simulator) -> None:
    sim.submit("a", request(BUY, "1"), 10)
    assert sim.on_book(CALM, 9) == []
    assert prints(sim.on_book(CALM, 10)) == [("1", "101")]


def test_a_trade_from_before_the_arrival_fills_nothing(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "98"), 10)
    assert calm.on_trade(trade(90.0, 9.0, SELL, time=9), 60) == []
    assert prints(calm.on_trade(trade(90.0, 9.0, SELL, time=10), 60)) == [("1", "98")]


# resting


def test_a_trade_through_a_resting_limit_fills_it_at_its_own_price(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "98"), 10)
    (fill,) = fills(calm.on_trade(trade(97.99, 5.0, SELL), 60))
    assert (fill.qty, fill.price, fill.maker, fill.time) == (D(1), D(98), True, 60)


def test_a_fill_is_never_more_than_what_traded(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "98"), 10)
    calm.submit("b", request(BUY, "1", "98.5"), 10)
    reports = calm.on_trade(trade(97.0, 1.25, SELL), 60)
    assert [(report.client_id, *prints([report])[0]) for report in reports] == [("b", "1", "98.5"), ("a", "0.25", "98")]


def test_at_its_price_the_queue_displayed_at_arrival_goes_first(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "98"), 10)
    assert queue(calm) == 2
    assert calm.on_trade(trade(98.0, 1.5, SELL), 60) == []
    assert queue(calm) == D("0.5")
    assert prints(calm.on_trade(trade(98.0, 0.75, SELL), 61)) == [("0.25", "98")]
    assert prints(calm.on_trade(trade(98.0, 9.0, SELL), 62)) == [("0.75", "98")]


def test_our_own_orders_queue_behind_each_other(calm: Simulator) -> None:
    for name in "ab":
        calm.submit(name, request(BUY, "1", "98"), 10)
    reports = calm.on_trade(trade(98.0, 3.5, SELL), 60)
    assert [(report.client_id, *prints([report])[0]) for report in reports] == [("a", "1", "98"), ("b", "0.5", "98")]


def test_a_buyers_print_at_our_bid_does_not_move_our_queue(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "98"), 10)
    assert calm.on_trade(trade(98.0, 9.0, BUY), 60) == []
    assert queue(calm) == 2


def test_a_better_price_than_any_displayed_has_no_queue(calm: Simulator) -> None:
    calm.submit("a", request(SELL, "1", "100"), 10)
    assert queue(calm) == 0
    assert prints(calm.on_trade(trade(100.0, 0.4, BUY), 60)) == [("0.4", "100")]


def test_a_price_beyond_the_picture_has_an_unknown_queue_until_the_market_comes_near(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "90"), 10)
    assert queue(calm) is None
    assert calm.on_trade(trade(90.0, 99.0, SELL), 60) == []
    calm.on_book(Picture([(90.0, 4.0)], [(91.0, 1.0)]), 61)
    assert queue(calm) == 4
    assert prints(calm.on_trade(trade(90.0, 4.5, SELL), 62)) == [("0.5", "90")]


def test_a_queue_cannot_be_longer_than_what_its_level_shows_at_the_top(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "99"), 10)
    assert queue(calm) == 1
    calm.on_book(Picture([(99.0, 0.2)], [(101.0, 1.0)]), 11)
    assert queue(calm) == D("0.2")
    calm.on_book(Picture([(99.0, 7.0)], [(101.0, 1.0)]), 12)
    assert queue(calm) == D("0.2")
    calm.on_book(Picture([(98.0, 7.0)], [(101.0, 1.0)]), 13)
    assert queue(calm) == 0


def test_whoever_shows_a_price_that_meets_a_resting_limit_fills_it_as_maker(calm: Simulator) -> None:
    """A seller at 98.5 or at 99 would have met our bid at 99; we pay our price, not theirs."""
    calm.submit("a", request(BUY, "2", "99"), 10)
    crossed = Picture([(98.0, 1.0)], [(98.5, 0.5), (99.0, 0.25), (99.5, 9.0)])
    reports = calm.on_book(crossed, 11)
    assert prints(reports) == [("0.5", "99"), ("0.25", "99")]
    assert all(fill.maker for fill in fills(reports))
    assert calm.on_book(crossed, 12) == []


def test_a_book_that_touches_no_order_does_nothing(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", "98"), 10)
    calm.submit("b", request(SELL, "1", "105"), 10)
    assert calm.on_book(CALM, 11) == []


# stops


def test_a_stop_triggers_on_a_trade_and_meets_the_next_picture(calm: Simulator) -> None:
    """The last picture is from before the fall: its bid of 99 was gone when 95 traded."""
    calm.submit("a", request(SELL, "1", stop="96"), 10)
    assert calm.on_trade(trade(96.01, 1.0, SELL), 60) == []
    assert kinds(calm.on_trade(trade(95.0, 1.0, SELL), 61)) == ["triggered"]
    assert prints(calm.on_book(Picture([(94.5, 3.0)], [(95.5, 1.0)]), 62)) == [("1", "94.5")]


def test_a_buy_stop_triggers_upwards(calm: Simulator) -> None:
    calm.submit("a", request(BUY, "1", stop="105"), 10)
    assert calm.on_trade(trade(104.99, 1.0, BUY), 60) == []
    assert kinds(calm.on_trade(trade(105.0, 1.0, BUY), 61)) == ["triggered"]


def test_a_dormant_stop_is_touched_by_no_book_and_no_price(calm: Simulator) -> None:
    calm.submit("a", request(SELL, "1", "90", stop="95"), 10)
    assert calm.on_book(Picture([(96.0, 9.0)], [(97.0, 9.0)]), 11) == []
    assert calm.on_trade(trade(99.0, 9.0, BUY), 60) == []


def test_a_stop_limit_becomes_a_limit(calm: Simulator) -> None:
    calm.submit("a", request(SELL, "2", "95", stop="96"), 10)
    assert kinds(calm.on_trade(trade(95.5, 1.0, SELL), 60)) == ["triggered"]
    assert prints(calm.on_book(Picture([(95.25, 0.5), (94.0, 9.0)], [(96.0, 1.0)]), 61)) == [("0.5", "95.25")]
    assert queue(calm) == 0
    assert prints(calm.on_trade(trade(95.5, 9.0, BUY), 62)) == [("1.5", "95")]


def test_a_stop_already_passed_is_rejected_in_binances_words(calm: Simulator) -> None:
    calm.on_trade(trade(95.0, 1.0, SELL), 5)
    (report,) = calm.submit("a", request(SELL, "1", stop="96"), 10)
    assert (report.kind, report.reason) == (ReportKind.REJECTED, "Stop price would trigger immediately.")


# after a restart


def test_a_restored_limit_rests_without_its_place_in_the_queue(sim: Simulator) -> None:
    sim.restore(request(BUY, "1", "98"), "a", "77", D("0.25"), 10)
    assert sim.working["a"].remaining == D("0.75")
    assert sim.on_trade(trade(98.0, 99.0, SELL), 60) == []
    (report,) = sim.on_trade(trade(97.0, 99.0, SELL), 61)
    assert report.venue_id == "77"
    assert prints([report]) == [("0.75", "98")]


def test_a_restored_market_order_and_a_restored_stop_go_on_waiting(sim: Simulator) -> None:
    sim.restore(request(BUY, "1"), "a", "1", D(0), 10)
    sim.restore(request(SELL, "1", stop="90"), "b", "2", D(0), 10)
    sim.restore(request(SELL, "1", "98.5", stop="99"), "c", "3", D(0), 10, triggered=True)
    assert prints(sim.on_book(CALM, 11)) == [("1", "101"), ("1", "98.5")]
    assert set(sim.working) == {"b"}


def test_what_is_already_filled_is_not_restored(sim: Simulator) -> None:
    sim.restore(request(BUY, "1", "98"), "a", "1", D(1), 10)
    assert not sim.working


# bars


def test_a_market_order_fills_at_the_next_open_half_the_spread_worse(btc: Instrument) -> None:
    numbers = count()
    sim = Simulator(btc, FREE, ids=lambda: next(numbers), bar_spread=D("0.001"))
    sim.submit("a", request(BUY, "1"), 100)
    sim.submit("b", request(SELL, "1"), 100)
    assert prints(sim.on_bar(bar(100.0, 101.0, 99.0, 100.5), 160)) == [("1", "100.05"), ("1", "99.95")]


def test_a_spread_between_two_ticks_is_rounded_against_the_taker(btc: Instrument) -> None:
    numbers = count()
    sim = Simulator(btc, FREE, ids=lambda: next(numbers), bar_spread=D("0.0001"))
    sim.submit("a", request(BUY, "1"), 100)
    sim.submit("b", request(SELL, "1"), 100)
    assert prints(sim.on_bar(bar(100.0, 101.0, 99.0, 100.5), 160)) == [("1", "100.01"), ("1", "99.99")]


def test_a_bar_that_opened_before_the_order_arrived_fills_nothing(sim: Simulator) -> None:
    sim.submit("a", request(BUY, "1"), 101)
    assert sim.on_bar(bar(100.0, 101.0, 99.0, 100.0, time=100), 160) == []
    assert prints(sim.on_bar(bar(102.0, 103.0, 101.0, 102.0, time=160), 220)) == [("1", "102")]


def test_a_bar_fills_no_more_than_traded_in_it(sim: Simulator) -> None:
    sim.submit("a", request(BUY, "2"), 0)
    sim.submit("b", request(BUY, "2"), 0)
    reports = sim.on_bar(bar(100.0, 101.0, 99.0, 100.0, volume=3.0), 160)
    assert prints(reports) == [("2", "100"), ("1", "100")]
    assert reports[-1].kind is ReportKind.EXPIRED


@pytest.mark.parametrize("volume", [0.0, float("nan")])
def test_a_bar_in_which_nothing_traded_fills_nothing(sim: Simulator, volume: float) -> None:
    sim.submit("a", request(BUY, "2"), 0)
    assert sim.on_bar(bar(100.0, 100.0, 100.0, 100.0, volume), 160) == []
    assert set(sim.working) == {"a"}


def test_a_market_buy_on_a_bar_keeps_to_its_budget(sim: Simulator) -> None:
    sim.submit("a", request(BUY, "2"), 0, budget=D(150))
    reports = sim.on_bar(bar(100.0, 101.0, 99.0, 100.0), 160)
    assert prints(reports) == [("1.5", "100")]
    assert reports[-1].reason.startswith("INSUFFICIENT_BALANCE")


@pytest.mark.parametrize(
    ("side", "limit", "bar_", "price"),
    [
        (BUY, "99", bar(100.0, 101.0, 98.99, 100.0), "99"),  # gone through: its own price
        (BUY, "99", bar(100.0, 101.0, 99.0, 100.0), None),  # only touched: the queue is not known
        (BUY, "99", bar(97.0, 101.0, 96.0, 100.0), "97"),  # arrives at an open below it: takes the open
        (BUY, "99", bar(99.0, 101.0, 98.0, 100.0), "99"),
        (SELL, "101", bar(100.0, 101.01, 99.0, 100.0), "101"),
        (SELL, "101", bar(100.0, 101.0, 99.0, 100.0), None),
        (SELL, "101", bar(103.0, 104.0, 99.0, 100.0), "103"),
    ],
)
def test_a_limit_needs_the_bar_to_go_strictly_through(
    sim: Simulator, side: Side, limit: str, bar_: Candle, price: str | None
) -> None:
    sim.submit("a", request(side, "1", limit), 0)
    assert prints(sim.on_bar(bar_, 160)) == ([("1", price)] if price else [])


def test_a_gap_through_a_resting_limit_gives_the_limit_not_the_open(sim: Simulator) -> None:
    """In a book that never closed, whoever sold down to 97 met our bid at 99 first."""
    sim.submit("a", request(BUY, "1", "99"), 0)
    assert sim.on_bar(bar(100.0, 101.0, 99.5, 100.0), 160) == []
    (fill,) = fills(sim.on_bar(bar(97.0, 98.0, 96.0, 97.0, time=160), 220))
    assert (fill.price, fill.maker) == (D(99), True)


def test_an_ioc_and_a_fok_see_one_open_and_are_over(sim: Simulator) -> None:
    sim.submit("ioc", request(BUY, "1", "99", tif=IOC), 0)
    sim.submit("fok", request(BUY, "200", "105", tif=FOK), 0)
    assert kinds(sim.on_bar(bar(100.0, 101.0, 90.0, 100.0), 160)) == ["expired", "expired"]


def test_post_only_is_rejected_at_an_open_it_would_take(sim: Simulator) -> None:
    sim.submit("a", request(BUY, "1", "99", post_only=True), 0)
    assert kinds(sim.on_bar(bar(98.0, 101.0, 97.0, 100.0), 160)) == ["rejected"]


@pytest.mark.parametrize(
    ("side", "stop", "bar_", "price"),
    [
        (SELL, "95", bar(100.0, 101.0, 94.0, 100.0), "95"),  # reached on the way: at the stop
        (SELL, "95", bar(100.0, 101.0, 95.0, 100.0), "95"),  # a stop triggers at its price, not only through it
        (SELL, "95", bar(90.0, 101.0, 89.0, 100.0), "90"),  # jumped over: at the open, which is worse
        (SELL, "95", bar(100.0, 101.0, 95.01, 100.0), None),
        (BUY, "105", bar(100.0, 106.0, 99.0, 100.0), "105"),
        (BUY, "105", bar(110.0, 111.0, 99.0, 100.0), "110"),
    ],
)
def test_a_stop_on_a_bar(sim: Simulator, side: Side, stop: str, bar_: Candle, price: str | None) -> None:
    sim.submit("a", request(side, "1", stop=stop), 0)
    reports = sim.on_bar(bar_, 160)
    assert kinds(reports) == (["triggered", "filled"] if price else [])
    assert prints(reports) == ([("1", price)] if price else [])


def test_in_one_bar_the_protective_stop_comes_before_the_target(sim: Simulator) -> None:
    sim.submit("target", request(SELL, "1", "105"), 0)
    sim.submit("stop", request(SELL, "1", stop="95"), 0)
    reports = sim.on_bar(bar(100.0, 106.0, 94.0, 100.0), 160)
    assert [report.client_id for report in reports if report.fill] == ["stop", "target"]


def test_a_stop_limit_triggered_inside_a_bar_counts_only_what_came_after_for_certain(sim: Simulator) -> None:
    """The bar's high may have come before its low, so only the close is known to follow the trigger."""
    sim.submit("a", request(SELL, "1", "97", stop="95"), 0)
    assert kinds(sim.on_bar(bar(100.0, 101.0, 94.0, 96.0), 160)) == ["triggered"]
    assert prints(sim.on_bar(bar(96.0, 97.01, 95.0, 96.0, time=160), 220)) == [("1", "97")]
    sim.submit("b", request(SELL, "1", "94.5", stop="95"), 160)
    assert prints(sim.on_bar(bar(96.0, 97.0, 94.0, 96.0, time=220), 280)) == [("1", "95")]
    sim.submit("c", request(SELL, "1", "95.5", stop="95"), 220)
    assert prints(sim.on_bar(bar(96.0, 97.0, 94.0, 96.0, time=280), 340)) == [("1", "95.5")]


def test_the_last_bars_close_is_the_last_price_that_stops_are_held_against(sim: Simulator) -> None:
    sim.on_bar(bar(100.0, 101.0, 94.0, 96.0), 160)
    assert kinds(sim.submit("a", request(SELL, "1", stop="97"), 160)) == ["rejected"]
    assert kinds(sim.submit("b", request(SELL, "1", stop="95"), 160)) == ["accepted"]
