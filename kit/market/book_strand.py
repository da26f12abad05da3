"""An order book, kept in step with its venue or not shown. Pure."""

from __future__ import annotations

from typing import ClassVar

from kit.errors import BookUnsynced, SequenceGap
from kit.market.book import Book, BookRule
from kit.market.feed import FeedEvent
from kit.market.quote_ring import QuoteRing
from kit.market.strand import GRACE, Ask, Due, Host, Need, Strand
from kit.model import BookDelta, BookSnapshot, Channel, Quote


class BookStrand(Strand):
    """The order book. Its snapshot comes by REST, or first in the stream: then another one means subscribing anew."""

    channel: ClassVar[Channel] = Channel.BOOK
    need: ClassVar[Need] = Need.BOOK
    restored: ClassVar[bool] = False

    def __init__(self, host: Host, book: Book, capacity: int, *, stale_after: float) -> None:
        super().__init__(host, stale_after=stale_after)
        self.book = book
        self.tops = QuoteRing(capacity, changes_only=True)
        self._in_stream = book.rule is not BookRule.IDS
        self._awaited: int | None = None
        self._behind: tuple[int, int] | None = None

    @property
    def complete(self) -> bool:
        """True while the book can be read."""
        return self.book.synced

    def take(self, event: BookDelta | BookSnapshot, now: int) -> None:
        """A change of the book, or all of it, from the stream."""
        if not self._up:
            return
        self.heard(now)
        if event.time:
            self.latency.add(now, event.time)
            self.feed.venue_time = event.time
        self._change(event, now)
        self.taken(now)

    def _change(self, event: BookDelta | BookSnapshot, now: int) -> None:
        book = self.book
        try:
            if isinstance(event, BookDelta):
                book.apply(event)
            else:
                book.load(event)
                self._awaited = None
        except SequenceGap as gap:
            self._gap(str(gap), now)
            return
        if self._behind is not None and book.last_id >= self._behind[0]:
            self._behind = None
        self._note_top("ws", now)

    @property
    def top(self) -> Quote | None:
        """Best bid and ask of the book, None while there is none to show."""
        try:
            return self.book.best()
        except BookUnsynced:
            return None

    def _note_top(self, source: str, now: int) -> None:
        top = self.top
        if top is not None:
            self.tops.put(top, source, now, self.book.epoch)

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

    def _start_over(self, now: int) -> None:
        if self._in_stream:
            self._awaited = now
        else:
            self.book.desync()
            self.ask_for(Due(now))

    def _forget(self) -> None:
        self._behind = self._awaited = None

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
        self._note_top("rest", now)
