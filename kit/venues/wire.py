"""What all venues' wires have in common: JSON of known shapes, numbers written as text, and answers that are neither.

Market data is read straight into floats (finite and not negative, or it is no price); exchange rules stay text until
they are exact ``Decimal``. A reader raises ``ValueError`` or a sibling on a body that is not what was promised;
``reading`` turns that into ``BadAnswer``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from kit.errors import BadAnswer

T = TypeVar("T")

Amount = Annotated[float, msgspec.Meta(ge=0, le=1e300)]
"""A price or quantity of market data: the bounds also keep out NaN and infinity, which lax parsing would take."""
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

MALFORMED = (ValueError, ArithmeticError, RecursionError)
"""What decoding raises on rubbish: msgspec's errors and UnicodeError are ValueErrors, deep nesting recurses."""

_MONEY = re.compile(r"-?\d{1,24}(\.\d{1,24})?", re.ASCII)
_LONG_TOKEN = re.compile(r"(?=[\w%+/=.-]*\d)[\w%+/=.-]{16,}|[\w%+/=.-]{24,}", re.ASCII)
_EXCERPT = 120


def decoder(shape: type[T]) -> Callable[[bytes | str | msgspec.Raw], T]:
    """A typed JSON reader that also takes numbers written as text."""
    return msgspec.json.Decoder(shape, strict=False).decode


def reading(read: Callable[[bytes], T], what: str) -> Callable[[bytes], T]:
    """``read``, raising BadAnswer where it finds the body malformed; ``what`` is whose and which (Kraken's OHLC)."""

    def checked(body: bytes) -> T:
        try:
            return read(body)
        except MALFORMED as error:
            raise bad_answer(what, body, error) from None

    return checked


def bad_answer(what: str, body: bytes | str, error: BaseException) -> BadAnswer:
    """The error for an answer that is not ``what`` it should be."""
    return BadAnswer(
        f"{what} can't be read ({excerpt(str(error))}); it began {excerpt(body)!r}. "
        "Nothing was made of it; if it stays so, check that the host is the venue's and no proxy answers in its place"
    )


def excerpt(body: bytes | str) -> str:
    """The beginning of an answer, fit for an error: printable, short, and without long tokens (keys, signatures)."""
    text = body[: 4 * _EXCERPT].decode("utf-8", "replace") if isinstance(body, bytes) else body[: 4 * _EXCERPT]
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = _LONG_TOKEN.sub("…", text)
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"


def money(text: str) -> Decimal:
    """A wire amount as exact money; ValueError unless it is a plain finite decimal."""
    if not _MONEY.fullmatch(text):
        raise ValueError(f"not a plain decimal number: {excerpt(text)!r}")
    return Decimal(text)
