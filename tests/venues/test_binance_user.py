"""An account's own stream: each report finds its order, cancels included."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from kit.errors import BadAnswer
from kit.model import Balance, Fill, OrderStatus, Report, ReportKind, Side
from kit.venues.base import Ack, Goodbye, Holdings, Key, Standing, Transfer
from kit.venues.binance import BINANCE
from kit.venues.binance_signing import signature

TIME = 1_499_405_658_657
NEW: dict[str, Any] = {
    "e": "executionReport", "E": TIME + 1, "s": "ETHBTC", "c": "mine-1", "S": "BUY", "o": "LIMIT", "f": "GTC",
    "q": "1.00000000", "p": "0.10264410", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "x": "NEW",
    "X": "NEW", "r": "NONE", "i": 4293153, "l": "0.00000000", "z": "0.00000000", "L": "0.00000000", "n": "0",
    "N": None, "T": TIME, "t": -1, "I": 8641984, "w": True, "m": False, "M": False, "O": TIME, "Z": "0.00000000",
    "Y": "0.00000000", "Q": "0.00000000", "W": TIME, "V": "NONE",
}  # fmt: skip
TRADED = {"x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.4", "L": "0.1", "n": "0.0004", "N": "ETH", "t": 77, "m": True}


def wrapped(event: dict[str, Any]) -> str:
    return json.dumps({"subscriptionId": 0, "event": event})


def report(**changes: Any) -> Report | None:
    events = BINANCE.decode_user(wrapped(NEW | changes))
    assert isinstance(events[-1], Standing)
    assert BINANCE.decode_user(json.dumps(NEW | changes)) == events
    if len(events) == 1:
        return None
    [told, _] = events
    assert isinstance(told, Report)
    return told


def test_a_new_order_is_accepted_under_its_own_id() -> None:
    expected = Report(kind=ReportKind.ACCEPTED, client_id="mine-1", time=TIME * 1_000, venue_id="4293153")
    assert report() == expected


def test_a_trade_is_a_fill_with_its_fee_in_our_names_where_they_are_known() -> None:
    [event, _] = BINANCE.decode_user(wrapped(NEW | TRADED), {"ETHBTC": "ETH/BTC"})
    assert isinstance(event, Report)
    assert event.fill == Fill(
        id="77",
        client_id="mine-1",
        symbol="ETH/BTC",
        side=Side.BUY,
        qty=Decimal("0.4"),
        price=Decimal("0.1"),
        fee=Decimal("0.0004"),
        fee_asset="ETH",
        time=TIME * 1_000,
        maker=True,
        venue_id="4293153",
    )
    native = report(**TRADED)
    assert native is not None
    assert native.fill is not None
    assert native.fill.symbol == "ETHBTC"


def test_a_cancelled_order_is_named_by_its_original_id_not_by_the_cancels() -> None:
    got = report(x="CANCELED", X="CANCELED", c="cancel-77", C="mine-1")
    assert got is not None
    assert (got.kind, got.client_id, got.reason) == (ReportKind.CANCELED, "mine-1", "")


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({}, Standing("mine-1", OrderStatus.OPEN, Decimal(0))),
        ({**TRADED, "z": "0.7"}, Standing("mine-1", OrderStatus.PARTIAL, Decimal("0.7"))),
        (
            {"x": "CANCELED", "X": "CANCELED", "c": "cancel-77", "C": "mine-1", "z": "0.7"},
            Standing("mine-1", OrderStatus.CANCELED, Decimal("0.7")),
        ),
        ({"x": "REPLACED", "z": "0.1"}, Standing("mine-1", OrderStatus.OPEN, Decimal("0.1"))),
    ],
)
def test_where_an_order_stands_is_told_last_with_all_it_has_filled(changes: dict[str, Any], standing: Standing) -> None:
    assert BINANCE.decode_user(wrapped(NEW | changes))[-1] == standing


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"x": "EXPIRED", "X": "EXPIRED", "eR": "INSUFFICIENT_LIQUIDITY"}, ReportKind.EXPIRED, "ran out"),
        ({"x": "EXPIRED", "X": "EXPIRED"}, ReportKind.EXPIRED, ""),
        ({"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH"}, ReportKind.EXPIRED, "self-trade"),
        ({"x": "REJECTED", "X": "REJECTED", "r": "-2010"}, ReportKind.REJECTED, "-2010"),
        ({"x": "PENDING_NEW", "X": "PENDING_NEW"}, ReportKind.ACCEPTED, ""),
        ({"o": "STOP_LOSS_LIMIT", "w": False}, ReportKind.ACCEPTED, ""),
        ({"o": "STOP_LOSS_LIMIT", "w": True}, ReportKind.TRIGGERED, ""),
    ],
)
def test_every_execution_type_is_told_with_its_reason(changes: dict[str, Any], kind: ReportKind, reason: str) -> None:
    got = report(**changes)
    assert got is not None
    assert got.kind is kind
    assert reason in got.reason
    assert bool(got.reason) == bool(reason)


def test_what_changes_nothing_about_an_order_is_no_report() -> None:
    assert report(x="REPLACED") is None
    assert report(x="TRADE_PREVENTION", X="NEW") is None


def test_balances_and_transfers_are_told_exactly() -> None:
    position = {
        "e": "outboundAccountPosition", "E": TIME, "u": TIME,
        "B": [{"a": "ETH", "f": "10000.000001", "l": "0.5"}],
    }  # fmt: skip
    change = {"e": "balanceUpdate", "E": TIME, "a": "BTC", "d": "-100.00000001", "T": TIME}
    assert BINANCE.decode_user(wrapped(position)) == [
        Holdings((Balance("ETH", Decimal("10000.000001"), Decimal("0.5")),), TIME * 1_000)
    ]
    assert BINANCE.decode_user(wrapped(change)) == [Transfer("BTC", Decimal("-100.00000001"), TIME * 1_000)]


def test_the_end_of_the_stream_is_a_goodbye() -> None:
    for kind in ("eventStreamTerminated", "serverShutdown"):
        assert BINANCE.decode_user(wrapped({"e": kind, "E": TIME})) == [Goodbye(TIME * 1_000)]
    assert BINANCE.decode_user('{"e":"serverShutdown"}') == [Goodbye(0)]


def test_answers_are_acks_and_refusals_say_why() -> None:
    taken = '{"id":1,"status":200,"result":{"subscriptionId":0},"rateLimits":[]}'
    refused = '{"id":"b","status":400,"error":{"code":-1022,"msg":"Signature for this request is not valid."}}'
    assert BINANCE.decode_user(taken) == [Ack(1)]
    assert BINANCE.decode_user(refused) == [Ack("b", "Signature for this request is not valid. (-1022)")]
    assert BINANCE.decode_user('{"id":2,"status":418}') == [Ack(2, "no words (418)")]


def test_a_refused_timestamp_says_that_the_clocks_differ() -> None:
    skewed = '{"id":3,"status":400,"error":{"code":-1021,"msg":"Timestamp for this request is outside."}}'
    [answer] = BINANCE.decode_user(skewed)
    assert isinstance(answer, Ack)
    assert answer.skewed
    assert "-1021" in answer.error


@pytest.mark.parametrize("text", [wrapped({"e": "listStatus"}), wrapped({"e": "news"}), '{"e":"x"}', "{}"])
def test_other_events_are_nothing(text: str) -> None:
    assert BINANCE.decode_user(text) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"i": None},
        {"T": "soon"},
        {"z": "all"},
        {"X": "NOVELTY"},
        {"x": "TRADE", "l": "NaN"},
        {"x": "NOVELTY", "X": "NOVELTY"},
        {"x": "TRADE", "S": "X"},
    ],
)
def test_a_report_that_breaks_its_promise_is_a_bad_answer(changes: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        BINANCE.decode_user(wrapped(NEW | changes))


def test_the_subscription_is_signed_over_its_parameters_in_order_of_name(key: Key) -> None:
    message = json.loads(BINANCE.user_subscribe(key, TIME * 1_000, 5))
    params = message.pop("params")
    assert message == {"id": 5, "method": "userDataStream.subscribe.signature"}
    payload = urlencode(sorted((name, value) for name, value in params.items() if name != "signature"))
    assert payload == f"apiKey={key.id}&recvWindow=5000&timestamp={TIME}"
    assert params["signature"] == signature(key, payload)
    assert params["timestamp"] == TIME
    assert key.secret not in json.dumps(params)
