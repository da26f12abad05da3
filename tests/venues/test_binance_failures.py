"""Failed answers: every code and status says unreached, refused, unknown or rate-limited."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import (
    BadAnswer,
    ClockSkew,
    KeyRefused,
    KitError,
    OutcomeUnknown,
    RateLimited,
    RiskRefused,
    VenueRefused,
    VenueUnreachable,
)
from kit.venues.base import Auth, Call, Effect, Failure, Verdict
from kit.venues.binance import BINANCE

READ: Call[Any] = Call("GET", "/api/v3/order", bytes, (), Auth.SIGNED)
WRITE: Call[Any] = Call("POST", "/api/v3/order", bytes, (), Auth.SIGNED, Effect.WRITE)


def answer(call: Call[Any], status: int, code: int | None = None, words: str = "words", **headers: str) -> Failure:
    content = (
        b"<html><body>gateway</body></html>" if code is None else json.dumps({"code": code, "msg": words}).encode()
    )
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    failure = BINANCE.failure(call, status, spelled, content)
    assert failure is not None
    return failure


Outcome = tuple[Verdict, type[KitError]]

REFUSED: Outcome = (Verdict.REFUSED, VenueRefused)
KEY: Outcome = (Verdict.REFUSED, KeyRefused)
SKEW: Outcome = (Verdict.REFUSED, ClockSkew)
MONEY: Outcome = (Verdict.REFUSED, RiskRefused)
UNKNOWN: Outcome = (Verdict.UNKNOWN, OutcomeUnknown)
UNREACHED: Outcome = (Verdict.UNREACHED, VenueUnreachable)
SLOW: Outcome = (Verdict.RATE_LIMITED, RateLimited)

CODES: list[tuple[int, int, str, Outcome, Outcome]] = [
    # status, code, words, to a write, to a question
    (400, -1000, "An unknown error occurred", UNKNOWN, UNREACHED),
    (400, -1001, "Internal error", UNKNOWN, UNREACHED),
    (401, -1002, "You are not authorized", KEY, KEY),
    (429, -1003, "Too many requests queued.", SLOW, SLOW),
    (418, -1003, "Way too much; IP banned until 1.", SLOW, SLOW),
    (400, -1003, "Too much request weight used", SLOW, SLOW),
    (400, -1006, "Execution status unknown.", UNKNOWN, UNREACHED),
    (408, -1007, "Timeout", UNKNOWN, UNREACHED),
    (504, -1007, "Timeout", UNKNOWN, UNREACHED),
    (400, -1008, "Server is currently overloaded", SLOW, SLOW),
    (503, -1008, "Server is currently overloaded", UNKNOWN, UNREACHED),
    (400, -1010, "Market is closed.", REFUSED, REFUSED),
    (400, -1013, "Filter failure: LOT_SIZE", REFUSED, REFUSED),
    (400, -1015, "Too many new orders", SLOW, SLOW),
    (400, -1021, "Timestamp is outside of the recvWindow.", SKEW, SKEW),
    (400, -1022, "Signature for this request is not valid.", KEY, KEY),
    (400, -1111, "Parameter 'quantity' has too much precision.", REFUSED, REFUSED),
    (400, -1121, "Invalid symbol.", REFUSED, REFUSED),
    (400, -2010, "Duplicate order sent.", UNKNOWN, REFUSED),
    (400, -2010, "Account has insufficient balance", MONEY, MONEY),
    (400, -2010, "Order would immediately match and take.", REFUSED, REFUSED),
    (400, -2011, "Unknown order sent.", REFUSED, REFUSED),
    (400, -2013, "Order does not exist.", REFUSED, REFUSED),
    (401, -2014, "API-key format invalid.", KEY, KEY),
    (401, -2015, "Invalid API-key, IP, or permissions", KEY, KEY),
    (409, -2021, "Order cancel-replace partially failed.", UNKNOWN, UNREACHED),
    (400, -2022, "Order cancel-replace failed.", REFUSED, REFUSED),
    (400, -2026, "Order was archived.", REFUSED, REFUSED),
    (400, -2038, "Order amend rejected.", REFUSED, REFUSED),
    (400, -2039, "Client order ID is not correct for this order ID", REFUSED, REFUSED),
    (400, -9999, "A code of next year.", REFUSED, REFUSED),
    (500, -2010, "A code behind a 5xx is no proof.", UNKNOWN, UNREACHED),
]


@pytest.mark.parametrize(("status", "code", "words", "written", "asked"), CODES)
def test_every_code_is_classified_by_what_the_request_could_do(
    status: int, code: int, words: str, written: Outcome, asked: Outcome
) -> None:
    for call, (verdict, error) in ((WRITE, written), (READ, asked)):
        failure = answer(call, status, code, words)
        assert (failure.verdict, type(failure.error), failure.code) == (verdict, error, code)
        assert words in str(failure.error)
        assert str(code) in str(failure.error)


STATUSES = [
    (302, UNKNOWN, UNREACHED),
    (307, UNKNOWN, UNREACHED),
    (400, REFUSED, REFUSED),
    (401, KEY, KEY),
    (403, REFUSED, REFUSED),
    (404, REFUSED, REFUSED),
    (408, UNKNOWN, UNREACHED),
    (409, UNKNOWN, UNREACHED),
    (418, SLOW, SLOW),
    (429, SLOW, SLOW),
    (451, REFUSED, REFUSED),
    (500, UNKNOWN, UNREACHED),
    (502, UNKNOWN, UNREACHED),
    (503, UNKNOWN, UNREACHED),
    (504, UNKNOWN, UNREACHED),
]


@pytest.mark.parametrize(("status", "written", "asked"), STATUSES)
def test_a_status_without_a_readable_body_is_classified_too(status: int, written: Outcome, asked: Outcome) -> None:
    for call, (verdict, error) in ((WRITE, written), (READ, asked)):
        failure = answer(call, status)
        assert (failure.verdict, type(failure.error), failure.code) == (verdict, error, None)


def test_an_answer_worth_reading_is_no_failure() -> None:
    assert BINANCE.failure(READ, 200, {}, b' [{"id":1}]') is None
    assert BINANCE.failure(WRITE, 200, {}, b"{}") is None


@pytest.mark.parametrize("rubbish", [b"", b"<html>Welcome to the hotel's network</html>", b"OK", b"\x00\xff"])
def test_rubbish_with_status_200_is_a_bad_answer_to_a_question_and_unknown_to_an_order(rubbish: bytes) -> None:
    asked = BINANCE.failure(READ, 200, {}, rubbish)
    placed = BINANCE.failure(WRITE, 200, {}, rubbish)
    assert asked is not None
    assert placed is not None
    assert (asked.verdict, type(asked.error)) == (Verdict.UNREACHED, BadAnswer)
    assert (placed.verdict, type(placed.error)) == UNKNOWN


def test_retry_after_is_obeyed_and_has_a_floor() -> None:
    assert answer(READ, 429, -1003, retry_after="7").retry_after == 7
    assert answer(READ, 429, -1003, Retry_After="0.01").retry_after == 0.1
    for rubbish in ("", "soon", "nan", "inf", "-3"):
        assert answer(READ, 429, -1003, retry_after=rubbish).retry_after == 1
    assert answer(READ, 418, -1003).retry_after == 120
    assert answer(WRITE, 429, -1015).retry_after == 10
    assert answer(WRITE, 429, -1015).orders_only
    assert not answer(WRITE, 429, -1003).orders_only
    assert not answer(WRITE, 418, -1003).orders_only
    assert answer(WRITE, 400, -1008).retry_after == 5
    limited = answer(READ, 418, -1003, retry_after="300").error
    assert isinstance(limited, RateLimited)
    assert limited.retry_after == 300
    assert "300 s" in str(limited)


def test_a_ban_lasts_until_the_time_its_words_tell() -> None:
    words = "Way too much request weight used; IP banned until 1573200697110. Please use WebSocket Streams."
    failure = answer(READ, 418, -1003, words, date="Fri, 08 Nov 2019 08:10:37 GMT")
    assert failure.retry_after == pytest.approx(1_573_200_697.110 - 1_573_200_637)


def test_a_refusal_carries_the_venues_code_and_words() -> None:
    error = answer(READ, 400, -2013, "Order does not exist.").error
    assert isinstance(error, VenueRefused)
    assert (error.code, error.words) == (-2013, "Order does not exist.")


@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [
        (-1013, "Filter failure: PRICE_FILTER", "tick"),
        (-1013, "Filter failure: MARKET_LOT_SIZE", "market orders"),
        (-1013, "Filter failure: LOT_SIZE", "off the step or outside its limits"),
        (-1013, "Filter failure: NOTIONAL", "Price times quantity"),
        (-1013, "Filter failure: MIN_NOTIONAL", "Price times quantity"),
        (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE", "too far"),
        (-1013, "Filter failure: MAX_NUM_ORDERS", "cancel some"),
        (-2010, "Order would immediately match and take.", "post_only"),
        (-2010, "Order would trigger immediately.", "wrong side"),
        (-2010, "This order type is not possible in this trading phase.", "not trading"),
        (-2011, "Unknown order sent.", "ask for its state"),
    ],
)
def test_a_refused_order_hears_what_it_means_for_its_money_and_what_to_do(code: int, words: str, advice: str) -> None:
    text = str(answer(WRITE, 400, code, words).error)
    assert "Nothing was changed" in text
    assert advice in text


def test_an_echoed_request_gives_no_key_or_signature_away() -> None:
    canary = "CANARY0123456789abcdefCANARY"
    page = f"<html>Cannot POST /api/v3/order?signature={canary} X-MBX-APIKEY: {canary}</html>".encode()
    for status in (200, 302, 400, 403, 429, 502):
        for call in (READ, WRITE):
            failure = BINANCE.failure(call, status, {"location": f"http://x/{canary}?signature={canary}"}, page)
            assert failure is not None
            assert canary not in str(failure.error)
            assert canary not in repr(failure)


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=40) | st.builds(lambda c: b'{"code":%d,"msg":"x"}' % c, st.integers(-9999, 9999)),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "Date", "location", "X-MBX-USED-WEIGHT-1M"]), st.text()),
)
def test_no_answer_whatever_breaks_the_classification(status: int, body: bytes, headers: dict[str, str]) -> None:
    BINANCE.used(headers)
    for call in (READ, WRITE):
        failure = BINANCE.failure(call, status, headers, body)
        if failure is None:
            assert 200 <= status < 300
        elif status >= 500 and call is WRITE:
            assert failure.verdict is Verdict.UNKNOWN
        elif failure.verdict is Verdict.RATE_LIMITED:
            assert failure.retry_after is not None
            assert failure.retry_after > 0
