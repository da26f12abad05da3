"""What a failed Kraken answer says about the request: unreached, refused, unknown or rate-limited.

Kraken says it in the body, mostly with HTTP 200: ``error`` lists categories and words that begin with E for an error, W
for a warning; any error means that the request failed (docs.kraken.com, guides/general/errors, and the support page on
API error messages). Above the table of words stands the law that a 5xx, or an answer that is not the venue's, tells
nothing of the outcome of a request that may have taken effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from kit.errors import BadAnswer, OutcomeUnknown, RateLimited, VenueRefused, VenueUnreachable
from kit.venues.base import Call, Effect, Failure, Verdict
from kit.venues.wire import MALFORMED, decoder, excerpt

T = TypeVar("T")


@dataclass(frozen=True)
class _Answer:
    """A failed answer, read once: the call, the status and what the body says."""

    call: Call[Any]
    status: int
    error: str
    """The venue's first error, or how a body that is not the venue's begins."""
    headers: Mapping[str, str]

    @property
    def writes(self) -> bool:
        return self.call.effect is Effect.WRITE

    @property
    def said(self) -> str:
        status = "" if self.status == 200 else f" (HTTP {self.status})"
        return f"{self.call.method} {self.call.path}: {self.error or 'no words'}{status}"


class _Errors(msgspec.Struct):
    error: list[str]


_errors = decoder(_Errors)

A_MOMENT = 5.0
"""Seconds that a used-up limit lasts: "a few, or longer if calls go on" (guides/rest/ratelimits)."""
LOCKOUT = 300.0
"""Seconds of a temporary lockout: "typically a few minutes" (guides/general/errors)."""


def failure(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
    """None for an answer worth reading, else what is wrong with it and the error to raise."""
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        told = [error for error in _errors(body).error if not error.startswith("W")]
    except MALFORMED:
        return _foreign(_Answer(call, status, excerpt(body), lowered))
    if 200 <= status < 300 and not told:
        return None
    answer = _Answer(call, status, excerpt(told[0]) if told else "", lowered)
    if status == 429:
        return _slow_down(answer)
    if not told or status >= 500:
        return _by_status(answer)
    return _rule(told[0])(answer)


def _foreign(answer: _Answer) -> Failure:
    """A body that is not Kraken's: only the status may tell something."""
    if not 200 <= answer.status < 300:
        return _by_status(answer)
    began = f"{answer.call.method} {answer.call.path} got an answer that is not Kraken's; it began {answer.error!r}"
    if answer.writes:
        error = OutcomeUnknown(f"{began}. It may have taken effect: ask with the client id")
        return Failure(Verdict.UNKNOWN, error)
    return Failure(Verdict.UNREACHED, BadAnswer(f"{began}. Check the host, and that no proxy answers in its place"))


def _by_status(answer: _Answer) -> Failure:
    if answer.status == 429:
        return _slow_down(answer)
    if answer.status >= 500 or answer.status < 400 or answer.status == 408:
        return _unanswered(answer)
    return _refused(answer)


def _unanswered(answer: _Answer) -> Failure:
    """No usable word from the venue: unknown for what may have taken effect, unreached for a question."""
    if answer.writes:
        text = f"{answer.said}. It may have taken effect all the same: ask with the client id, don't send it again"
        return Failure(Verdict.UNKNOWN, OutcomeUnknown(text))
    hint = _redirected(answer) if 300 <= answer.status < 400 else "the question changed nothing and may be asked again"
    error = VenueUnreachable(f"{answer.said}. No answer came; {hint}")
    return Failure(Verdict.UNREACHED, error, retry_after=_retry_after(answer, 0.0) or None)


def _redirected(answer: _Answer) -> str:
    target = excerpt(answer.headers.get("location", "nowhere").partition("?")[0])
    return f"the host redirects to {target}: check its address, and any proxy or login page in between"


def _slow_down(answer: _Answer) -> Failure:
    return _wait(answer, A_MOMENT, "too much was asked")


def _locked_out(answer: _Answer) -> Failure:
    return _wait(answer, LOCKOUT, "this address or account is locked out for a while")


def _wait(answer: _Answer, floor: float, what: str) -> Failure:
    wait = _retry_after(answer, floor)
    text = f"{answer.said}. Nothing took effect; {what}: wait {wait:g} s before asking anything, sooner makes it longer"
    # Orders have counters of their own, in the matching engine (guides/general/ratelimits).
    orders_only = answer.error.startswith("EOrder:")
    error = RateLimited(text, retry_after=wait)
    return Failure(Verdict.RATE_LIMITED, error, retry_after=wait, orders_only=orders_only)


def _retry_after(answer: _Answer, floor: float) -> float:
    try:
        told = float(answer.headers.get("retry-after", ""))
    except ValueError:
        return floor
    return max(told, 0.1) if math.isfinite(told) and told > 0 else floor


def _refused(answer: _Answer) -> Failure:
    """A plain no: nothing happened, and the same request would get the same answer."""
    advice = next((words for begin, words in _ADVICE.items() if answer.error.startswith(begin)), "")
    advice = advice or _ADVICE_BY_STATUS.get(answer.status, "")
    changed = " Nothing was changed by it." if answer.writes else ""
    text = f"Kraken refused {answer.said}.{changed}{' ' + advice if advice else ''}"
    code = answer.error if answer.error.startswith("E") else None
    return Failure(Verdict.REFUSED, VenueRefused(text, code=code, words=answer.error))


def _rule(error: str) -> Callable[[_Answer], Failure]:
    return next((rule for begin, rule in _RULES.items() if error.startswith(begin)), _refused)


_RULES: dict[str, Callable[[_Answer], Failure]] = {
    "EAPI:Rate limit exceeded": _slow_down,
    "EGeneral:Too many requests": _slow_down,
    "EOrder:Rate limit exceeded": _slow_down,
    "EOrder:Domain rate limit exceeded": _slow_down,
    "EService:Throttled": _slow_down,
    "EService: Throttled": _slow_down,  # as guides/rest/ratelimits spells it
    "EGeneral:Temporary lockout": _locked_out,
    "EGeneral:Internal error": _unanswered,
    "EService:Unavailable": _unanswered,
    "EService:Busy": _unanswered,
    "EService:Timeout": _unanswered,
}
"""How errors begin that mean more than a plain no; every other one is a refusal whose words tell why."""

_ADVICE = {
    "EQuery:Unknown asset pair": "venue.instruments() lists the pairs it knows, as BTC/USD.",
    "EGeneral:Invalid arguments": "It does not take one of the arguments: an interval, a count or a time.",
    "EGeneral:Unknown method": "No such address there: check that the host is the venue's.",
}
_ADVICE_BY_STATUS = {
    403: "Its firewall turned the request away before anything read it: ask less often, or from another address.",
    404: "No such address there: check that the host is the venue's.",
    451: "It does not serve this country.",
}
