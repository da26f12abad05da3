"""The life of a venue's market connections, as decisions: told what happened and what time it is, it says what to do.

Pure: the sockets are ``kit.net.stream``'s. One connection ("link") carries everything; before the venue ends it, a
second one is opened beside it. What comes on the second is held back until the first is let go or dies, and is then
handed on in its order: listeners see one stream without a hole, with some messages twice. Pauses between attempts grow
with jitter until *data* comes (being connected is not enough), and ``Retry-After`` is their floor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from random import Random
from typing import Any, NamedTuple

from kit.clock import SECOND
from kit.errors import BadAnswer
from kit.market.book import BookRule
from kit.model import BookSnapshot, Candle, Channel
from kit.net.link import Allowance, Link, Message
from kit.net.routes import Key, Listener, Routes, subscription
from kit.venues.base import Ack, Goodbye, MarketCodec, MarketEvent, Numbered, Subscription

BEAT = 0.25
"""Seconds between two looks at the clock."""
OPENING = 15 * SECOND
"""µs that an attempt to connect may take."""
OVERLAP = 2 * SECOND
"""µs that two links must run side by side before nothing can be missing between them."""
PATIENCE = 5 * SECOND
"""µs more that a quiet old link is given to show that it is not mute."""
EARLY, EARLIEST = 10 * SECOND, 0.02
"""A link is replaced so many µs ahead of the venue's cut, up to this share of its lifetime: drawn, so that clients
spread."""
REFUSED = (15 * SECOND, 600 * SECOND)
"""µs until what the venue refused is asked for again: at first, doubling, and at most."""
RENEWALS, RENEWALS_WITHIN = 2, 60 * SECOND
"""A channel that was asked for anew so often within so long, and is still amiss, costs the connection."""


class Open(NamedTuple):
    """Open a connection; say ``opened`` or ``ended``."""

    link: int


class Send(NamedTuple):
    """Send a text."""

    link: int
    text: str


class Hangup(NamedTuple):
    """Abort a connection; nothing that comes on it counts any more."""

    link: int


Action = Open | Send | Hangup


class Backoff:
    """Pauses that double up to ``most`` seconds, each between half and all of it, until data comes again."""

    def __init__(self, seed: int, *, first: float = 0.5, most: float = 30.0) -> None:
        self.tries = 0
        self._first, self._most = first, most
        self._random = Random(seed)  # noqa: S311 - jitter keeps clients apart, it keeps no secret

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        longest = min(self._most, self._first * 2.0**self.tries)
        self.tries = min(self.tries + 1, 30)
        return longest * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Data came: the next pause is short again."""
        self.tries = 0

    def draw(self, least: float, most: float) -> float:
        """A number between the two."""
        return self._random.uniform(least, most)


class Supervisor:
    """The connections of one venue. Call ``step`` every ``BEAT``, and after everything but ``received``.

    ``mute_after`` is how many seconds without data (or without an answer to a subscription) make a connection worth
    replacing; ``lifetime`` (s) is how long the venue lets one live (default: what the codec says). ``numbers`` are
    given to the connections one by one (default: 1, 2, …).
    """

    def __init__(
        self,
        codec: MarketCodec,
        *,
        seed: int,
        mute_after: float = 15.0,
        lifetime: float | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.last_error: str | None = None
        """Why the last connection ended or the last subscription was refused, in words."""
        self.links = 0
        """Counts the connections that came about."""
        self.handovers = 0
        """Counts those of them that took over from another without a hole."""
        self.sequence_gaps = 0
        """Counts the holes in the connections' own numbering."""
        self.backoff, self._next_backoff = Backoff(seed), Backoff(seed + 1)
        self.routes = Routes()
        self._told: dict[Listener, list[MarketEvent]] = {}
        """What the frames in hand have brought: handed on after the last of them, or before anything else is told."""
        self._codec = codec
        self._decode: Callable[[bytes | str], Sequence[Any]] = codec.decode
        """``Any``: what an event is, its type tells, and ``routes.by_kind`` knows the types."""
        self._mute_after = round(mute_after * SECOND)
        seconds = lifetime or codec.streaming.lifetime
        self._lifetime = None if seconds is None else round(seconds * SECOND)
        self._attempts = Allowance(*codec.streaming.attempts)
        self._link: Link | None = None
        self._next: Link | None = None
        self._open_at = self._next_at = self._floor = 0
        self._numbers, self._ids = numbers or count(1), count(1)
        self._renewed: dict[Subscription, deque[int]] = {}
        self._refusals: dict[Subscription, int] = {}
        self._hangups: list[Hangup] = []

    # -- who listens

    def subscribe(self, subscriptions: Iterable[Subscription], listener: Listener, now: int) -> None:
        """Have ``listener`` told of these; it hears ``up`` for each once the venue has confirmed it."""
        for sub in subscriptions:
            self.routes.want(sub, listener)
            if self._link is None or sub not in self._link.confirmed:
                continue
            if sub.channel is Channel.BOOK and self._codec.streaming.book is not BookRule.IDS:
                self._ask_anew(self._link, sub, now)  # its snapshot has come and gone
            else:
                self.routes.open(sub)
                self._guard(partial(listener.up, sub, self._link.number, now))

    def unsubscribe(self, subscriptions: Iterable[Subscription], listener: Listener) -> None:
        """Stop telling; the venue is asked to stop what nobody else listens to."""
        for sub in subscriptions:
            self.routes.unwant(sub, listener)

    def renew(self, sub: Subscription, now: int) -> None:
        """Ask for a channel anew: it is mute beside lively ones, or its book needs another snapshot.

        One that needs it again and again costs the connection.
        """
        link = self._link
        if link is None or sub not in link.asked:
            return
        times = self._renewed.setdefault(sub, deque(maxlen=RENEWALS))
        if len(times) == RENEWALS and now - times[0] < RENEWALS_WITHIN:
            del self._renewed[sub]
            self._end(link, f"the {sub.channel} channel of {sub.native} stayed amiss though asked for anew", now)
            return
        times.append(now)
        self._ask_anew(link, sub, now)

    def _ask_anew(self, link: Link, sub: Subscription, now: int) -> None:
        link.forget([sub])
        link.renewing.add(sub)
        link.outbox.append(Message(self._codec.unsubscribe([sub], next(self._ids))))
        self._shut(sub, "its channel is asked for anew", now)

    def vouch(self, now: int) -> None:
        """REST has shown that a silent connection is quiet, not mute."""
        if self._link is not None:
            self._link.vouched = now

    # -- what happened

    def opened(self, number: int, now: int) -> None:
        """A connection came about."""
        link = self._find(number)
        if link is None:
            return
        self.links += 1
        link.opened = link.heard = now
        link.outbox.extend(Message(text) for text in self._codec.streaming.greeting)
        if self._lifetime is not None:
            early = self.backoff.draw(EARLY, max(EARLY, self._lifetime * EARLIEST))
            link.ends = now + max(0, self._lifetime - round(early))

    def ended(self, number: int, reason: str, now: int, retry_after: float = 0.0) -> None:
        """A connection could not be opened, or is gone; the venue asked to wait ``retry_after`` seconds."""
        link = self._find(number)
        if link is not None:
            self._end(link, reason, now, retry_after)

    def received(self, number: int, frames: Iterable[bytes | str], now: int) -> None:  # noqa: C901 - every message comes by here, and calls are dear
        """Frames came together, and what is in them is handed on together. One that can't be read ends its connection:
        what else was in it is not known."""
        link = self._link
        if link is None or link.number != number:
            link = self._find(number)
            if link is None:
                return
        held, decode, by_kind, backoff = link is not self._link, self._decode, self.routes.by_kind, self.backoff
        for frame in frames:
            try:
                events = decode(frame)
            except BadAnswer as error:
                self._end(link, str(error), now)
                return
            if not events:
                link.beaten = now
            for event in events:
                known = by_kind.get(type(event))
                if known is None:
                    if not self._heed(link, event, now):
                        return
                    continue
                link.heard = now
                if held:
                    link.held.append((event, now))
                    continue
                key: Key = (event.symbol, event.interval) if type(event) is Candle else event.symbol
                for listener in known.get(key) or self._first(link, event, key, now):
                    self._told.setdefault(listener, []).append(event)
                if backoff.tries:
                    backoff.reset()
        self._tell(now)

    def _tell(self, now: int) -> None:
        """Hand on what the frames in hand have brought so far."""
        told, self._told = self._told, {}
        for listener, events in told.items():
            try:
                listener.take(events, now)
            except Exception as error:  # one listener's mistake must not cost the others their data
                self.last_error = f"a listener failed: {error!r}"

    def _first(self, link: Link, event: MarketEvent, key: Key, now: int) -> tuple[Listener, ...]:
        """Who listens to an event that leads nowhere yet: a first frame confirms its subscription."""
        sub = subscription(event)
        stale = sub in link.renewing and not isinstance(event, BookSnapshot)  # only what was asked anew begins with one
        if sub not in link.asked or sub in link.confirmed or stale:
            return ()
        self._confirm(link, {sub}, now)
        return self.routes.by_kind[type(event)].get(key, ())

    # -- what the venue says about the connection itself

    def _heed(self, link: Link, event: Ack | Goodbye | Numbered, now: int) -> bool:
        """False when the rest of the frame does not count."""
        match event:
            case Numbered(number=number):
                return self._count(link, number, now)
            case Ack(error=error) if error:
                self._refuse(link, link.answered(event), error, now)
            case Ack():
                self._confirm(link, link.answered(event), now)
            case Goodbye():
                link.leaving, link.ends = True, now
        return True

    def _count(self, link: Link, number: int, now: int) -> bool:
        last, link.sequence = link.sequence, number
        if last is None or number == last + 1:
            link.beaten = now
            return True
        self.sequence_gaps += 1
        self._end(link, f"frames {last + 1} to {number - 1} of the connection did not come", now)
        return False

    def _confirm(self, link: Link, subs: set[Subscription], now: int) -> None:
        fresh = subs - link.confirmed  # a first frame may have confirmed it before the venue's word comes
        link.confirmed |= fresh
        link.renewing -= subs
        for sub in subs:
            self._refusals.pop(sub, None)
            link.refused.pop(sub, None)  # a complaint that named nobody was about another one
        if link.whole is None and link.settled(self.routes.wanted):
            link.whole = now
        if link is self._link:
            self._announce(link, fresh, now)

    def _announce(self, link: Link, subs: set[Subscription], now: int) -> None:
        self._tell(now)
        for sub in sorted(subs, key=repr):
            self.routes.open(sub)
            for listener in self.routes.wanted.get(sub, ()):
                self._guard(partial(listener.up, sub, link.number, now))

    def _refuse(self, link: Link, subs: set[Subscription], words: str, now: int) -> None:
        """Tell those it concerns. It is asked for again after a growing pause."""
        self.last_error = f"the venue refused a subscription: {words}"
        for sub in subs:
            vain = self._refusals[sub] = self._refusals.get(sub, -1) + 1
            link.refused[sub] = now + min(REFUSED[0] << min(vain, 10), REFUSED[1])
        if link is self._link:
            for sub in sorted(subs, key=repr):
                self._shut(sub, self.last_error, now)

    def _shut(self, sub: Subscription, reason: str, now: int) -> None:
        self._tell(now)
        self.routes.shut(sub)
        for listener in self.routes.wanted.get(sub, ()):
            self._guard(partial(listener.down, sub, reason, now))

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # as with events
            self.last_error = f"a listener failed: {error!r}"

    # -- the end of a connection

    def _end(self, link: Link, reason: str, now: int, retry_after: float = 0.0) -> None:
        """Let a connection go, and see to the one after it."""
        self._hangups.append(Hangup(link.number))
        self.last_error = reason
        self._floor = max(self._floor, now + round(retry_after * SECOND))
        if link is self._next:
            self._next = None
            self._next_at = now + round(self._next_backoff.next() * SECOND)
            return
        after, self._link, self._next = self._next, None, None
        if after is not None and after.whole is not None and link.through - after.whole >= OVERLAP:
            self._take_over(link, after, now)
            return
        for sub in tuple(self.routes.wanted):
            self._shut(sub, reason, now)
        if after is not None:  # both ran too briefly beside each other to prove that nothing is missing between them
            self._link = after
            self._announce(after, after.confirmed, now)
            self._release(after)
            return
        pause = 0 if link.leaving else round(self.backoff.next() * SECOND)
        self._open_at = now + pause

    def _take_over(self, old: Link, new: Link, now: int) -> None:
        """Have ``new`` carry on where ``old`` stopped; what only one of them had comes or goes."""
        self.handovers += 1
        self._next_backoff.reset()
        self._link = new
        for sub in old.confirmed - new.confirmed:
            self._shut(sub, "the next connection does not carry it", now)
        self._announce(new, new.confirmed - old.confirmed, now)
        self._release(new)

    def _release(self, link: Link) -> None:
        """Hand on what was held back, as if it came now."""
        held, link.held = link.held, deque()
        for event, received in held:
            key: Key = (event.symbol, event.interval) if isinstance(event, Candle) else event.symbol
            for listener in self.routes.by_kind[type(event)].get(key, ()):
                self._guard(partial(listener.take, [event], received))

    # -- what is due

    def step(self, now: int) -> list[Action]:
        """What is to be done now, in this order."""
        if self.routes.wanted:
            self._watch(now)
            self._replace(now)
        else:
            self._quit()
        actions: list[Action] = [*self._hangups]
        self._hangups.clear()
        if self.routes.wanted:
            actions += self._openings(now)
            for link in self._open_links():
                link.plan(self._codec, self.routes.wanted, self._ids, now)
                actions += [Send(link.number, text) for text in link.say(now)]
        return actions

    def _open_links(self) -> Iterator[Link]:
        return (link for link in (self._link, self._next) if link is not None and link.opened is not None)

    def _quit(self) -> None:
        """Nobody listens any more."""
        self._hangups += [Hangup(link.number) for link in (self._link, self._next) if link is not None]
        self._link = self._next = None
        self._renewed.clear()
        self._refusals.clear()

    def _watch(self, now: int) -> None:
        """Give up connections that do not come about, answer nothing, or bring nothing."""
        for link in (self._link, self._next):
            if link is None:
                continue
            if link.opened is None:
                if now - link.began >= OPENING:
                    self._end(link, f"no connection came about within {OPENING // SECOND} s", now)
            elif link.unanswered(now - self._mute_after):
                self._end(link, "the venue did not confirm the subscriptions", now)
            elif now - link.alive >= self._mute_after and link.asked:
                self._end(link, f"the connection was mute for {(now - link.alive) // SECOND} s", now)

    def _replace(self, now: int) -> None:
        """Let the older of two connections go once the newer has everything and has had it long enough."""
        old, new = self._link, self._next
        if old is None or new is None or new.whole is None or now - new.whole < OVERLAP:
            return
        newest = new.held[-1][1] if new.held else 0
        both = old.through - new.whole >= OVERLAP
        silent = self._codec.streaming.book is BookRule.IDS  # without heartbeats; what is missed its ids will tell
        quiet = silent and now - new.whole >= OVERLAP + PATIENCE and newest <= old.alive + SECOND
        if both or quiet:
            self._hangups.append(Hangup(old.number))
            self._next = None
            self._take_over(old, new, now)
        elif now - new.whole >= OVERLAP + PATIENCE:
            self._end(old, "the connection was mute while the one opened to replace it was not", now)

    def _openings(self, now: int) -> Iterator[Action]:
        if now < self._floor:
            return
        first = self._link is None and now >= self._open_at
        ends = self._link.ends if self._link is not None and self._next is None else None
        if not (first or (ends is not None and now >= max(ends, self._next_at))) or not self._attempts.take(now):
            return
        link = Link(next(self._numbers), now, Allowance(*self._codec.streaming.messages))
        if first:
            self._link = link
        else:
            self._next = link
        yield Open(link.number)

    def _find(self, number: int) -> Link | None:
        return next((link for link in (self._link, self._next) if link is not None and link.number == number), None)
