"""What a failed Binance answer says about the request: unreached, refused, unknown or rate-limited.

One table of codes (errors.md), one of statuses, and the laws above them: HTTP 5xx to a request that
may have taken effect is UNKNOWN whatever its body says (rest-api.md: "must not be treated as
failure"), and so is an answer that is not the venue's. To a question they merely mean: ask again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec

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
from kit.venues.base import Call, Effect, Failure, Verdict
from kit.venues.wire import MALFORMED, decoder, excerpt

T = TypeVar("T")


@dataclass(frozen=True)
class _Answer:
    """A failed answer, read once: the call, the status and what the body says."""

    call: Call[Any]
    status: int
    code: int | None
    words: str
    headers: Mapping[str, str]

    @property
    def writes(self) -> bool:
        return self.call.effect is Effect.WRITE

    @property
    def said(self) -> str:
        code = f" ({self.code})" if self.code is not None else f" (HTTP {self.status})"
        return f"{self.call.method} {self.call.path}: {self.words or 'no words'}{code}"


class _Error(msgspec.Struct):
    code: int
    msg: str = ""


_error = decoder(_Error)
_USED = re.compile(r"X-MBX-(USED-WEIGHT|ORDER-COUNT)-\d+[SMHD]")
_BANNED_UNTIL = re.compile(r"banned until (\d{12,16})")


def used(headers: Mapping[str, str]) -> dict[str, int]:
    """The use the venue counts, by header name in capitals: X-MBX-USED-WEIGHT-1M, X-MBX-ORDER-COUNT-10S …"""
    return {
        name.upper(): int(value)
        for name, value in headers.items()
        if _USED.fullmatch(name.upper()) and value.isascii() and value.isdigit()
    }


def failure(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
    """None for an answer worth reading, else what is wrong with it and the error to raise."""
    lowered = {name.lower(): value for name, value in headers.items()}
    if 200 <= status < 300:
        return None if body.lstrip()[:1] in (b"{", b"[") else _rubbish(call, body)
    code, words = _read(body)
    answer = _Answer(call, status, code, words, lowered)
    if status in (418, 429):
        return _slow_down(answer)
    if status >= 500 or status < 400 or status == 408:
        return _unanswered(answer)
    rule = _CODES.get(code) if code is not None else None
    return (rule or _STATUSES.get(status, _refused))(answer)


def _read(body: bytes) -> tuple[int | None, str]:
    """The venue's code and words; where the body is not the venue's, how it begins."""
    try:
        error = _error(body)
    except MALFORMED:
        return None, excerpt(body)
    return (error.code if error.code < 0 else None), excerpt(error.msg)


def _rubbish(call: Call[T], body: bytes) -> Failure:
    began = f"an answer that is no JSON; it began {excerpt(body)!r}"
    if call.effect is Effect.WRITE:
        text = f"{call.method} {call.path} got {began}. It may have taken effect: ask with the client id"
        return Failure(Verdict.UNKNOWN, OutcomeUnknown(text))
    text = f"{call.method} {call.path} got {began}. Check the host, and that no proxy answers in its place"
    return Failure(Verdict.UNREACHED, BadAnswer(text))


def _unanswered(answer: _Answer) -> Failure:
    """No usable word from the venue: unknown for what may have taken effect, unreached for a question."""
    if answer.writes:
        text = f"{answer.said}. It may have taken effect all the same: ask with the client id, don't send it again"
        return Failure(Verdict.UNKNOWN, OutcomeUnknown(text), answer.code)
    hint = _redirected(answer) if 300 <= answer.status < 400 else "the question changed nothing and may be asked again"
    error = VenueUnreachable(f"{answer.said}. No answer came; {hint}")
    return Failure(Verdict.UNREACHED, error, answer.code, _retry_after(answer, 0.0) or None)


def _redirected(answer: _Answer) -> str:
    target = excerpt(answer.headers.get("location", "nowhere").partition("?")[0])
    return f"the host redirects to {target}: check its address, and any proxy or login page in between"


def _slow_down(answer: _Answer) -> Failure:
    banned = answer.status == 418
    # A ban lasts two minutes at least (rest-api.md); orders are counted in windows of ten seconds.
    orders_only = answer.code == -1015 and not banned
    wait = _retry_after(answer, 120.0 if banned else 10.0 if orders_only else 1.0)
    what = "this address is banned for a while" if banned else "too much was asked"
    text = f"{answer.said}. Nothing took effect; {what}: wait {wait:g} s before asking anything"
    return Failure(Verdict.RATE_LIMITED, RateLimited(text, retry_after=wait), answer.code, wait, orders_only)


def _busy(answer: _Answer) -> Failure:
    wait = _retry_after(answer, 5.0)
    text = f"{answer.said}. The venue is overloaded and took nothing; wait {wait:g} s and make it again"
    return Failure(Verdict.RATE_LIMITED, RateLimited(text, retry_after=wait), answer.code, wait, orders_only=True)


def _retry_after(answer: _Answer, floor: float) -> float:
    """Seconds to wait: Retry-After, else until the ban the words tell (by the answer's own Date), else ``floor``."""
    try:
        told = float(answer.headers.get("retry-after", ""))
    except ValueError:
        told = _until_ban_ends(answer)
    return max(told, 0.1) if math.isfinite(told) and told > 0 else floor


def _until_ban_ends(answer: _Answer) -> float:
    until = _BANNED_UNTIL.search(answer.words)
    try:
        date: datetime = parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, TypeError):
        return 0.0
    return int(until[1]) / 1_000 - date.timestamp() if until else 0.0


def _refused(answer: _Answer) -> Failure:
    """A plain no: nothing happened, and the same request would get the same answer."""
    advice = _advice(answer)
    money = " Nothing was changed by it." if answer.writes else ""
    text = f"Binance refused {answer.said}.{money}{' ' + advice if advice else ''}"
    return Failure(Verdict.REFUSED, VenueRefused(text, code=answer.code, words=answer.words), answer.code)


def _order_refused(answer: _Answer) -> Failure:
    """-2010 and -1010: the matching engine's no, whose words decide."""
    words = answer.words.lower()
    if "duplicate order" in words and answer.writes:
        text = f"{answer.said}. An open order already has this client id: ask for it, don't send it again"
        return Failure(Verdict.UNKNOWN, OutcomeUnknown(text), answer.code)
    if "insufficient balance" in words:
        text = f"Binance refused {answer.said}. Nothing was placed: free some balance or order less"
        return Failure(Verdict.REFUSED, RiskRefused(text), answer.code)
    return _refused(answer)


def _as(error: type[KitError], advice: str) -> Callable[[_Answer], Failure]:
    """A refusal with an error class of its own."""

    def rule(answer: _Answer) -> Failure:
        return Failure(Verdict.REFUSED, error(f"Binance refused {answer.said}. {advice}"), answer.code)

    return rule


_key_refused = _as(
    KeyRefused,
    "Nothing happened; check key and secret, that they belong to this environment, and the key's permissions and IPs",
)

_CODES: dict[int | None, Callable[[_Answer], Failure]] = {
    -1000: _unanswered,  # UNKNOWN
    -1001: _unanswered,  # DISCONNECTED: internal error
    -1002: _key_refused,  # UNAUTHORIZED
    -1003: _slow_down,  # TOO_MANY_REQUESTS
    -1006: _unanswered,  # UNEXPECTED_RESP: execution status unknown
    -1007: _unanswered,  # TIMEOUT: execution status unknown
    -1008: _busy,  # SERVER_BUSY
    -1010: _order_refused,  # ERROR_MSG_RECEIVED
    -1015: _slow_down,  # TOO_MANY_ORDERS
    -1021: _as(ClockSkew, "Nothing happened; measure the venue's clock again and sign anew"),
    -1022: _key_refused,  # INVALID_SIGNATURE
    -2010: _order_refused,  # NEW_ORDER_REJECTED
    -2014: _key_refused,  # BAD_API_KEY_FMT
    -2015: _key_refused,  # REJECTED_MBX_KEY
    -2021: _unanswered,  # cancel-replace partially failed: one half took effect
}
"""Codes with a meaning beyond a plain no. All others (-1013, -1111, -1121, -2011, -2013, -2022, -2026, -2038,
-2039 …) are refusals: the code and the words tell why."""

_STATUSES: dict[int, Callable[[_Answer], Failure]] = {
    401: _key_refused,
    409: _unanswered,  # cancel-replace partially succeeded, and no code to say which half
}

_ADVICE_BY_CODE = {
    -1111: "A price or quantity has more digits than the instrument's tick or lot.",
    -1121: "The venue does not know this symbol: see venue.instruments().",
    -2011: "There is no such open order to cancel: it may have filled or ended already; ask for its state.",
    -2013: "The venue knows no order with this id (yet).",
    -2026: "The order ended unfilled over 90 days ago and is archived.",
    -2039: "Client id and venue id belong to different orders.",
}
_ADVICE_BY_WORDS = {
    "PRICE_FILTER": "The price is off the tick or outside its limits.",
    "PERCENT_PRICE": "The price is too far from the market.",
    "MARKET_LOT_SIZE": "The quantity is off the step or outside the limits of market orders.",
    "LOT_SIZE": "The quantity is off the step or outside its limits.",
    "NOTIONAL": "Price times quantity is outside what the venue takes.",
    "MAX_NUM": "Too many orders are open: cancel some first.",
    "MAX_POSITION": "The position would grow beyond the venue's limit.",
    "immediately match": "It would have taken: price it deeper or drop post_only.",
    "trigger immediately": "The stop is on the wrong side of the market.",
    "Market is closed": "The instrument is not trading now.",
    "trading phase": "The instrument is not trading now.",
}
_ADVICE_BY_STATUS = {
    403: "Its firewall turned the request away before anything read it: look for odd words in ids, or slow down.",
    404: "No such address there: check that the host is one of the venue's.",
    451: "It does not serve this country.",
}


def _advice(answer: _Answer) -> str:
    if answer.code in _ADVICE_BY_CODE:
        return _ADVICE_BY_CODE[answer.code]
    for word, advice in _ADVICE_BY_WORDS.items():
        if word in answer.words:
            return advice
    return _ADVICE_BY_STATUS.get(answer.status, "")
