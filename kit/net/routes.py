"""Who listens to what: from an event to its listeners in two dictionary look-ups. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from kit.model import BookDelta, BookSnapshot, Candle, Channel, Quote, Trade
from kit.venues.base import MarketEvent, Subscription


class Listener(Protocol):
    """Whoever listens to subscriptions. It must be quick; what it raises is kept, and costs nobody else anything."""

    def up(self, subscription: Subscription, link: int, now: int) -> None:
        """Confirmed by the venue: from now on everything comes."""
        ...

    def down(self, subscription: Subscription, reason: str, now: int) -> None:
        """Its connection is gone, frames of it are missing, or the venue refused it."""
        ...

    def take(self, events: Sequence[MarketEvent], now: int) -> None:
        """Events in their order, all received at ``now`` (µs)."""
        ...


Key = str | tuple[str, str]
"""The venue's symbol; for candles with their interval."""

_KINDS: dict[Channel, tuple[type[MarketEvent], ...]] = {
    Channel.TRADE: (Trade,),
    Channel.CANDLE: (Candle,),
    Channel.QUOTE: (Quote,),
    Channel.BOOK: (BookDelta, BookSnapshot),
}
_CHANNELS: dict[type[MarketEvent], Channel] = {kind: channel for channel, kinds in _KINDS.items() for kind in kinds}


class Routes:
    """The subscriptions that are wanted, and the way to the listeners of those that are open."""

    def __init__(self) -> None:
        self.wanted: dict[Subscription, tuple[Listener, ...]] = {}
        self.by_kind: dict[type[MarketEvent], dict[Key, tuple[Listener, ...]]] = {kind: {} for kind in _CHANNELS}
        """Kind of event -> key -> listeners; of subscriptions that are open."""

    def want(self, sub: Subscription, listener: Listener) -> None:
        """Have ``listener`` told of ``sub`` once it is open."""
        self.wanted[sub] = (*self.wanted.get(sub, ()), listener)

    def unwant(self, sub: Subscription, listener: Listener) -> None:
        """Tell ``listener`` no more."""
        left = tuple(kept for kept in self.wanted.get(sub, ()) if kept is not listener)
        opened = all(_key(sub) in self.by_kind[kind] for kind in _KINDS[sub.channel])
        if left:
            self.wanted[sub] = left
        else:
            self.wanted.pop(sub, None)
        if opened:
            self.open(sub)

    def open(self, sub: Subscription) -> None:
        """Lead the events of ``sub`` to whoever listens now."""
        listeners = self.wanted.get(sub, ())
        for kind in _KINDS[sub.channel]:
            if listeners:
                self.by_kind[kind][_key(sub)] = listeners
            else:
                self.by_kind[kind].pop(_key(sub), None)

    def shut(self, sub: Subscription) -> None:
        """Lead them nowhere."""
        for kind in _KINDS[sub.channel]:
            self.by_kind[kind].pop(_key(sub), None)

    def listeners(self) -> Iterator[tuple[Subscription, Listener]]:
        """Every pair, as it is now."""
        return ((sub, listener) for sub, listeners in tuple(self.wanted.items()) for listener in listeners)


def subscription(event: MarketEvent) -> Subscription:
    """What brings such an event."""
    interval = event.interval if isinstance(event, Candle) else ""
    return Subscription(_CHANNELS[type(event)], event.symbol, interval)


def _key(sub: Subscription) -> Key:
    return (sub.native, sub.interval) if sub.channel is Channel.CANDLE else sub.native
