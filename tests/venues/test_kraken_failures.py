"""Failed answers of Kraken: every error and status says unreached, refused, unknown or rate-limited."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer, KitError, OutcomeUnknown, RateLimited, VenueRefused, VenueUnreachable
from kit.venues.base import Auth, Call, Effect, Failure, Verdict
from kit.venues.kraken import KRAKEN

READ: Call[Any] = Call("GET", "/0/public/Ticker", bytes)
WRITE: Call[Any] = Call("POST", "/0/private/AddOrder", bytes, (), Auth.SIGNED, Effect.WRITE)

Outcome = tuple[Verdict, type[KitError]]

REFUSED: Outcome = (Verdict.REFUSED, VenueRefused)
UNKNOWN: Outcome = (Verdict.UNKNOWN, OutcomeUnknown)
UNREACHED: Outcome = (Verdict.UNREACHED, VenueUnreachable)
SLOW: Outcome = (Verdict.RATE_LIMITED, RateLimited)


def answer(call: Call[Any], status: int, *errors: str, **headers: str) -> Failure:
    body = json.dumps({"error": errors, "result": {}}).encode() if errors else b"<html>gateway</html>"
    failure = KRAKEN.failure(call, status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
    assert failure is not None
    return failure


ERRORS: list[tuple[int, str, Outcome, Outcome]] = [
    # status, error, to a write, to a question
    (200, "EAPI:Rate limit exceeded", SLOW, SLOW),
    (200, "EGeneral:Too many requests", SLOW, SLOW),
    (200, "EOrder:Rate limit exceeded", SLOW, SLOW),
    (200, "EOrder:Domain rate limit exceeded", SLOW, SLOW),
    (200, "EService:Throttled:1688671969", SLOW, SLOW),
    (200, "EService: Throttled: 1688671969", SLOW, SLOW),
    (200, "EGeneral:Temporary lockout", SLOW, SLOW),
    (429, "EAPI:Rate limit exceeded", SLOW, SLOW),
    (200, "EService:Unavailable", UNKNOWN, UNREACHED),
    (503, "EService:Unavailable", UNKNOWN, UNREACHED),
    (200, "EService:Busy", UNKNOWN, UNREACHED),
    (200, "EService:Timeout", UNKNOWN, UNREACHED),
    (200, "EGeneral:Internal error", UNKNOWN, UNREACHED),
    (200, "EQuery:Unknown asset pair", REFUSED, REFUSED),
    (200, "EGeneral:Invalid arguments", REFUSED, REFUSED),
    (200, "EGeneral:Unknown method", REFUSED, REFUSED),
    (200, "EService:Market in cancel_only mode", REFUSED, REFUSED),
    (200, "EOrder:Insufficient funds", REFUSED, REFUSED),
    (200, "ENovelty:A word of next year", REFUSED, REFUSED),
    (400, "EGeneral:Invalid arguments", REFUSED, REFUSED),
    (500, "EQuery:Unknown asset pair", UNKNOWN, UNREACHED),  # a word behind a 5xx is no proof
]


@pytest.mark.parametrize(("status", "error", "written", "asked"), ERRORS)
def test_every_error_is_classified_by_what_the_request_could_do(
    status: int, error: str, written: Outcome, asked: Outcome
) -> None:
    for call, (verdict, kind) in ((WRITE, written), (READ, asked)):
        failure = answer(call, status, error)
        assert (failure.verdict, type(failure.error)) == (verdict, kind)
        assert error in str(failure.error)


STATUSES = [
    (302, UNKNOWN, UNREACHED),
    (400, REFUSED, REFUSED),
    (403, REFUSED, REFUSED),
    (404, REFUSED, REFUSED),
    (408, UNKNOWN, UNREACHED),
    (429, SLOW, SLOW),
    (451, REFUSED, REFUSED),
    (500, UNKNOWN, UNREACHED),
    (502, UNKNOWN, UNREACHED),
    (504, UNKNOWN, UNREACHED),
    (520, UNKNOWN, UNREACHED),  # Cloudflare stands before the venue
    (525, UNKNOWN, UNREACHED),
]


@pytest.mark.parametrize(("status", "written", "asked"), STATUSES)
def test_a_status_without_a_readable_body_is_classified_too(status: int, written: Outcome, asked: Outcome) -> None:
    for call, (verdict, kind) in ((WRITE, written), (READ, asked)):
        failure = answer(call, status)
        assert (failure.verdict, type(failure.error)) == (verdict, kind)
        assert str(status) in str(failure.error)


@pytest.mark.parametrize("body", [b'{"error":[],"result":{}}', b' {"result":{"X":[1,2]},"error":[]} '])
def test_an_answer_without_error_is_worth_reading(body: bytes) -> None:
    assert KRAKEN.failure(READ, 200, {}, body) is None


def test_a_warning_alone_is_no_failure_and_an_error_beside_one_is() -> None:
    warned = b'{"error":["WQuery:Something is old"],"result":{}}'
    assert KRAKEN.failure(READ, 200, {}, warned) is None
    failure = answer(READ, 200, "WQuery:Something is old", "EQuery:Unknown asset pair")
    assert isinstance(failure.error, VenueRefused)
    assert failure.error.code == "EQuery:Unknown asset pair"


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>", b"[]", b"{}", b'{"error":"x"}', b"null", b"\xff"])
def test_an_ok_that_is_not_krakens_is_a_bad_answer_to_a_question_and_an_unknown_outcome_to_a_write(
    body: bytes,
) -> None:
    asked, written = KRAKEN.failure(READ, 200, {}, body), KRAKEN.failure(WRITE, 200, {}, body)
    assert asked is not None
    assert written is not None
    assert (asked.verdict, type(asked.error)) == (Verdict.UNREACHED, BadAnswer)
    assert (written.verdict, type(written.error)) == UNKNOWN


def test_an_unknown_pair_says_where_the_known_ones_are() -> None:
    assert "venue.instruments()" in str(answer(READ, 200, "EQuery:Unknown asset pair").error)


def test_a_refusal_of_a_page_that_is_not_krakens_has_no_code() -> None:
    error = answer(READ, 403).error
    assert isinstance(error, VenueRefused)
    assert error.code is None
    assert "firewall" in str(error)


@pytest.mark.parametrize(
    ("error", "headers", "wait"),
    [
        ("EAPI:Rate limit exceeded", {}, 5.0),
        ("EAPI:Rate limit exceeded", {"Retry_After": "17"}, 17.0),
        ("EAPI:Rate limit exceeded", {"Retry_After": "nan"}, 5.0),
        ("EAPI:Rate limit exceeded", {"Retry_After": "soon"}, 5.0),
        ("EAPI:Rate limit exceeded", {"Retry_After": "-1"}, 5.0),
        ("EGeneral:Temporary lockout", {}, 300.0),
    ],
)
def test_how_long_to_wait_is_told_or_known(error: str, headers: dict[str, str], wait: float) -> None:
    failure = answer(READ, 200, error, **headers)
    assert failure.retry_after == wait
    assert isinstance(failure.error, RateLimited)
    assert failure.error.retry_after == wait


def test_a_limit_on_orders_holds_no_question_back() -> None:
    assert answer(WRITE, 200, "EOrder:Rate limit exceeded").orders_only
    assert not answer(WRITE, 200, "EAPI:Rate limit exceeded").orders_only


def test_a_redirect_says_where_to_without_the_query() -> None:
    failure = answer(READ, 302, Location="https://login.example/?token=abc")
    assert "login.example/:" in str(failure.error)
    assert "abc" not in str(failure.error)


@given(status=st.integers(200, 599), body=st.binary(max_size=60), retry=st.text(max_size=8))
def test_no_answer_makes_the_classification_stumble(status: int, body: bytes, retry: str) -> None:
    for call in (READ, WRITE):
        failure = KRAKEN.failure(call, status, {"Retry-After": retry}, body)
        if failure is not None:
            assert len(str(failure.error)) < 600
            assert failure.verdict is not Verdict.UNKNOWN or call is WRITE
