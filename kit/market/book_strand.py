"""An order book, kept in step with its venue or not shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import ClassVar

from kit.clock import SECOND
from kit.errors import BookUnsynced, SequenceGap
from kit.market.audit import Audit, Difference
from kit.market.book import CHECKED, Book, BookRule
from kit.market.feed import FeedEvent
from kit.market.quote_ring import QuoteRing
from kit.market.strand import DEPTH, GRACE, Ask, Due, Gap, Host, Need, Strand
from kit.model import BookDelta, BookSnapshot, Channel, Levels, Quote

LATELY = SECOND
"""µs by which the change of a book may come before the trade that made it."""
EVERYTHING = (0.0, 0.0, inf, inf)
"""A price range without ends: the lowest and highest that is known, and half way to them from the touch between."""


class BookStrand(Strand):
    """The order book. Its snapshot comes by REST, or first in the stream: then another one means subscribing anew."""

    channel: ClassVar[Channel] = Channel.BOOK
    need: ClassVar[Need] = Need.BOOK
    restored: ClassVar[bool] = False

    def __init__(self, host: Host, book: Book, capacity: int, *, stale_after: float, depth: int = DEPTH) -> None:
        super().__init__(host, stale_after=stale_after)
        self.book = book
        self.audits = 0
        """Counts the comparisons with REST that were finished."""
        self.differences: tuple[Difference, ...] = ()
        """What the last one found; the book has been put right."""
        self._depth = depth
        self._range = EVERYTHING
        self._audit: Audit | None = None
        self._audit_due: Due | None = None
        self._told: BookSnapshot | None = None
        self._audited = 0
        self.tops = QuoteRing(capacity, changes_only=True)
        self._in_stream = book.rule is not BookRule.IDS
        self._awaited: int | None = None
        self._behind: tuple[int, int] | None = None
        self._through = 0
        """The last update that the stream brought on this connection, in the book or not; 0 before any."""
        self._overtaken: int | None = None
        """When a trade came that no change of the book has come with, µs."""

    @property
    def complete(self) -> bool:
        """True while the book can be read."""
        return self.book.synced

    def up(self, connection: int, now: int) -> None:
        """The venue has confirmed the subscription: from now on everything comes."""
        self._through = 0
        super().up(connection, now)

    def take(self, event: BookDelta | BookSnapshot, now: int) -> None:
        """A change of the book, or all of it, from the stream."""
        feed = self.feed
        if (self._wary or now - feed.proven > feed.stale_after) and not self.listens(now):
            return
        if event.time:
            self.latency.add(now, event.time)
            feed.venue_time = event.time
        self._change(event, now)
        self.taken(now)

    def _change(self, event: BookDelta | BookSnapshot, now: int) -> None:
        book = self.book
        try:
            if isinstance(event, BookDelta):
                if event.last_id > self._through:
                    self._follow(event, now)
                if self._audit is not None:
                    self._audit.take(event)
                book.apply(event)
            else:
                before = self._shown()
                book.load(event)
                self._awaited = None
                self._replaced(before, now)
        except SequenceGap as gap:
            self._gap(str(gap), now)
            return
        if self._behind is not None and book.last_id >= self._behind[0]:
            self._behind = None
        if self._told is not None:
            self._compare(now)
        self._note_top("ws", now)

    def _follow(self, delta: BookDelta, now: int) -> None:
        """Whatever the book itself is built from, a hole in its updates says that the connection has lost frames."""
        if self._through and delta.first_id > self._through + 1:
            reason = f"updates {self._through + 1} to {delta.first_id - 1} of the book never came"
            self._host.missed(Gap(min(self.feed.heard, now), now, reason, self.channel))
        self._through = delta.last_id

    def _shown(self) -> tuple[Levels, Levels] | None:
        """What readers see, None while they see nothing."""
        book = self.book
        return (book.bids(CHECKED), book.asks(CHECKED)) if book.synced else None

    def _replaced(self, before: tuple[Levels, Levels] | None, now: int) -> None:
        """Another connection tells the book anew, received at ``now``, and goes on from there. Where it is another one
        than the connection before had told last, that one may have been mute."""
        if before is not None and before != self._shown() and self.feed.heard <= now:
            reason = "the book was another one when its next connection told it"
            self._host.lost(Gap(self.feed.heard, now, reason, self.channel))
            self._host.missed(Gap(self.feed.heard, now, reason, self.channel))

    def overtaken(self, traded: int, now: int) -> None:
        """A trade came at ``traded``: it has changed the book. Where no update carries an id nothing else tells of a
        book that is mute while its best prices happen to stay."""
        if not self._in_stream or not self._up or not self.book.synced or self.feed.heard > traded - LATELY:
            self._overtaken = None
        elif self._overtaken is None:
            self._overtaken = now
        elif now - self._overtaken > GRACE:
            self._overtaken = None
            self.renew(now, "the book stands still while trades come")

    @property
    def top(self) -> Quote | None:
        """Best bid and ask of the book, None while there is none to show."""
        try:
            return self.book.best()
        except BookUnsynced:
            return None

    def _note_top(self, source: str, now: int) -> None:
        top = self.top
        if top is not None and self._known(top.bid) and self._known(top.ask):
            self.tops.put(top, source, now, self.book.epoch)
        elif top is not None or (self.book.synced and self._range != EVERYTHING):  # or a side has run empty
            self.book.desync()
            self._gap("the market has left the prices that the book was told of", now)

    # -- what the book does not know, and whether it is right

    def audit(self, now: int) -> None:
        """Have the book compared with REST, unnoticed by its readers, and put right where it differs."""
        if self._audit is None and not self._in_stream and self.book.synced:
            self._audit, self._audit_due, self._audited = Audit(self.book), Due(now), now
            self._host.needs()

    def end_audit(self) -> None:
        """Drop the comparison that is under way."""
        self._audit = self._audit_due = self._told = None

    def compared(self, ask: Ask, snapshot: BookSnapshot, now: int) -> None:
        """REST's book has come, for the audit that asked for it."""
        if self._audit is not None and ask.epoch == self.epoch:
            self._told = snapshot
            self._compare(now)

    def _compare(self, now: int) -> None:
        """As soon as both stand at the same update: a book that was wrong was a loss, and the other one is right."""
        if self._audit is None or self._told is None:
            return
        try:
            found = self._audit.settle(self._told)
            if found is None:
                return
            self.book.adopt(self._audit.shadow)
        except SequenceGap:  # the snapshot came too late or too early: another audit will tell
            self.end_audit()
            return
        self.audits += 1
        self.differences = tuple(level for level in found if self._known(level.price))
        if self.differences:
            reason = f"{len(self.differences)} levels of the book were wrong"
            self._host.lost(Gap(self._audited, now, reason, self.channel))
        self._know(self._told)
        self.end_audit()

    def _know(self, snapshot: BookSnapshot) -> None:
        """A snapshot that is full says nothing of the prices beyond its last: they stay unknown until they change."""
        if Need.AUDIT not in self._host.rest:
            return  # a tape: better the book it has than none
        bids, asks = snapshot.bids, snapshot.asks
        lowest, near_low = (bids[-1][0], (bids[0][0] + bids[-1][0]) / 2) if len(bids) >= self._depth else (0.0, 0.0)
        highest, near_high = (asks[-1][0], (asks[0][0] + asks[-1][0]) / 2) if len(asks) >= self._depth else (inf, inf)
        self._range = lowest, near_low, near_high, highest

    def _known(self, price: float) -> bool:
        """True for a price at which the book was told of every level."""
        lowest, _, _, highest = self._range
        return lowest <= price <= highest

    def _leaves(self) -> bool:
        """True when the market is half way out of what the book was told of."""
        top = self.top
        return top is not None and (top.bid < self._range[1] or top.ask > self._range[2])

    def _gap(self, reason: str, now: int) -> None:
        if self._in_stream:
            self.renew(now, reason)
        else:
            self.ask_for(Due(now))
            self._lose(FeedEvent.GAP, reason, now)

    def known(self, last_id: int, at: int, now: int) -> None:
        """Another voice says that ``last_id`` was the newest update as of ``at``."""
        if not self._up or self.due is not None or last_id < self.book.last_id:
            return  # a book that silence has taken from the readers still knows how far it had come
        if last_id == self.book.last_id:
            self.vouch(at, now, exactly=True)
        elif self._behind is None:
            self._behind = last_id, now

    def tick(self, now: int) -> None:
        """Notice silence, updates that others know of, and a snapshot that does not come."""
        super().tick(now)
        if not self._up:
            return
        if self._behind is not None and now - self._behind[1] > GRACE:
            told, self._behind = self._behind[0], None
            if self.due is None:
                self.renew(now, f"the book stands still before update {told}, which is known")
        if self._awaited is not None and now - self._awaited > GRACE and not self.book.synced:
            self._awaited = None
            self.renew(now, "the snapshot of the book did not come")
        if self._audit is not None and now - self._audited > 2 * GRACE:
            self.end_audit()
        if now - self._audited > GRACE and self._leaves():
            self.audit(now)

    def asks(self, now: int) -> Iterator[Ask]:
        """The questions that are due, each handed out once."""
        yield from super().asks(now)
        if self._audit_due is not None and not self._audit_due.asked:
            self._audit_due.asked = True
            yield Ask(Need.AUDIT, self.channel, None, None, now, self.epoch)

    def _start_over(self, now: int) -> None:
        if self._in_stream:
            self._awaited = now
        else:
            self.book.desync()
            self.ask_for(Due(now))

    def _forget(self) -> None:
        self._behind = self._awaited = self._overtaken = None
        self.end_audit()

    def _blank(self) -> None:
        self.book.desync()  # a frozen book is not shown

    def _read(self, ask: Ask, snapshot: BookSnapshot, now: int) -> None:
        try:
            self.book.load(snapshot)
        except SequenceGap as gap:
            self.feed.reason = str(gap)
            if self.due is not None:
                self.due.again(now)
            return
        self.due = None
        self._know(snapshot)
        self._note_top("rest", now)
