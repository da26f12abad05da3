from __future__ import annotations

from copy import deepcopy
from decimal import Decimal, localcontext
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer
from kit.model import Fill, OrderRequest, OrderStatus, OrderType, Report, ReportKind, Side
from kit.orders.lifecycle import TABLE, Event, OrderRecord

D = Decimal
S = OrderStatus
ALIVE = {S.INTENDED, S.UNKNOWN, S.OPEN, S.PARTIAL}


def fill(id_: str, qty: str = "1", price: str = "100") -> Fill:
    return Fill(
        id=id_,
        client_id="c",
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=D(qty),
        price=D(price),
        fee=D(0),
        fee_asset="BTC",
        time=5,
    )


def say(kind: ReportKind, *, time: int = 5, of: Fill | None = None, reason: str = "", venue_id: str = "7") -> Report:
    return Report(kind=kind, client_id="c", time=time, venue_id=venue_id, fill=of, reason=reason)


def filled(id_: str, qty: str = "1", price: str = "100") -> Report:
    return say(ReportKind.FILLED, of=fill(id_, qty, price))


def record(qty: str = "3") -> OrderRecord:
    request = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=D(qty), price=D(100))
    return OrderRecord("c", request, created=1)


def told(*reports: Report) -> OrderRecord:
    order = record()
    for report in reports:
        order.apply(report)
    return order


ACCEPTED, CANCELED = say(ReportKind.ACCEPTED), say(ReportKind.CANCELED)
EXPIRED, REJECTED = say(ReportKind.EXPIRED), say(ReportKind.REJECTED)


def test_every_word_has_somewhere_to_go_from_every_status() -> None:
    assert set(TABLE) == set(S)
    for status in S:
        assert set(TABLE[status]) == set(Event)


@pytest.mark.parametrize("status", list(S))
def test_a_whole_fill_fills_the_order_wherever_it_stood(status: OrderStatus) -> None:
    assert TABLE[status][Event.ALL_FILLED] is S.FILLED


@pytest.mark.parametrize(("status", "event"), list(product(S, Event)))
def test_only_signs_of_life_bring_back_an_order_that_was_over(status: OrderStatus, event: Event) -> None:
    """Over is over, but a rejection may have been concluded too early: "no such order" is not proof for ever."""
    after = TABLE[status][event]
    if status.final and after not in (status, S.FILLED):
        assert status is S.REJECTED
        assert event in (Event.ACCEPTED, Event.TRIGGERED, Event.PART_FILLED, Event.CANCELED, Event.EXPIRED)


@pytest.mark.parametrize("status", list(S))
def test_silence_never_ends_an_order(status: OrderStatus) -> None:
    assert TABLE[status][Event.UNANSWERED] is (S.UNKNOWN if status is S.INTENDED else status)


@pytest.mark.parametrize("event", list(Event))
def test_nothing_goes_back_to_intended(event: Event) -> None:
    assert all(TABLE[status][event] is not S.INTENDED for status in S)


def test_an_ordinary_life() -> None:
    order = record()
    assert order.average_price is None
    assert order.apply(ACCEPTED)
    assert (order.status, order.venue_id) == (S.OPEN, "7")
    assert order.apply(filled("1", "1", "100"))
    assert (order.status, order.filled, order.remaining) == (S.PARTIAL, D(1), D(2))
    assert order.apply(filled("2", "2", "97"))
    assert (order.status, order.remaining, order.filled_quote) == (S.FILLED, D(0), D(294))
    assert order.average_price == 98


@pytest.mark.parametrize(
    ("reports", "status", "quantity"),
    [
        ((filled("1"), ACCEPTED), S.PARTIAL, 1),  # the fill overtakes the acknowledgement
        ((ACCEPTED, CANCELED, filled("1")), S.CANCELED, 1),  # a fill told after the cancel that it beat
        ((ACCEPTED, CANCELED, filled("1", "3")), S.FILLED, 3),  # the same, and it was all of it
        ((ACCEPTED, filled("1", "3"), CANCELED), S.FILLED, 3),  # the cancel lost the race
        ((EXPIRED, filled("1")), S.EXPIRED, 1),  # the expiry overtakes the fill
        ((REJECTED, ACCEPTED), S.OPEN, 0),  # thought never to have arrived, then found
        ((REJECTED, filled("1")), S.PARTIAL, 1),  # the same, told by its fill
        ((filled("1"), REJECTED), S.PARTIAL, 1),  # "Duplicate order sent" answers a repeat
        ((CANCELED, ACCEPTED), S.CANCELED, 0),  # a late acknowledgement
        ((CANCELED, EXPIRED), S.CANCELED, 0),  # the first word stands
        ((filled("1", "3"), filled("2", "1")), S.FILLED, 4),  # an overfill is still ours
    ],
)
def test_odd_but_real(reports: tuple[Report, ...], status: OrderStatus, quantity: int) -> None:
    order = told(*reports)
    assert (order.status, order.filled) == (status, D(quantity))
    assert order.remaining == max(3 - quantity, 0)


def test_silence_after_sending_is_unknown_until_somebody_knows() -> None:
    order = record()
    assert order.unanswered("no answer in 10 s", 9)
    assert (order.status, order.reason, order.updated) == (S.UNKNOWN, "no answer in 10 s", 9)
    assert not order.unanswered("still none", 10)
    assert order.apply(ACCEPTED)
    assert (order.status, order.reason) == (S.OPEN, "")
    assert not order.unanswered("the answer to the call was lost, the stream's was not", 11)
    assert order.status is S.OPEN


@pytest.mark.parametrize("report", [ACCEPTED, CANCELED, EXPIRED, REJECTED, filled("1"), say(ReportKind.TRIGGERED)])
def test_a_repeated_report_changes_nothing(report: Report) -> None:
    order = told(report)
    before = deepcopy(order)
    assert not order.apply(report)
    assert order == before


def test_a_fill_repeated_in_other_words_counts_once() -> None:
    order = told(filled("1"))
    again = say(ReportKind.FILLED, of=fill("1"), time=99, reason="replayed by the history scan")
    assert not order.apply(again)
    assert order.filled == 1


def test_time_only_goes_forward_when_reports_do_not() -> None:
    order = told(say(ReportKind.ACCEPTED, time=50), say(ReportKind.TRIGGERED, time=40))
    assert order.updated == 50
    assert order.triggered


def test_the_reason_is_that_of_the_last_change() -> None:
    order = told(ACCEPTED, say(ReportKind.EXPIRED, reason="no liquidity"), say(ReportKind.CANCELED, reason="too late"))
    assert (order.status, order.reason) == (S.EXPIRED, "no liquidity")


def test_a_notebooks_own_decimal_context_rounds_no_fill() -> None:
    """A record may be read from the journal wherever somebody looks at it."""
    reports = (filled("1", "0.12345", "64321.98"), filled("2", "0.54321", "64322.01"))
    exact = told(*reports)
    with localcontext() as context:
        context.prec = 4
        narrow = told(*reports)
        left = narrow.remaining
    assert (narrow, left) == (exact, exact.remaining)
    assert exact.filled_quote == D("0.12345") * D("64321.98") + D("0.54321") * D("64322.01")


def test_a_fill_report_without_its_fill_is_no_answer() -> None:
    with pytest.raises(BadAnswer, match="ask for its fills"):
        record().apply(say(ReportKind.FILLED))


def test_another_orders_report_is_a_bug_on_this_side() -> None:
    with pytest.raises(ValueError, match="given to order c"):
        record().apply(Report(kind=ReportKind.ACCEPTED, client_id="other", time=1))


fills = st.builds(filled, st.sampled_from("abcdef"), st.sampled_from(["0.5", "1", "2"]), st.sampled_from(["99", "101"]))
plain = st.sampled_from([kind for kind in ReportKind if kind is not ReportKind.FILLED]).map(say)


@given(st.lists(fills | plain, max_size=12))
def test_whatever_comes_in_whatever_order_every_fill_counts_exactly_once(reports: list[Report]) -> None:
    order = told(*reports)
    first = {report.fill.id: report.fill for report in reversed(reports) if report.fill}
    assert order.filled == sum((one.qty for one in first.values()), D(0))
    assert order.filled_quote == sum((one.notional for one in first.values()), D(0))
    assert (order.status is S.FILLED) == (order.filled >= order.request.qty)
    assert order.status is not S.PARTIAL or order.filled > 0
    assert order.remaining >= 0


@given(st.lists(fills | plain, max_size=12), st.data())
def test_reports_told_twice_make_the_same_order(reports: list[Report], data: st.DataObject) -> None:
    """The stream and the polling may both tell everything: fills repeat by id, words by saying nothing new."""
    once = told(*reports)
    for report in reports:
        if report.fill is not None and data.draw(st.booleans()):
            before = deepcopy(once)
            assert not once.apply(report)
            assert once == before
