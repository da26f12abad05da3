"""Every error the kit raises, sorted by what the caller may do next.

KitError
├── UsageError (ValueError)   the call is wrong: mend it; nothing was sent
│   ├── UnknownName             a symbol, interval or parameter nobody knows; says the nearest
│   ├── BadOrder                quantity, price or type the venue would not take
│   ├── BadRange                a time range that can't be
│   ├── AccountMismatch         the account exists with other terms
│   └── IntentExpired           a re-run cell whose order is too old to be meant again
├── Refused                   the answer is no, and nothing happened: the reason says what would change it
│   ├── StalePicture            the market picture is not proven current: wait for LIVE
│   ├── RiskRefused             a risk check, or too little money
│   ├── Halted                  the kill switch of this account is on
│   ├── LiveForbidden           real money needs a deliberate, separate act
│   ├── MissingKey              this call needs an API key
│   ├── KeyRefused              the venue does not accept the key or its signature
│   ├── ClockSkew               the venue says our timestamp is outside its window
│   └── VenueRefused            any other no from the venue, with its code and words
├── Unreached                 the request did not take effect: the same call may be made again
│   ├── RateLimited             slow down; ``retry_after`` says for how long
│   └── VenueUnreachable        no connection, or no answer to a question
├── OutcomeUnknown            sent, and nobody knows: ask with the client id, never send again
├── DataError                 an answer came and can't be trusted
│   ├── BadAnswer               not what the venue's documentation promises
│   ├── SequenceGap             messages are missing
│   ├── Lagged                  a consumer is slower than the market, and has missed something
│   └── BookUnsynced            the book is not in step with the venue: it is not shown
├── NotYet (TimeoutError)     what was waited for has not come; waiting again is safe
└── StoreError                the disk: nothing is sent that could not be written down first
    ├── JournalUnwritable       the journal could not be written
    └── AccountBusy             another process owns this account
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class KitError(Exception):
    """Root of everything the kit raises on purpose."""


class UsageError(KitError, ValueError):
    """The call is wrong; nothing was sent."""


class UnknownName(UsageError):
    """A name nobody knows; the message suggests the nearest known one."""

    def __init__(self, kind: str, name: object, known: Iterable[str], hint: str = "") -> None:
        self.name = str(name)
        options = list(dict.fromkeys(str(option) for option in known))
        folded = {option.casefold(): option for option in options}
        near = difflib.get_close_matches(self.name.casefold(), folded, n=3, cutoff=0.6)
        text = f"unknown {kind} {self.name!r}"
        if near:
            text += "; did you mean " + " or ".join(repr(folded[n]) for n in near) + "?"
        elif 0 < len(options) <= 20:
            text += "; known: " + ", ".join(options)
        super().__init__(f"{text} {hint}".rstrip())


class BadOrder(UsageError):
    """The order can't be placed as asked; nothing was sent."""


class BadRange(UsageError):
    """The time range can't be; nothing was sent."""


class AccountMismatch(UsageError):
    """An account of this name exists with other terms; nothing was changed."""


class IntentExpired(UsageError):
    """The cell's order is too old for a re-run to mean it again; nothing was sent."""


class Refused(KitError):
    """The answer is no, and nothing happened."""


@dataclass(frozen=True)
class Shortfall:
    """A demand of freshness ("feed", "quote", "account", "clock") that is not met, in words; where it can be said in
    numbers, what was ``measured`` and what is ``allowed`` (s)."""

    name: str
    words: str
    measured: float | None = None
    allowed: float | None = None


class StalePicture(Refused):
    """What an order would be decided on is not proven current, so it does not leave; ``shortfalls`` says why."""

    def __init__(self, message: str, *, shortfalls: Sequence[Shortfall] = ()) -> None:
        super().__init__(message)
        self.shortfalls = tuple(shortfalls)


class RiskRefused(Refused):
    """A risk check or the balance says no."""


class Halted(Refused):
    """The account's kill switch is on."""


class LiveForbidden(Refused):
    """Real money is out of reach from here."""


class MissingKey(Refused):
    """The call needs an API key and none was found."""


class KeyRefused(Refused):
    """The venue does not accept the key, its permissions or its signature."""


class ClockSkew(Refused):
    """The venue rejects our timestamp: the clocks differ too much."""


class VenueRefused(Refused):
    """The venue said no; ``code`` is its own, ``words`` its own text."""

    def __init__(self, message: str, *, code: int | str | None = None, words: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.words = words


class Unreached(KitError):
    """The request took no effect; the same call may be made again."""


class RateLimited(Unreached):
    """The venue asks for less; ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class VenueUnreachable(Unreached):
    """No connection to the venue, or no answer to a question that changes nothing."""


class OutcomeUnknown(KitError):
    """The request was sent and its effect is unknown; ask with the client id."""


class DataError(KitError):
    """An answer came that can't be trusted."""


class BadAnswer(DataError):
    """The answer is not what the venue's documentation promises."""


class SequenceGap(DataError):
    """Messages of a stream are missing."""


class Lagged(DataError):
    """A consumer of live events is slower than the market; what it missed is recorded."""


class BookUnsynced(DataError):
    """The book is not in step with the venue, so it is not shown."""


class NotYet(KitError, TimeoutError):
    """What was waited for has not come in the given time; nothing was changed by waiting."""


class StoreError(KitError):
    """The disk did not take what had to be kept."""


class JournalUnwritable(StoreError):
    """The journal could not be written, so nothing was sent."""


class AccountBusy(StoreError):
    """Another process owns this account."""
