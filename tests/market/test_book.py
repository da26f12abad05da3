"""The order book: each venue's rule by example. Any mix of updates and faults is in test_book_machine."""

from __future__ import annotations

from zlib import crc32

import pytest

from kit.errors import BookUnsynced, SequenceGap
from kit.market.book import Book, BookRule, checksum
from kit.model import BookDelta, BookSnapshot, Levels, Written


def delta(first: int, last: int, bids: Levels | None = None, asks: Levels | None = None) -> BookDelta:
    return BookDelta("X", first, last, bids or [], asks or [], 0)


def snapshot(last: int, bids: Levels | None = None, asks: Levels | None = None) -> BookSnapshot:
    return BookSnapshot("X", last, bids or [(9.0, 1.0)], asks or [(11.0, 1.0)])


def loaded(last: int = 10) -> Book:
    book = Book("X")
    book.load(snapshot(last, [(9.0, 1.0), (8.0, 2.0), (7.0, 3.0)], [(12.0, 5.0), (11.0, 4.0)]))
    return book


def test_sides_are_read_best_price_first() -> None:
    book = loaded()
    assert book.bids(2) == [(9.0, 1.0), (8.0, 2.0)]
    assert book.asks(9) == [(11.0, 4.0), (12.0, 5.0)]
    quote = book.best()
    assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty, quote.update_id) == (9.0, 1.0, 11.0, 4.0, 10)


def test_a_book_without_a_snapshot_is_not_shown() -> None:
    book = Book("X")
    for read in (lambda: book.bids(1), lambda: book.asks(1), book.best):
        with pytest.raises(BookUnsynced, match="wait for the state LIVE"):
            read()


def test_a_book_with_an_empty_side_has_no_best() -> None:
    book = loaded()
    book.apply(delta(11, 11, asks=[(11.0, 0.0), (12.0, 0.0)]))
    assert book.asks(5) == []
    with pytest.raises(BookUnsynced, match="one side"):
        book.best()


def test_quantities_are_absolute_and_zero_removes() -> None:
    book = loaded()
    assert book.apply(delta(11, 12, [(9.0, 0.0), (8.0, 7.0), (8.5, 1.0)], [(10.0, 1.0), (55.0, 0.0)]))
    assert book.bids(3) == [(8.5, 1.0), (8.0, 7.0), (7.0, 3.0)]
    assert book.asks(1) == [(10.0, 1.0)]
    assert book.last_id == 12


def test_an_old_delta_is_ignored() -> None:
    book = loaded(10)
    assert book.apply(delta(9, 10, [(9.0, 0.0)])) is False
    assert book.best().bid == 9.0


@pytest.mark.parametrize(("first", "last"), [(11, 11), (11, 15), (5, 11), (10, 12)])
def test_a_delta_continues_the_book_when_the_next_update_is_in_it(first: int, last: int) -> None:
    book = loaded(10)
    assert book.apply(delta(first, last))
    assert book.last_id == last


def test_a_missing_update_is_a_gap_and_hides_the_book() -> None:
    book = loaded(10)
    with pytest.raises(SequenceGap, match="updates 11 to 11 of the book never came"):
        book.apply(delta(12, 13))
    assert not book.synced
    with pytest.raises(BookUnsynced):
        book.bids(1)


def test_the_delta_behind_a_gap_is_kept_for_the_next_snapshot() -> None:
    book = loaded(10)
    with pytest.raises(SequenceGap):
        book.apply(delta(12, 13, [(9.5, 2.0)]))
    book.load(snapshot(12))
    assert book.last_id == 13
    assert book.best().bid == 9.5
    assert book.epoch == 2


def test_deltas_that_came_before_the_snapshot_are_replayed_on_it() -> None:
    book = Book("X")
    for change in (delta(8, 10, [(1.0, 1.0)]), delta(11, 12, [(9.5, 1.0)]), delta(13, 13, [(9.5, 0.0), (9.6, 2.0)])):
        assert book.apply(change) is False
    book.load(snapshot(10))
    assert book.last_id == 13
    assert book.bids(9) == [(9.6, 2.0), (9.0, 1.0)]


def test_a_snapshot_older_than_the_stream_is_refused_and_the_deltas_stay() -> None:
    book = Book("X")
    book.apply(delta(12, 13, [(9.5, 1.0)]))
    with pytest.raises(SequenceGap, match="ends at update 10 and the stream begins at 12"):
        book.load(snapshot(10))
    assert not book.synced
    book.load(snapshot(12))
    assert book.best().bid == 9.5


def test_a_gap_among_kept_deltas_leaves_the_rest_for_a_newer_snapshot() -> None:
    book = Book("X")
    for change in (delta(11, 11), delta(13, 13), delta(14, 14, [(9.7, 1.0)])):
        book.apply(change)
    with pytest.raises(SequenceGap):
        book.load(snapshot(10))
    book.load(snapshot(12))
    assert book.last_id == 14
    assert book.best().bid == 9.7


def test_deltas_kept_before_a_loss_are_not_replayed_after_it() -> None:
    book = Book("X")
    book.apply(delta(11, 11, [(9.5, 1.0)]))
    book.desync()
    book.load(snapshot(10))
    assert book.last_id == 10


def test_a_snapshot_without_a_time_leaves_the_last_known_one() -> None:
    book = Book("X")
    book.load(BookSnapshot("X", 10, [(9.0, 1.0)], [], time=5))
    book.load(snapshot(11))
    assert book.time == 5


def test_a_crossed_book_is_never_shown() -> None:
    book = loaded(10)
    with pytest.raises(SequenceGap, match="crossed"):
        book.apply(delta(11, 11, [(11.0, 1.0)]))
    with pytest.raises(BookUnsynced):
        book.best()


def test_a_delta_that_crossed_the_book_is_kept_for_the_next_snapshot() -> None:
    book = loaded(10)
    with pytest.raises(SequenceGap, match="crossed"):
        book.apply(delta(11, 12, [(11.0, 1.0)]))
    book.load(snapshot(11, [(9.0, 1.0)], [(12.0, 1.0)]))
    assert book.last_id == 12
    assert book.best().bid == 11.0


def test_the_revision_is_even_between_writes_and_changes_with_each() -> None:
    book = loaded(10)
    before = book.revision
    book.apply(delta(11, 11))
    assert before % 2 == 0
    assert book.revision == before + 2


# -- Kraken's rule: a checksum, and a book cut to the depth subscribed to


def written(*levels: tuple[str, str]) -> Levels:
    return [Written.read(price, qty) for price, qty in levels]


BIDS = written(("0.5666", "4831.75496356"), ("0.5665", "0.00080000"), ("0.5664", "0.10"))
ASKS = written(("0.5668", "4410.79769741"), ("0.5669", "4655.40412487"), ("0.5670", "12.00"))


def checked(depth: int = 10) -> Book:
    book = Book("X", BookRule.CHECKSUM, depth)
    book.load(BookSnapshot("X", 0, BIDS, ASKS, 5, checksum(BIDS, ASKS)))
    return book


def test_a_checksum_is_over_asks_then_bids_without_points_and_leading_zeros() -> None:
    digits = [b"5668441079769741", b"5669465540412487", b"56701200", b"5666483175496356", b"566580000", b"566410"]
    assert checksum(BIDS, ASKS) == crc32(b"".join(digits))


def test_a_matching_checksum_is_counted_for_the_snapshot_too() -> None:
    book = checked()
    bid = written(("0.5666", "1.5"))
    assert book.apply(BookDelta("X", 0, 0, bid, [], 7, checksum([*bid, *BIDS[1:]], ASKS)))
    assert (book.checksums_ok, book.checksums_failed, book.time) == (2, 0, 7)
    assert book.bids(1)[0] is bid[0]


def test_a_checksum_that_does_not_match_hides_the_book() -> None:
    book = checked()
    with pytest.raises(SequenceGap, match="checksum is not the venue's"):
        book.apply(BookDelta("X", 0, 0, written(("0.5666", "1.5")), [], 7, checksum(BIDS, ASKS)))
    assert (book.checksums_ok, book.checksums_failed) == (1, 1)
    with pytest.raises(BookUnsynced):
        book.best()


def test_a_snapshot_whose_checksum_does_not_match_is_not_shown_nor_is_what_was_there_before() -> None:
    book = checked()
    with pytest.raises(SequenceGap, match="checksum"):
        book.load(BookSnapshot("X", 0, BIDS, ASKS, 5, 1))
    assert not book.synced
    assert (book.checksums_ok, book.checksums_failed) == (1, 1)


def test_a_zero_kept_or_dropped_by_the_venue_matters_to_the_checksum() -> None:
    book = checked()
    bid = written(("0.5666", "1.50"))
    with pytest.raises(SequenceGap):
        book.apply(BookDelta("X", 0, 0, bid, [], 7, checksum([*written(("0.5666", "1.5")), *BIDS[1:]], ASKS)))


def test_a_snapshot_that_is_crossed_is_not_shown() -> None:
    book = Book("X")
    with pytest.raises(SequenceGap, match="crossed"):
        book.load(snapshot(10, [(11.0, 1.0)], [(11.0, 1.0)]))
    assert not book.synced


@pytest.mark.parametrize("cut", [True, False])
def test_a_book_that_is_not_cut_fails_when_a_level_it_should_have_forgotten_comes_into_view(cut: bool) -> None:
    """The venue streams ten levels a side. It does not say that 11.0 went while a better one kept it out of view."""
    bids, asks = written(*((f"{price}.0", "1.0") for price in range(20, 10, -1))), written(("22.0", "1.0"))
    better, worse = written(("21.0", "1.0")), written(("10.5", "1.0"))
    book = Book("X", BookRule.CHECKSUM, 10 if cut else None)
    book.load(BookSnapshot("X", 0, bids, asks, 5, checksum(bids, asks)))
    book.apply(BookDelta("X", 0, 0, better, [], 6, checksum([*better, *bids[:-1]], asks)))
    gone = BookDelta("X", 0, 0, [*written(("21.0", "0.0")), *worse], [], 7, checksum([*bids[:-1], *worse], asks))
    if cut:
        assert book.apply(gone)
    else:
        with pytest.raises(SequenceGap, match="checksum"):
            book.apply(gone)


@pytest.mark.parametrize("book_rule", [BookRule.CHECKSUM, BookRule.CONNECTION])
def test_what_an_older_subscription_left_over_is_ignored(book_rule: BookRule) -> None:
    book = Book("X", book_rule, 10)
    for _ in range(2):
        assert book.apply(BookDelta("X", 0, 0, written(("0.5667", "9.0")), [], 1)) is False
        book.load(BookSnapshot("X", 0, BIDS, ASKS, 5))
        assert book.bids(9) == BIDS
        book.desync()


def test_a_book_whose_connection_is_counted_takes_every_update_and_ignores_unknown_removals() -> None:
    book = Book("X", BookRule.CONNECTION)
    book.load(BookSnapshot("X", 0, BIDS, ASKS, 5))
    assert book.apply(BookDelta("X", 0, 0, [(0.1, 0.0)], [(0.5668, 0.0)], 6))
    assert book.apply(BookDelta("X", 0, 0, [(0.5666, 2.0)], [], 6))
    assert book.bids(1) == [(0.5666, 2.0)]
    assert book.asks(1)[0] is ASKS[1]
