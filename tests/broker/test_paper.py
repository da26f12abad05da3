"""The paper venue: nothing fills before it could have arrived, and the answer takes its time back."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.broker import paper as room
from kit.broker.gateway import Accepted, Refused, Unknown
from kit.broker.paper import PaperGateway
from kit.broker.paper_venue import PaperVenue
from kit.clock import SECOND, WallClock
from kit.errors import BookUnsynced, StoreError, UnknownName, VenueUnreachable
from kit.market.feed import FeedState
from kit.model import ZERO, Fees, Instrument, OrderRequest, OrderStatus, OrderType, Report, ReportKind, Side, Trade
from kit.orders.lifecycle import OrderRecord

Market = Any  # the fixture of conftest.py

MS = 1_000
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))
REST = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.5"), price=Decimal(95))


def print_at(price: float, qty: float, now: int) -> Trade:
    return Trade("BTC/USDT", 1, price, qty, now, Side.SELL)


def kinds(venue: PaperVenue, now: int) -> list[ReportKind]:
    return [report.kind for answer in venue.answers(now) for report in answer.reports]


# -- the venue, in virtual time


@pytest.fixture
def venue() -> PaperVenue:
    return PaperVenue(Fees(), latency=50 * MS, seed=1)


def test_an_order_meets_the_first_picture_after_its_arrival(venue: PaperVenue, market: Market, btc: Instrument) -> None:
    venue.send(btc, BUY, "a", None, 0)
    venue.see(btc, market, market.quote, None, 20 * MS)
    assert venue.under_way("a")
    market.show(199, 201)
    venue.see(btc, market, market.quote, None, 90 * MS)
    assert kinds(venue, 90 * MS) == []
    accepted, filled = (report for answer in venue.answers(SECOND) for report in answer.reports)
    assert accepted.reason == "bid 199, ask 201 on arrival"
    assert filled.fill is not None
    assert (filled.fill.price, filled.time) == (Decimal(201), 90 * MS)


@given(st.integers(0, 2**32), st.lists(st.integers(0, 400 * MS), min_size=1, max_size=20, unique=True))
def test_no_fill_before_the_order_could_have_arrived(seed: int, frames: list[int]) -> None:
    from_conftest = _Shown()
    venue = PaperVenue(Fees(), latency=100 * MS, seed=seed)
    venue.send(_BTC, BUY, "a", None, 0)
    reports: list[tuple[int, Report]] = []
    for now in sorted(frames):
        venue.see(_BTC, from_conftest, None, None, now)
        reports += [(answer.due, report) for answer in venue.answers(2 * SECOND) for report in answer.reports]
    for due, report in reports:
        assert report.time >= 50 * MS
        assert report.time in frames
        assert due >= report.time + 50 * MS


@given(st.integers(0, 2**32), st.lists(st.integers(0, 50), min_size=2, max_size=15))
def test_nothing_overtakes_on_the_way_back(seed: int, gaps: list[int]) -> None:
    shown, venue, now = _Shown(), PaperVenue(Fees(), latency=100 * MS, seed=seed), 0
    for number, gap in enumerate(gaps):
        now += gap * MS
        venue.send(_BTC, BUY, f"{number}", None, now)
        venue.see(_BTC, shown, None, None, now)
    venue.see(_BTC, shown, None, None, now + SECOND)
    times = [report.time for answer in venue.answers(now + 2 * SECOND) for report in answer.reports]
    assert times == sorted(times)


def test_the_same_seed_is_the_same_journey(market: Market, btc: Instrument) -> None:
    dues = []
    for _ in range(2):
        venue = PaperVenue(Fees(), latency=50 * MS, seed=7)
        venue.send(btc, BUY, "a", None, 0)
        venue.see(btc, market, market.quote, None, SECOND)
        dues.append(venue.next_time())
    assert dues[0] == dues[1]


def test_a_cancel_takes_effect_without_a_picture(venue: PaperVenue, market: Market, btc: Instrument) -> None:
    venue.send(btc, REST, "a", None, 0)
    venue.see(btc, market, market.quote, None, 100 * MS)
    venue.recall(btc, "a", 200 * MS)
    venue.pass_time(220 * MS)
    assert venue.works("a")
    venue.pass_time(275 * MS)
    assert not venue.works("a")
    assert kinds(venue, SECOND) == [ReportKind.ACCEPTED, ReportKind.CANCELED]


def test_a_cancel_that_arrives_before_a_trade_wins(venue: PaperVenue, market: Market, btc: Instrument) -> None:
    venue.send(btc, REST, "a", None, 0)
    venue.see(btc, market, market.quote, None, 100 * MS)
    venue.recall(btc, "a", 200 * MS)
    venue.see(btc, market, market.quote, print_at(90, 9, 300 * MS), 300 * MS)
    assert kinds(venue, SECOND) == [ReportKind.ACCEPTED, ReportKind.CANCELED]


def test_a_fill_before_the_cancel_arrives_wins(venue: PaperVenue, market: Market, btc: Instrument) -> None:
    venue.send(btc, REST, "a", None, 0)
    venue.see(btc, market, market.quote, None, 100 * MS)
    venue.recall(btc, "a", 200 * MS)
    venue.see(btc, market, market.quote, print_at(90, 9, 210 * MS), 210 * MS)
    venue.pass_time(SECOND)
    assert kinds(venue, 2 * SECOND) == [ReportKind.ACCEPTED, ReportKind.FILLED]


def test_an_order_cancelled_while_the_market_is_silent_never_matches(
    venue: PaperVenue, market: Market, btc: Instrument
) -> None:
    venue.send(btc, BUY, "a", None, 0)
    venue.recall(btc, "a", 100 * MS)
    venue.pass_time(SECOND)
    venue.see(btc, market, market.quote, None, 2 * SECOND)
    assert kinds(venue, 3 * SECOND) == [ReportKind.CANCELED]


def test_a_restored_order_goes_on_and_its_ids_are_not_given_again(market: Market, btc: Instrument) -> None:
    venue = PaperVenue(Fees(), latency=0, seed=1)
    venue.restore(btc, OrderRecord("old", REST, 0, status=OrderStatus.OPEN, venue_id="41"), None, 0)
    venue.restore(btc, OrderRecord("done", BUY, 0, status=OrderStatus.FILLED, venue_id="77"), None, 0)
    assert venue.works("old")
    assert not venue.works("done")
    venue.see(btc, market, market.quote, None, 1)
    venue.see(btc, market, market.quote, print_at(90, 9, 2), 2)
    (report,) = (report for answer in venue.answers(SECOND) for report in answer.reports)
    assert report.venue_id == "41"
    assert report.fill is not None
    assert report.fill.id == "78"


def test_a_buy_at_market_spends_no_more_than_was_reserved(market: Market, btc: Instrument) -> None:
    venue = PaperVenue(Fees(), latency=0, seed=1)
    venue.send(btc, BUY, "a", Decimal(30), 0)
    venue.see(btc, market, market.quote, None, 0)
    filled, expired = [report for answer in venue.answers(0) for report in answer.reports][1:]
    assert filled.fill is not None
    assert filled.fill.notional <= 30
    assert expired.kind is ReportKind.EXPIRED


def test_a_restored_buy_at_market_spends_no_more_than_is_still_reserved(market: Market, btc: Instrument) -> None:
    venue = PaperVenue(Fees(), latency=0, seed=1)
    venue.restore(btc, OrderRecord("old", BUY, 0, status=OrderStatus.PARTIAL, venue_id="41"), Decimal(30), 0)
    venue.see(btc, market, market.quote, None, 1)
    filled, expired = (report for answer in venue.answers(SECOND) for report in answer.reports)
    assert filled.fill is not None
    assert filled.fill.notional <= 30
    assert expired.kind is ReportKind.EXPIRED


def test_a_stop_is_judged_by_the_last_trade_though_nothing_worked_when_it_came(market: Market, btc: Instrument) -> None:
    venue = PaperVenue(Fees(), latency=0, seed=1)
    venue.send(btc, REST, "a", None, 0)
    venue.see(btc, market, market.quote, print_at(100, 1, 1), 1)
    venue.recall(btc, "a", 2)
    venue.pass_time(2)
    market.show(109, 111)
    venue.see(btc, market, market.quote, print_at(110, 1, 3), 3)
    stop = OrderRequest(
        symbol="BTC/USDT", side=Side.SELL, type=OrderType.STOP, qty=Decimal("0.5"), stop=Decimal(105)
    )  # above the trade at 100, below the one at 110
    venue.send(btc, stop, "b", None, 4)
    venue.see(btc, market, market.quote, None, 5)
    assert kinds(venue, SECOND)[-1] is ReportKind.ACCEPTED
    assert venue.works("b")


def test_what_was_taken_is_there_again_once_its_level_was_gone(market: Market, btc: Instrument) -> None:
    venue = PaperVenue(Fees(), latency=0, seed=1)
    prices = []
    for name, now in (("a", 0), ("b", 10), ("c", 20)):
        venue.send(btc, msgspec.structs.replace(BUY, qty=Decimal(1)), name, None, now)
        venue.see(btc, market, market.quote, None, now + 1)
        prices += [r.fill.price for answer in venue.answers(SECOND) for r in answer.reports if r.fill]
        if name == "b":
            for bid, ask in ((102, 104), (99, 101)):
                market.show(bid, ask)
                venue.see(btc, market, market.quote, None, now + 2)
    assert prices == [Decimal(101), Decimal(102), Decimal(101)]


class _Shown:
    """A book that never moves."""

    def bids(self, n: int) -> list[tuple[float, float]]:
        return [(99.0, 100.0)]

    def asks(self, n: int) -> list[tuple[float, float]]:
        return [(101.0, 100.0)]


_BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
)


# -- the gateway, on the clock


class Desk:
    """Hears what a desk would hear."""

    def __init__(self) -> None:
        self.heard: list[Report] = []
        self.threads: set[str] = set()

    def on_report(self, report: Report) -> None:
        self.heard.append(report)
        self.threads.add(threading.current_thread().name)


def gateway(market: Market, *, latency: int = 0, patience: float = 5.0) -> tuple[PaperGateway, Desk]:
    made = PaperGateway(
        PaperVenue(Fees(), latency=latency, seed=1), lambda symbol: market, WallClock(), "test", patience=patience
    )
    desk = Desk()
    made.listen(desk.on_report)
    return made, desk


def frames_from_now_on(market: Market) -> threading.Event:
    """A market that shows something every few milliseconds until the event is set."""
    enough = threading.Event()

    def tick() -> None:
        while not enough.wait(0.005):
            market.tick()

    threading.Thread(target=tick, name="kit-test-market", daemon=True).start()
    return enough


def test_a_call_waits_for_the_round_trip_and_reports_come_first(market: Market, btc: Instrument) -> None:
    paper, desk = gateway(market, latency=40 * MS)
    enough = frames_from_now_on(market)
    began = time.monotonic()
    outcome = paper.submit(btc, BUY, "a")
    took = time.monotonic() - began
    enough.set()
    paper.close()
    assert isinstance(outcome, Accepted)
    assert [report.kind for report in desk.heard] == [ReportKind.ACCEPTED, ReportKind.FILLED]
    assert took >= 0.04
    assert desk.threads == {"kit-paper-test"}


def test_a_refusal_of_the_venue_is_refused(market: Market, btc: Instrument) -> None:
    paper, _ = gateway(market)
    enough = frames_from_now_on(market)
    post_only = OrderRequest(
        symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal(1), price=Decimal(101), post_only=True
    )
    outcome = paper.submit(btc, post_only, "a")
    enough.set()
    paper.close()
    assert isinstance(outcome, Refused)
    assert "immediately match" in outcome.reason


def test_what_may_still_fill_is_listed_and_what_is_over_is_not(market: Market, btc: Instrument) -> None:
    paper, _ = gateway(market)
    enough = frames_from_now_on(market)
    paper.submit(btc, REST, "a")
    paper.submit(btc, BUY, "b")
    (state,) = paper.open_orders()
    assert (state.client_id, state.status, state.filled, state.request) == ("a", OrderStatus.OPEN, ZERO, REST)
    paper.cancel(btc, "a")
    assert paper.open_orders() == []
    enough.set()
    paper.close()


def test_a_silent_market_leaves_the_outcome_unknown_until_it_speaks(market: Market, btc: Instrument) -> None:
    market.age = 60.0
    paper, desk = gateway(market, patience=0.05)
    assert isinstance(paper.submit(btc, BUY, "a"), Unknown)
    with pytest.raises(VenueUnreachable, match="not answered"):
        paper.query(btc, "a", 0)
    market.tick()
    _until(lambda: len(desk.heard) == 2)
    assert paper.query(btc, "a", 0) is None
    paper.close()


def test_a_quiet_book_proven_current_since_the_arrival_will_do(market: Market, btc: Instrument) -> None:
    """No frame comes, but REST has confirmed the picture: the age starts again."""
    market.age = 0.0
    paper, _ = gateway(market)
    assert isinstance(paper.submit(btc, BUY, "a"), Accepted)
    paper.close()


def test_nothing_is_matched_on_a_picture_that_is_not_live(market: Market, btc: Instrument) -> None:
    market.state = FeedState.STALE
    paper, desk = gateway(market, patience=0.05)
    assert isinstance(paper.submit(btc, BUY, "a"), Unknown)
    market.tick()
    assert not desk.heard
    market.state = FeedState.LIVE
    market.tick()
    _until(lambda: len(desk.heard) == 2)
    paper.close()


def test_a_cancel_is_answered_and_one_too_many_is_refused(market: Market, btc: Instrument) -> None:
    paper, _ = gateway(market)
    enough = frames_from_now_on(market)
    paper.submit(btc, REST, "a")
    assert isinstance(paper.cancel(btc, "a"), Accepted)
    assert isinstance(paper.cancel(btc, "a"), Refused)
    enough.set()
    paper.close()


def test_closing_answers_whoever_waits_and_ends_the_thread(market: Market, btc: Instrument) -> None:
    market.age = 60.0
    paper, _ = gateway(market, patience=30)
    outcomes: list[object] = []
    waiting = threading.Thread(target=lambda: outcomes.append(paper.submit(btc, BUY, "a")), name="kit-test-waits")
    waiting.start()
    _until(lambda: paper._venue.under_way("a"))
    paper.close()
    paper.close()
    waiting.join(5)
    assert isinstance(outcomes[0], Unknown)
    assert isinstance(paper.submit(btc, BUY, "b"), Refused)
    assert not [thread for thread in threading.enumerate() if thread.name == "kit-paper-test"]
    assert not market._callbacks


def test_two_threads_that_open_a_market_at_once_listen_to_it_once(market: Market, btc: Instrument) -> None:
    """Listened to twice, every print would fill twice what it traded."""

    def find(symbol: str) -> Market:
        time.sleep(0.05)
        return market

    paper = PaperGateway(PaperVenue(Fees(), latency=0, seed=1), find, WallClock(), "test")
    enough = frames_from_now_on(market)
    threads = [threading.Thread(target=paper.submit, args=(btc, REST, name), name="kit-test-buys") for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    enough.set()
    assert len(market._callbacks) == 1
    paper.close()


def test_a_live_frame_closed_by_its_owner_is_opened_again_for_the_next_order(market: Market, btc: Instrument) -> None:
    markets = [market, type(market)()]
    opened = iter(markets)
    paper = PaperGateway(PaperVenue(Fees(), latency=0, seed=1), lambda symbol: next(opened), WallClock(), "test")
    enough = frames_from_now_on(market)
    paper.submit(btc, BUY, "a")
    enough.set()
    market.state = FeedState.CLOSED
    paper.submit(btc, BUY, "b")
    paper.close()
    assert next(opened, None) is None


def test_a_live_frame_that_a_resting_order_depends_on_is_opened_again(
    market: Market, btc: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ATTENDANCE", 0.01)
    markets = [market, type(market)()]
    tries = iter([market, VenueUnreachable("no connection"), markets[1]])

    def find(symbol: str) -> Market:
        found = next(tries)
        if isinstance(found, Exception):
            raise found
        return found

    paper = PaperGateway(PaperVenue(Fees(), latency=0, seed=1), find, WallClock(), "test")
    desk = Desk()
    paper.listen(desk.on_report)
    enough = frames_from_now_on(market)
    paper.submit(btc, REST, "a")
    enough.set()
    market.state = FeedState.CLOSED
    _until(lambda: markets[1]._callbacks)
    markets[1].show(90, 91)
    _until(lambda: desk.heard[-1].kind is ReportKind.FILLED)
    paper.close()


RESTING_STOP = OrderRequest(
    symbol="BTC/USDT", side=Side.SELL, type=OrderType.STOP, qty=Decimal("0.5"), stop=Decimal(95)
)


class Resting:
    """A market at 99 to 101 whose socket goes down when an order rests in it."""

    def __init__(self, market: Market, btc: Instrument, request: OrderRequest) -> None:
        self.market = market
        self.paper, desk = gateway(market)
        self.heard = desk.heard
        market.trade(100, 1, _now() - SECOND)  # before the order: it fills nothing, whenever it is told
        enough = frames_from_now_on(market)
        assert isinstance(self.paper.submit(btc, request, "a"), Accepted)
        enough.set()
        time.sleep(0.02)  # the last of them is over
        market.state = FeedState.STALE

    @property
    def fills(self) -> list[tuple[Decimal, Decimal, int]]:
        return [(report.fill.price, report.fill.qty, report.fill.time) for report in self.heard if report.fill]

    def up_again(self) -> None:
        self.market.state = FeedState.LIVE
        for _ in range(2):
            self.market.tick()
        time.sleep(0.05)  # more would have come by now


def test_what_traded_while_the_socket_was_down_fills_a_resting_limit_when_it_is_told(
    market: Market, btc: Instrument
) -> None:
    resting = Resting(market, btc, REST)
    at = _now()
    for price, qty in ((94, 0.2), (97, 9), (93, 0.1)):
        market.miss(price, qty, at := at + MS)
    market.tick()
    assert not resting.fills
    market.trade(94, 0.1, at + MS)  # by the stream, and still out of step
    resting.up_again()
    market.say(market.told[-1])  # once more
    market.trade(94.5, 0.05, at + 2 * MS)
    market.say(market.told[-1])
    _until(lambda: len(resting.fills) == 4)
    resting.paper.close()
    assert resting.fills[:3] == [
        (Decimal(95), Decimal("0.2"), at - 2 * MS),
        (Decimal(95), Decimal("0.1"), at),
        (Decimal(95), Decimal("0.1"), at + MS),
    ]
    assert resting.fills[3][:2] == (Decimal(95), Decimal("0.05"))
    assert [report.kind for report in resting.heard] == [ReportKind.ACCEPTED, *4 * [ReportKind.FILLED]]


def test_what_traded_before_an_order_arrived_fills_it_never_however_late_it_is_told(
    market: Market, btc: Instrument
) -> None:
    resting = Resting(market, btc, REST)
    market.miss(90, 9, _now() - 10 * SECOND)
    resting.up_again()
    resting.paper.close()
    assert not resting.fills


def test_a_stop_that_was_reached_while_the_socket_was_down_meets_the_first_picture_after(
    market: Market, btc: Instrument
) -> None:
    resting = Resting(market, btc, RESTING_STOP)
    market.miss(94, 9, reached := _now())
    market.levels = {Side.BUY: [(96.0, 5.0)], Side.SELL: [(97.0, 5.0)]}
    resting.up_again()
    _until(lambda: resting.fills)
    resting.paper.close()
    triggered = next(report for report in resting.heard if report.kind is ReportKind.TRIGGERED)
    assert triggered.time == reached
    assert [fill[:2] for fill in resting.fills] == [(Decimal(96), Decimal("0.5"))]


def test_a_limit_goes_on_from_the_last_trade_in_a_frame_that_is_opened_again(
    market: Market, btc: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ATTENDANCE", 0.01)
    resting = Resting(market, btc, REST)
    market.state = FeedState.LIVE
    market.trade(94, 0.1, _now())
    again = type(market)()
    again.told = list(market.told)
    again.miss(94, 0.2, _now())
    monkeypatch.setattr(resting.paper, "_market", lambda symbol: again)
    market.state = FeedState.CLOSED
    _until(lambda: again._callbacks)
    again.tick()
    _until(lambda: len(resting.fills) == 2)
    resting.paper.close()
    assert [qty for _, qty, _ in resting.fills] == [Decimal("0.1"), Decimal("0.2")]


@pytest.mark.parametrize("reads", range(6))
def test_a_book_that_falls_out_of_step_while_it_is_looked_at_costs_no_report(
    reads: int, market: Market, btc: Instrument
) -> None:
    """The quiet look reads on another thread than the one that writes."""
    left = [reads]

    def bids(n: int) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise BookUnsynced("gone")
        return type(market).bids(market, n)

    market.bids = bids
    market.age = 0.0
    paper, desk = gateway(market)
    outcome = paper.submit(btc, BUY, "a")
    paper.close()
    assert isinstance(outcome, Accepted)
    assert [report.kind for report in desk.heard] == [ReportKind.ACCEPTED, ReportKind.FILLED]


def _now() -> int:
    return WallClock().now()


def _until(holds: Any) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_an_order_of_a_delisted_instrument_keeps_no_account_from_opening(btc: Instrument) -> None:
    def unknown(symbol: str) -> Market:
        raise UnknownName("symbol", symbol, ["ETH/USDT"])

    with closing(PaperGateway(PaperVenue(Fees(), latency=0, seed=1), unknown, WallClock(), "delisted")) as made:
        record = OrderRecord("old", REST, 0, status=OrderStatus.OPEN, venue_id="41")
        made.restore([(btc, record)], above=41)
        assert [state.client_id for state in made.open_orders()] == ["old"]
        outcome = made.cancel(btc, "old")
        assert isinstance(outcome, Accepted)
        assert [report.kind for report in outcome.reports] == [ReportKind.CANCELED]


def test_a_report_that_could_not_be_taken_in_is_told_again(market: Market, btc: Instrument) -> None:
    paper, desk = gateway(market)
    trouble = [StoreError("the journal could not be read (disk I/O error)")]

    def hear(report: Report) -> None:
        if trouble:
            raise trouble.pop()
        desk.on_report(report)

    paper.listen(hear)
    enough = frames_from_now_on(market)
    outcomes = [paper.submit(btc, BUY, name) for name in "ab"]
    enough.set()
    paper.close()
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]
    assert [report.client_id for report in desk.heard] == ["a", "a", "b", "b"]
