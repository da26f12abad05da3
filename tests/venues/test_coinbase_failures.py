"""What a failed Coinbase answer says about the request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer, KitError, OutcomeUnknown, RateLimited, VenueRefused, VenueUnreachable
from kit.venues.base import Auth, Call, Effect, Failure, Verdict
from kit.venues.coinbase import COINBASE

READ: Call[Any] = COINBASE.last_trade("BTC-USD")
WRITE: Call[Any] = Call("POST", "/api/v3/brokerage/orders", len, auth=Auth.SIGNED, effect=Effect.WRITE)
"""None is made here yet; one that is made some day must not be called failed when nobody knows."""


def answer(call: Call[Any], status: int, body: bytes = b"", **headers: str) -> Failure:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    failure = COINBASE.failure(call, status, told, body)
    assert failure is not None
    return failure


def words(error: str, message: str) -> bytes:
    return json.dumps({"error": error, "error_details": message, "message": message}).encode()


Outcome = tuple[Verdict, type[KitError]]

REFUSED: Outcome = (Verdict.REFUSED, VenueRefused)
UNREACHED: Outcome = (Verdict.UNREACHED, VenueUnreachable)
UNKNOWN: Outcome = (Verdict.UNKNOWN, OutcomeUnknown)
SLOW: Outcome = (Verdict.RATE_LIMITED, RateLimited)

ANSWERS: list[tuple[int, bytes, str, Outcome, Outcome]] = [
    # status, body, a word of the error's, to a question, to a write
    (400, words("INVALID_ARGUMENT", "number of candles requested should be less than 350"), "350", REFUSED, REFUSED),
    (401, b"Unauthorized", "API key", REFUSED, REFUSED),
    (403, b"<html>cloudflare</html>", "firewall", REFUSED, REFUSED),
    (404, words("NOT_FOUND", "Product NOPE-USD not supported"), "venue.instruments()", REFUSED, REFUSED),
    (418, b"", "same answer", REFUSED, REFUSED),
    (451, b"", "country", REFUSED, REFUSED),
    (429, b"error code: 1015", "wait 1 s", SLOW, SLOW),
    (302, b"", "HTTP 302", UNREACHED, UNKNOWN),
    (408, b"", "HTTP 408", UNREACHED, UNKNOWN),
    (500, words("INTERNAL", "Something went wrong"), "INTERNAL", UNREACHED, UNKNOWN),
    (502, b"<html>bad gateway</html>", "HTTP 502", UNREACHED, UNKNOWN),
    (503, words("UNAVAILABLE", "no"), "UNAVAILABLE", UNREACHED, UNKNOWN),
    (504, b"", "HTTP 504", UNREACHED, UNKNOWN),
]


@pytest.mark.parametrize(("status", "body", "word", "asked", "written"), ANSWERS)
def test_every_answer_is_classified_by_what_the_request_could_do(
    status: int, body: bytes, word: str, asked: Outcome, written: Outcome
) -> None:
    failure = answer(READ, status, body)
    assert (failure.verdict, type(failure.error)) == asked
    assert word in str(failure.error)
    failure = answer(WRITE, status, body)
    assert (failure.verdict, type(failure.error)) == written


def test_a_refusal_carries_the_venues_code_and_words() -> None:
    error = answer(READ, 404, words("NOT_FOUND", "Product NOPE-USD not supported")).error
    assert isinstance(error, VenueRefused)
    assert (error.code, error.words) == ("NOT_FOUND", "Product NOPE-USD not supported")
    error = answer(READ, 401, b"Unauthorized").error
    assert isinstance(error, VenueRefused)
    assert (error.code, error.words) == (401, "Unauthorized")


def test_an_answer_worth_reading_is_no_failure() -> None:
    for body in (b"{}", b' {"trades":[]}', b"[]"):
        assert COINBASE.failure(READ, 200, {}, body) is None


@pytest.mark.parametrize("rubbish", [b"", b"<html>Welcome to the hotel's network</html>", b"OK", b"\x00\xff"])
def test_rubbish_with_status_200_is_a_bad_answer_to_a_question_and_unknown_to_a_write(rubbish: bytes) -> None:
    asked, written = answer(READ, 200, rubbish), answer(WRITE, 200, rubbish)
    assert (asked.verdict, type(asked.error)) == (Verdict.UNREACHED, BadAnswer)
    assert (written.verdict, type(written.error)) == UNKNOWN


def test_retry_after_is_obeyed_and_has_a_floor() -> None:
    assert answer(READ, 429, retry_after="7").retry_after == 7
    assert answer(READ, 429, Retry_After="0.01").retry_after == 0.1
    for rubbish in ("", "soon", "nan", "inf", "-3"):
        assert answer(READ, 429, retry_after=rubbish).retry_after == 1
        assert answer(READ, 503, retry_after=rubbish).retry_after is None
    assert answer(READ, 503, retry_after="30").retry_after == 30
    limited = answer(READ, 429, retry_after="30").error
    assert isinstance(limited, RateLimited)
    assert limited.retry_after == 30
    assert "30 s" in str(limited)


def test_an_echoed_request_gives_no_key_away() -> None:
    canary = "CANARY0123456789abcdefCANARY"
    page = f"<html>Cannot GET /x Authorization: Bearer {canary}</html>".encode()
    for status in (200, 302, 400, 403, 429, 502):
        for body in (page, words(canary, canary)):
            failure = COINBASE.failure(READ, status, {"location": canary}, body)
            assert failure is None or canary not in str(failure.error) + repr(failure)


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=40) | st.builds(words, st.text(max_size=8), st.text(max_size=8)),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "Date", "location"]), st.text()),
)
def test_no_answer_whatever_breaks_the_classification(status: int, body: bytes, headers: dict[str, str]) -> None:
    for call in (READ, WRITE):
        failure = COINBASE.failure(call, status, headers, body)
        if failure is None:
            assert 200 <= status < 300
        elif status >= 500 and call is WRITE:
            assert failure.verdict is Verdict.UNKNOWN
        elif failure.verdict is Verdict.RATE_LIMITED:
            assert failure.retry_after is not None
            assert failure.retry_after > 0
