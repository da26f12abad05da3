"""What a simulated venue must be able to say in its own wire's words; a market supplies the facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kit.model import Channel
from kit.venues.base import Call, MarketCodec

if TYPE_CHECKING:
    from tests.sim.laws import Witness
    from tests.sim.venue import Market

Bar = tuple[int, int, int, int, int, int, int, int, int]
"""Open high low close (ticks), volume (lots), quote volume (ticks x lots), trades, first and last trade id."""
Side = dict[int, int]
"""Price in ticks -> lots."""
Top = tuple[int, int, int, int]
"""Bid, its lots, ask, its lots."""


class Said(NamedTuple):
    """One publication: when, on which stream, the frame's bytes, and the number of what it tells."""

    at: int
    stream: str
    frame: bytes
    number: int
    """Trade id, last update id, or a bar's open time (µs)."""


@dataclass(frozen=True)
class Heard:
    """A message of ours, as the venue understands it."""

    subscribes: bool
    number: int
    streams: tuple[str, ...]


def stream(native: str, channel: Channel) -> str:
    """How the simulation names a stream, at every venue."""
    return f"{native} {channel}"


class Voice(Protocol):
    """One venue's wire. ``codec`` is the kit's own for it."""

    @property
    def codec(self) -> MarketCodec: ...
    @property
    def natives(self) -> Sequence[str]: ...
    @property
    def intervals(self) -> Sequence[str]: ...
    @property
    def throttle(self) -> Mapping[str, int]:
        """Interval -> least µs between two versions of a bar."""
        ...

    @property
    def silence(self) -> tuple[float, float]:
        """Least and most seconds for which nothing at all may happen in a market."""
        ...

    @property
    def witness(self) -> type[Witness]:
        """Who knows what must hold here."""
        ...

    # streams
    def trades(self, market: Market, first: int) -> list[Said]:
        """The trades from the place ``first`` on, which one taker made."""
        ...

    def quote(self, market: Market, update: int, top: Top) -> list[Said]: ...

    def changes(self, market: Market, first: int, last: int, bids: Side, asks: Side) -> list[Said]:
        """What the updates ``first`` to ``last`` made of some levels."""
        ...

    def bar(self, market: Market, place: int, bar: Bar, at: int, *, closed: bool) -> list[Said]: ...

    def welcome(self, market: Market, channel: Channel) -> list[Said]:
        """What a new subscriber is told first."""
        ...

    # the connection
    def hear(self, text: str) -> Heard:
        """What a message of ours says; one of no streams is the greeting."""
        ...

    def agree(self, heard: Heard, active: Set[str]) -> list[bytes]:
        """The answers to what is taken; ``active`` are the streams that the connection then has."""
        ...

    def refuse(self, heard: Heard) -> list[tuple[str, bytes]]:
        """Per answer: the streams it refuses, in a row, and its bytes."""
        ...

    def goodbye(self, now: int) -> bytes | None: ...
    def heartbeat(self, now: int) -> bytes | None: ...
    def counted(self, frame: bytes, number: int) -> bytes:
        """The frame as the one of that ``number`` on its connection; as it is where frames are not counted."""
        ...

    # REST
    def asked(self, call: Call[Any]) -> tuple[str, str]:
        """Of which native a question is, and what it is about: book, candles, trades or touch."""
        ...

    def answer(self, market: Market, call: Call[Any], time: int) -> bytes: ...
    def limited(self, wait: int) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body for who asks too much, for ``wait`` seconds more."""
        ...
