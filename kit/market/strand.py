"""One channel of one instrument, kept whole: its feed, and the question that stands between it and LIVE.

Pure. After anything that may have lost messages a strand asks REST for what it missed, holds what the stream brings
meanwhile and joins the two; until then its feed is not LIVE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, TypeVar

from kit.clock import SECOND
from kit.market.feed import Feed, FeedEvent, FeedState
from kit.market.latency import Latency
from kit.model import Channel

T = TypeVar("T")
_LIVE = FeedState.LIVE  # every message asks for it

PAGE = 1000
"""Rows to ask for at once; a full page means that there is more."""
DEPTH = 1000
"""Levels a side in a book snapshot: 100 of BTCUSDT cover so little that an honest book is soon wrong."""
LAG_TRIES = 5
"""How often REST is asked again for rows the stream proves to exist, before their absence is believed."""
GRACE = 5 * SECOND
"""µs that a message may be behind another channel's word of it before it is taken for lost."""
HELD = 100_000
"""Most events held while REST is asked; the oldest go first and are then asked for."""


class Need(Enum):
    """What a strand needs from outside."""

    CANDLES = "candles"
    TRADES = "trades"
    QUOTE = "quote"
    BOOK = "book"
    AUDIT = "audit"
    """The book again, to compare with the one that is shown."""
    TOUCH = "touch"
    """The top of the book again, to tell a quiet market from a mute feed."""
    LAST_TRADE = "last trade"
    """The newest trade, for the same."""
    RENEWAL = "renewal"
    """No question for REST: the channel is to be subscribed to anew. Nothing is answered."""


@dataclass(frozen=True)
class Ask:
    """A question for REST: for candles from the open time ``start`` (µs), for trades from the id ``start``.

    Without ``start`` the newest are wanted; ``since`` is when the trade before ``start`` happened (µs). ``at`` is when
    it was asked (µs); an answer to an ``epoch`` that is over is ignored.
    """

    need: Need
    channel: Channel
    start: int | None
    since: int | None
    at: int
    epoch: int


@dataclass
class Due:
    """A need that is not met yet: when to ask next (µs), from where, how often it was asked in vain.

    ``lags`` counts the answers that came and were behind the stream: only they say that REST may never know better.
    """

    at: int
    start: int | None = None
    since: int | None = None
    tries: int = 0
    lags: int = 0
    asked: bool = False

    def again(self, now: int, wait: float = 0.0) -> None:
        """Ask once more, after a pause that grows; ``wait`` (s) is its least."""
        pause = max(min(0.25 * 2**self.tries, 10.0), wait)
        self.at, self.tries, self.asked = now + round(pause * SECOND), self.tries + 1, False

    def lagged(self, now: int, before: int) -> None:
        """Ask once more, for the answer was behind the stream, as ``before`` others were."""
        self.lags, self.tries = before + 1, before
        self.again(now)


@dataclass(frozen=True)
class Gap:
    """Between ``start`` and ``end`` (µs) messages of a channel may be lost that nobody gives back."""

    start: int
    end: int
    reason: str
    channel: Channel


@dataclass(frozen=True)
class Host:
    """What a strand is part of: which questions can be asked there, and who is told of needs and gaps."""

    rest: frozenset[Need]
    needs: Callable[[], None]
    lost: Callable[[Gap], None]
    missed: Callable[[Gap], None]
    """Told when the ids of a channel show that frames of its connection were lost: others may have lost some too."""


class Strand:
    """What the channels have in common. ``stale_after`` (s) is how long one may go without proof."""

    channel: ClassVar[Channel]
    need: ClassVar[Need]
    restored: ClassVar[bool]
    """What was lost can be had from REST; where it can't, the interval becomes a gap, and a channel that was confirmed
    again is LIVE only by a frame or a fresh word of REST: of the others one frame has proven the spelling for good."""

    def __init__(self, host: Host, *, stale_after: float) -> None:
        self.feed = Feed(self.channel, stale_after=stale_after)
        self.latency = Latency()
        self.due: Due | None = None
        self.epoch = 0
        self.renewal_due = False
        self._host, self._answerable = host, self.need in host.rest
        self._up = self._mute = self._vouched = self._spelled = False
        self._wary = True
        """A frame is not to be taken just so: the channel is not up, or mute."""
        self._began = 0
        self._lost: tuple[int, str] | None = None
        self._amiss: tuple[int, str] | None = None
        """Since when the channel that is subscribed to anew may have lost frames, and why."""

    @property
    def connected(self) -> bool:
        """True while the venue has confirmed the subscription."""
        return self._up

    @property
    def began(self) -> int:
        """When all that came before was last put in question and read anew, µs."""
        return self._began

    @property
    def mute(self) -> bool:
        """True while it is up, and was silent for longer than it may be."""
        return self._up and self._mute

    # -- what happens to the channel

    def start(self) -> None:
        """The owner wants it; a connection is on its way."""
        self.feed.advance(FeedEvent.START, "connecting")

    def up(self, connection: int, now: int) -> None:
        """The venue has confirmed the subscription: from now on everything comes."""
        self._up = True
        self._lose(FeedEvent.CONNECTED, "reading what the stream can't tell", now)
        self.feed.connection = connection
        if self._amiss is not None:  # until now the connection may have swallowed frames of others too
            start, reason = self._amiss
            self._host.missed(Gap(min(start, now), now, reason, self.channel))
            self._amiss = None
        self.begin(now)

    def down(self, reason: str, now: int) -> None:
        """The connection is gone, or the venue refused."""
        self._up, self._wary = False, True
        self.due, self.renewal_due = None, False
        self._lose(FeedEvent.DROPPED, reason, now)
        self._blank()

    def close(self) -> None:
        """Nothing more is taken in or asked for."""
        self._up, self._wary = False, True
        self.due, self.renewal_due = None, False
        self._blank()
        self.feed.advance(FeedEvent.CLOSE, "closed")

    def begin(self, now: int) -> None:
        """Something may have been missed: ask anew for what the channel has to be joined with."""
        self.epoch += 1
        self._began = now
        self._mute = self._vouched = self.feed.framed = False
        self._wary = not self._up
        self._forget()
        self._start_over(now)

    def ask_for(self, due: Due) -> None:
        """Have the strand's own question asked, if REST can be asked it."""
        self.due = due if self._answerable else None
        self._host.needs()

    def _met(self) -> int:
        """The question is answered; how many answers before were behind the stream."""
        due, self.due = self.due, None
        return 0 if due is None else due.lags

    def tick(self, now: int) -> None:
        """Notice silence."""
        feed = self.feed
        if self._up and not self._mute and now - max(feed.proven, self._began) > feed.stale_after:
            self._mute = self._wary = True
            self._lose(FeedEvent.SILENT, f"no data for {feed.silence(now) / SECOND:.1f} s", now)
            self._blank()

    def listens(self, now: int) -> bool:
        """False while nothing is taken. After a silence, which may have swallowed frames, the channel begins anew."""
        if not self._up:
            return False
        self.tick(now)
        if self._mute:
            self.begin(now)
        return True

    def vouch(self, at: int, now: int, *, exactly: bool) -> None:
        """REST showed, as of ``at``, what is shown here: the market is quiet."""
        if not self._up:
            return
        self.feed.confirmed(at, exactly=exactly and self.feed.state is FeedState.LIVE)
        if self._mute:
            self.begin(now)
        self._vouched = True
        self.settle(now)

    def renew(self, now: int, reason: str) -> None:
        """The channel is mute beside lively ones: have it subscribed to anew."""
        self._amiss = self.feed.whole or self._began, reason
        self._lose(FeedEvent.GAP, reason, now)
        self._blank()
        self.renewal_due = True
        self._host.needs()

    # -- what it needs

    def asks(self, now: int) -> Iterator[Ask]:
        """The questions that are due, each handed out once."""
        if self.renewal_due:
            self.renewal_due = False
            yield Ask(Need.RENEWAL, self.channel, None, None, now, self.epoch)
        due = self.due
        if due is not None and not due.asked and due.at <= now:
            due.asked = True
            yield Ask(self.need, self.channel, due.start, due.since, now, self.epoch)

    def failed(self, ask: Ask, now: int, reason: str, wait: float) -> None:
        """REST did not answer: it is asked again after a pause, ``wait`` seconds at least."""
        if ask.epoch == self.epoch and self.due is not None:
            self.due.again(now, wait)
            if self.feed.state is not FeedState.LIVE:
                self.feed.reason = reason

    def answer(self, ask: Ask, value: Any, now: int) -> None:
        """REST answered the strand's own question."""
        if ask.epoch == self.epoch and self.due is not None:
            self._read(ask, value, now)
            self.settle(now)

    # -- where it stands

    @property
    def complete(self) -> bool:
        """True when nothing is missing that must come before it may be LIVE."""
        return self.due is None

    def settle(self, now: int) -> None:
        """LIVE once it is complete, not mute, and proven since it came up."""
        feed = self.feed
        if feed.state is FeedState.LIVE or not self._up or self._mute or not self.complete:
            return
        if not (feed.framed or self._vouched or self._spelled):
            return
        if self._lost is not None:
            start, reason = self._lost  # told first, for whoever reads LIVE in another thread reads the gaps next
            end = max(now, start, self._began)  # a frame that was held is dated when it was received
            self._host.lost(Gap(start, end, reason, self.channel))
            self._lost = None
        feed.whole = max(feed.whole, now)
        feed.advance(FeedEvent.SYNCED)

    def taken(self, now: int) -> None:
        """A frame was taken, received at ``now``: until then nothing is missing, if it did not show otherwise."""
        feed = self.feed
        feed.heard = now
        if not feed.framed:
            feed.framed, self._spelled = True, self.restored
        if now > feed.proven:  # noqa: PLR1730 - every message comes by here, and max() costs three times as much
            feed.proven = now
        if feed.state is not _LIVE:
            self.settle(now)
        elif now > feed.whole:
            feed.whole = now

    def _lose(self, event: FeedEvent, reason: str, now: int) -> None:
        if self.feed.state is FeedState.LIVE and not self.restored and self._lost is None:
            self._lost = (self.feed.whole, reason)
        if event is FeedEvent.GAP:
            start = min(self.feed.whole or self._began, now)  # what was held is dated when it was received
            self._host.missed(Gap(start, now, reason, self.channel))
        self.feed.advance(event, reason)

    def _start_over(self, now: int) -> None:
        """Ask for what the stream can't tell."""
        raise NotImplementedError

    def _read(self, ask: Ask, value: Any, now: int) -> None:
        """Take the answer to the strand's own question."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Drop what was held for a question that is over."""

    def _blank(self) -> None:
        """Show nothing that can't be believed."""


def emptied(held: deque[tuple[T, int]]) -> list[tuple[T, int]]:
    """What was held, which is held no more."""
    waiting = list(held)
    held.clear()
    return waiting
