"""Request parameters: what an endpoint takes, and how text becomes values. Pure.

Query string and form body are read alike; a name in both takes the query's value (rest-api.md,
"General Information on Endpoints"). Times may be ms or µs and become µs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from kit.sandbox.refusals import Refusal

Args = Mapping[str, Any]
"""Parsed parameters by Binance's names; absent optional ones carry their default."""
Reader = Callable[[str, str], Any]
"""Name and text in, value out; raises Refusal."""

MICROSECONDS_FROM = 10**14
"""From here on a time is in µs: in ms it would be the year 5138."""
SYMBOL = re.compile(r"(?:(?![a-z])[\w\-.]){1,50}")
SYMBOL_RANGE = r"^[\w\-._&&[^a-z]]{1,50}$"
SYMBOLS_RANGE = r'^\["[^a-z]{1,50}"(,"[^a-z]{1,50}")*\]$'
CLIENT_ID = re.compile(r"[a-zA-Z0-9-_.:/]{1,36}")
CLIENT_ID_RANGE = "^[a-zA-Z0-9-_.:/]{1,36}$"
NUMBER_RANGE = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
INTEGER_RANGE = "^[0-9]{1,20}$"
NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
INTEGER = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True)
class Param:
    """One parameter of an endpoint."""

    name: str
    read: Reader
    required: bool = False
    default: Any = None


def symbol(name: str, text: str) -> str:
    """A venue symbol; whether it is traded is the exchange's to say."""
    if not SYMBOL.fullmatch(text):
        raise Refusal("ILLEGAL_CHARS", name, SYMBOL_RANGE)
    return text


def symbols(name: str, text: str) -> list[str]:
    """A JSON array of symbols, as ``["BTCUSDT","ETHUSDT"]``."""
    try:
        listed = msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError:
        listed = []
    if not listed:
        raise Refusal("ILLEGAL_CHARS", name, SYMBOLS_RANGE)
    return [symbol(name, each) for each in listed]


def client_id(name: str, text: str) -> str:
    """A client order id. (The pattern is fix-api.md's plus the ``. : /`` that REST takes as well.)"""
    if not CLIENT_ID.fullmatch(text):
        raise Refusal("ILLEGAL_CHARS", name, CLIENT_ID_RANGE)
    return text


def integer(name: str, text: str) -> int:
    """A whole number, not negative."""
    if not INTEGER.fullmatch(text):
        raise Refusal("ILLEGAL_CHARS", name, INTEGER_RANGE)
    return int(text)


def limit(most: int) -> Reader:
    """A page size from 1 up; more than ``most`` is served as ``most``, as the venue does."""

    def read(name: str, text: str) -> int:
        value = integer(name, text)
        if value < 1:
            raise Refusal("INVALID_PARAMETER", name)
        return min(value, most)

    return read


def time(name: str, text: str) -> int:
    """A time in ms or µs, as µs."""
    value = integer(name, text)
    return value if value >= MICROSECONDS_FROM else value * 1000


def end_time(name: str, text: str) -> int:
    """An inclusive end: one in ms includes its whole millisecond."""
    value = time(name, text)
    return value if int(text) >= MICROSECONDS_FROM else value + 999


def amount(name: str, text: str) -> Decimal:
    """A price or quantity: plain digits, at most 8 decimals."""
    if not NUMBER.fullmatch(text):
        raise Refusal("ILLEGAL_CHARS", name, NUMBER_RANGE)
    value = Decimal(text)
    if -int(value.normalize().as_tuple().exponent) > 8:
        raise Refusal("BAD_PRECISION", name)
    return value


def window(name: str, text: str) -> int:
    """recvWindow in ms (up to three decimals), as µs; at most 60 s."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Refusal("ILLEGAL_CHARS", name, NUMBER_RANGE) from None
    if not value.is_finite() or value <= 0:
        raise Refusal("ILLEGAL_CHARS", name, NUMBER_RANGE)
    if value > 60_000:
        raise Refusal("BAD_RECV_WINDOW")
    return int(value * 1000)


def flag(name: str, text: str) -> bool:
    """``true`` or ``false``."""
    if text.lower() not in ("true", "false"):
        raise Refusal("ILLEGAL_CHARS", name, "^(true|false)$")
    return text.lower() == "true"


def choice(refusal: str, *options: str) -> Reader:
    """One of ``options``, else ``refusal``."""

    def read(name: str, text: str) -> str:
        if text not in options:
            raise Refusal(refusal, name)
        return text

    return read


def text(name: str, value: str) -> str:
    """Any text."""
    return value


SIGNED = (
    Param("timestamp", time, required=True),
    Param("recvWindow", window, default=5_000_000),
    Param("signature", text, required=True),
)
"""What every signed endpoint takes besides its own."""


def pairs(query: str, body: str) -> dict[str, str]:
    """Names and texts of a request, the query string's first; a name twice in one of them is refused."""
    merged: dict[str, str] = {}
    for part in (body, query):
        listed = parse_qsl(part, keep_blank_values=True)
        if len({name for name, _ in listed}) != len(listed):
            raise Refusal("DUPLICATE_PARAMETER")
        merged.update(listed)
    return merged


def parse(specs: Sequence[Param], sent: Mapping[str, str]) -> dict[str, Any]:
    """Values for ``specs`` from what was sent; what nobody reads is refused, as the venue does."""
    known = {spec.name for spec in specs}
    if unread := [name for name in sent if name not in known]:
        read = len(sent) - len(unread)
        raise Refusal("UNREAD", read, len(sent)) if specs else Refusal("TOO_MANY_PARAMETERS", 0, len(sent))
    return {spec.name: _value(spec, sent.get(spec.name)) for spec in specs}


def _value(spec: Param, sent: str | None) -> Any:
    if sent:
        return spec.read(spec.name, sent)
    if spec.required:
        raise Refusal("MANDATORY", spec.name)
    if sent == "":
        raise Refusal("EMPTY", spec.name)
    return spec.default
