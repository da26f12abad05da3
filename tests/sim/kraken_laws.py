"""What must hold of a mirror where the book comes in the stream and counts nothing (Kraken)."""

from __future__ import annotations

from collections.abc import Sequence, Set

from kit.clock import SECOND
from kit.market.candles import open_times
from kit.market.quote_strand import prices
from kit.model import Channel, Levels, Quote
from tests.sim.laws import TOP, Numbers, Witness
from tests.sim.network import Mute
from tests.sim.venue import NEVER


class KrakenWitness(Witness):
    """Where books count nothing, their time says which state they are, and REST vouches for prices only.

    So quote and book are fresh when the best prices were these not too long ago.
    """

    def _book(self, since: int, live: bool) -> None:
        book = self.mirror.book
        assert book.synced or not live, "LIVE, and the book can't be read"
        if not book.synced:
            return
        seen = (book.epoch, book.time)
        if seen != self._book_seen:
            self._book_seen = seen
            shown, true = (book.bids(TOP), book.asks(TOP)), self._top(book.time)
            assert shown == true, f"the book of {book.time} is not the venue's:\n{shown}\n{true}"
        if live:
            self._fresh(book.best(), since)

    def _top(self, time: int) -> tuple[Levels, Levels]:
        bids, asks = self.market.top_at(self.market.update_at(time), TOP)
        return bids[: self.market.depth], asks[: self.market.depth]

    def _fresh(self, quote: Quote, since: int) -> None:
        until = self.market.prices_until(quote)
        assert until >= since, f"LIVE, and the prices were others {(since - until) / SECOND:.2f} s too long ago"

    def _quote(self, since: int, live: bool) -> None:
        quote = self.mirror.quote
        assert quote is not None or not live, "LIVE without a quote"
        if quote is None:
            return
        if quote is not self._quote_seen:
            bids, asks = self._top(quote.time)
            assert prices(quote) == (*bids[0], *asks[0]), f"the venue never quoted {quote}"
            self._quote_seen = quote
        if live:
            self._fresh(quote, since)

    def _same(self, mine: tuple[float, ...], its: tuple[float, ...]) -> bool:
        """Kraken tells a rounded average price instead of what was turned over."""
        return mine[:5] == its[:5] and abs(mine[5] - its[5]) < 1e-5 * max(1.0, its[5])

    def check_quotes(self) -> None:
        for ring in (self.mirror.quotes, self.mirror.tops):
            frame = ring.snapshot({})
            assert frame.index.is_monotonic_increasing, "quotes out of the order of their receipt"
            said = frame[["bid", "bid_qty", "ask", "ask_qty"]].to_numpy().tolist()
            for row, time in zip(said, open_times(frame.set_index("time")).tolist(), strict=True):
                bids, asks = self._top(time)
                assert tuple(row) == (*bids[0], *asks[0]), f"the top of the book of {time} was another one: {row}"

    def unseeable(self, lost: Set[int], mutes: Sequence[Mute], taken: Numbers) -> Numbers:
        """Frames lost one by one where the next checksum does not tell."""
        at = dict(zip(self.market.flush_ids, self.market.flush_times, strict=True))
        return {(channel, at[number]) for number in lost & at.keys() for channel in (Channel.BOOK, Channel.QUOTE)}

    def _published(self) -> dict[Channel, list[tuple[int, int]]]:
        changes = [(time, time) for time in self.market.flush_times]
        return {Channel.BOOK: changes, Channel.QUOTE: changes}

    def _finish_book(self) -> None:
        book, quote = self.mirror.book, self.mirror.quote
        bids, asks = self._top(NEVER)
        assert (book.bids(TOP), book.asks(TOP)) == (bids, asks), "the book is behind"
        assert quote is not None
        assert prices(quote) == (*bids[0], *asks[0]), "the quote is behind"
