"""One connection to a venue's streams: what it was asked for, what is confirmed, what has still to be said. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from kit.clock import SECOND
from kit.venues.base import Ack, MarketCodec, MarketEvent, Subscription

HELD = 500_000
"""Most events held back for a second connection; beyond that the oldest go, and the ids show what is missing."""


class Allowance:
    """At most ``limit`` in any ``window`` seconds."""

    def __init__(self, limit: int, window: float) -> None:
        self._window = round(window * SECOND)
        self._taken: deque[int] = deque(maxlen=limit)

    def take(self, now: int) -> bool:
        """Count one at ``now`` (µs), if there is room for it."""
        if len(self._taken) == self._taken.maxlen and now - self._taken[0] < self._window:
            return False
        self._taken.append(now)
        return True


@dataclass(frozen=True)
class Message:
    """A text to be sent; ``asks`` for subscriptions under ``id``, or for none."""

    text: str
    id: int = 0
    asks: tuple[Subscription, ...] = ()


@dataclass(eq=False)
class Link:
    """One connection. Times are µs; ``opened`` is None until it has come about."""

    number: int
    began: int
    allowance: Allowance
    opened: int | None = None
    heard: int = 0
    """When application data last came."""
    beaten: int = 0
    """When a frame last came that says nothing (a heartbeat), or whose number shows that none is missing."""
    vouched: int = 0
    """When REST last showed that the silence is the market's. It does not show that nothing was missed."""
    whole: int | None = None
    """Since when all that was asked for is confirmed."""
    ends: int | None = None
    """When it is to be replaced."""
    leaving: bool = False
    """The venue has said goodbye."""
    sequence: int | None = None
    """The number of its last frame, where the venue counts them."""
    asked: set[Subscription] = field(default_factory=set)
    confirmed: set[Subscription] = field(default_factory=set)
    refused: dict[Subscription, int] = field(default_factory=dict)
    """What the venue would not have, and when it is asked for again."""
    renewing: set[Subscription] = field(default_factory=set)
    """Asked for anew: frames of the old subscription may still come, so only the venue's word counts."""
    pending: dict[int, tuple[int, set[Subscription]]] = field(default_factory=dict)
    """Message id -> when it was sent, and what of it is not answered yet."""
    outbox: deque[Message] = field(default_factory=deque)
    held: deque[tuple[MarketEvent, int]] = field(default_factory=lambda: deque(maxlen=HELD))
    """What came on it, and when, while another one was in use."""

    @property
    def through(self) -> int:
        """Until when all has come through that was sent on it: a connection keeps its order."""
        return max(self.heard, self.beaten)

    @property
    def alive(self) -> int:
        """When it was last known not to be mute."""
        return max(self.heard, self.vouched)

    def settled(self, wanted: Iterable[Subscription]) -> bool:
        """True when every one of ``wanted`` is confirmed or refused."""
        return all(sub in self.confirmed or sub in self.refused for sub in wanted)

    def plan(self, codec: MarketCodec, wanted: Iterable[Subscription], ids: Iterator[int], now: int) -> None:
        """Put into the outbox what makes the venue send what is wanted and nothing else."""
        if self.outbox:
            return
        self.forget([sub for sub, again in self.refused.items() if again <= now])
        goal = set(wanted)
        for batch in _batches(goal - self.asked, codec):
            self.asked.update(batch)
            self.whole = None
            number = next(ids)
            self.outbox.append(Message(codec.subscribe(batch, number), number, batch))
        for batch in _batches(self.asked - goal, codec):
            self.forget(batch)
            self.outbox.append(Message(codec.unsubscribe(batch, next(ids))))

    def forget(self, subscriptions: Iterable[Subscription]) -> None:
        """As if these had never been asked for."""
        gone = set(subscriptions)
        for known in (self.asked, self.confirmed, self.renewing):
            known.difference_update(gone)
        for sub in gone & self.refused.keys():
            del self.refused[sub]
        self._close_questions(gone)

    def _close_questions(self, spoken: set[Subscription]) -> None:
        for number, (_, open_ones) in tuple(self.pending.items()):
            open_ones.difference_update(spoken)
            if not open_ones:
                del self.pending[number]

    def say(self, now: int) -> Iterator[str]:
        """The texts that may be sent at ``now``."""
        while self.outbox and self.allowance.take(now):
            message = self.outbox.popleft()
            if message.asks:
                self.pending[message.id] = now, set(message.asks)
            yield message.text

    def answered(self, ack: Ack) -> set[Subscription]:
        """The subscriptions an answer speaks of; they are open questions no more."""
        if ack.active is not None:
            waiting = self.refused.keys() | {sub for _, subs in self.pending.values() for sub in subs}
            spoken = {sub for sub in waiting if (sub.channel, sub.native) in ack.active}
        elif ack.id is None:  # a complaint about no message in particular: it may concern any that has brought nothing
            waiting = {sub for _, subs in self.pending.values() for sub in subs} - self.confirmed
            spoken = {sub for sub in waiting if ack.native in ("", sub.native)}
        else:
            _, subs = self.pending.get(int(ack.id), (0, set()))
            spoken = {sub for sub in subs if ack.native in ("", sub.native)}
        self._close_questions(spoken)
        return spoken

    def unanswered(self, since: int) -> bool:
        """True when something asked for before ``since`` has not been answered."""
        return any(sent < since for sent, _ in self.pending.values())


def _batches(subscriptions: Iterable[Subscription], codec: MarketCodec) -> Iterator[tuple[Subscription, ...]]:
    """As many in a message as the venue takes, in an order that is always the same."""
    rules = codec.streaming
    ordered = sorted(subscriptions, key=lambda sub: (sub.channel, sub.interval, sub.native))
    for _, alike in groupby(ordered, lambda sub: None if rules.mixed else (sub.channel, sub.interval)):
        many = tuple(alike)
        yield from (many[at : at + rules.batch] for at in range(0, len(many), rules.batch))
