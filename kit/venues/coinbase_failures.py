"""What a failed Coinbase answer says about the request.

The status decides; the body (``error``, ``message``, ``error_details``; over some addresses plain text) gives the
words. HTTP 5xx and answers that are not the venue's prove nothing about a request that may have taken effect: no call
is one yet, but the first that is finds it so. No header tells what is used up: only a 429 does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from kit.errors import BadAnswer, KitError, OutcomeUnknown, RateLimited, VenueRefused, VenueUnreachable
from kit.venues.base import Call, Effect, Failure, Verdict
from kit.venues.wire import MALFORMED, decoder, excerpt

T = TypeVar("T")


class _Error(msgspec.Struct):
    error: str = ""
    message: str = ""
    error_details: str = ""


_error = decoder(_Error)
_ADVICE = {
    400: "Something in the question is not as Coinbase wants it, such as a range of more than 350 bars.",
    401: "This address wants an API key, and the kit speaks only Coinbase's public market data yet.",
    403: "Its firewall turned the request away: look for a proxy or a country it does not serve, or slow down.",
    404: "Coinbase knows no such product or address: see venue.instruments().",
    451: "It does not serve this country.",
}


def failure(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
    """None for an answer worth reading, else what is wrong with it and the error to raise."""
    if 200 <= status < 300:
        return None if body.lstrip()[:1] in (b"{", b"[") else _rubbish(call, body)
    code, words = _read(body)
    said = f"{call.method} {call.path}: {words or 'no words'} ({code or f'HTTP {status}'})"
    lowered = {name.lower(): value for name, value in headers.items()}
    if status == 429:
        wait = _retry_after(lowered) or 1.0
        text = f"{said}. Nothing took effect; too much was asked: wait {wait:g} s before asking anything"
        return Failure(Verdict.RATE_LIMITED, RateLimited(text, retry_after=wait), retry_after=wait)
    if status >= 500 or status < 400 or status == 408:
        return _unanswered(call, said, _retry_after(lowered))
    advice = _ADVICE.get(status, "The same question would get the same answer.")
    error = VenueRefused(f"Coinbase refused {said}. {advice}", code=code or status, words=words)
    return Failure(Verdict.REFUSED, error)


def _read(body: bytes) -> tuple[str, str]:
    """The venue's code and words; where the body is not the venue's, how it begins."""
    try:
        told = _error(body)
    except MALFORMED:
        return "", excerpt(body)
    return excerpt(told.error), excerpt(told.message or told.error_details)


def _rubbish(call: Call[Any], body: bytes) -> Failure:
    said = f"{call.method} {call.path} got an answer that is no JSON; it began {excerpt(body)!r}"
    if call.effect is Effect.WRITE:
        return _unknown(said)
    text = f"{said}. Check the host, and that no proxy answers in its place"
    return Failure(Verdict.UNREACHED, BadAnswer(text))


def _unanswered(call: Call[Any], said: str, wait: float) -> Failure:
    """No usable word from the venue."""
    if call.effect is Effect.WRITE:
        return _unknown(said)
    text = f"{said}. No answer came; the question changed nothing and may be asked again"
    error: KitError = VenueUnreachable(text)
    return Failure(Verdict.UNREACHED, error, retry_after=wait or None)


def _unknown(said: str) -> Failure:
    text = f"{said}. It may have taken effect all the same: ask with the client id, don't send it again"
    return Failure(Verdict.UNKNOWN, OutcomeUnknown(text))


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds the venue asks to wait, at least a tenth; 0 where it does not say."""
    try:
        told = float(headers.get("retry-after", ""))
    except ValueError:
        return 0.0
    return max(told, 0.1) if math.isfinite(told) and told > 0 else 0.0
