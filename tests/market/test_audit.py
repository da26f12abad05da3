"""A book compared with REST while it goes on: an honest book agrees, a wrong one is found out and mended unseen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import SequenceGap
from kit.market.audit import Audit, Difference
from kit.market.book import Book
from kit.model import BookDelta, BookSnapshot, Levels, Side


def delta(last: int, bids: Levels | None = None, asks: Levels | None = None) -> BookDelta:
    return BookDelta("X", last, last, bids or [], asks or [], last)


def loaded(bids: Levels, asks: Levels, last: int = 10) -> Book:
    book = Book("X")
    book.load(BookSnapshot("X", last, bids, asks))
    return book


def both(book: Book, audit: Audit, change: BookDelta) -> None:
    book.apply(change)
    audit.take(change)


BIDS, ASKS = [(9.0, 1.0), (8.0, 2.0), (7.0, 3.0)], [(11.0, 1.0), (12.0, 2.0), (13.0, 3.0)]


def test_an_honest_book_shows_no_difference_whether_the_snapshot_is_behind_or_ahead() -> None:
    behind, ahead = loaded(BIDS, ASKS), loaded(BIDS, ASKS)
    for book, told in ((behind, 11), (ahead, 13)):
        audit = Audit(book)
        both(book, audit, delta(11, [(9.5, 1.0)]))
        both(book, audit, delta(12, [(8.0, 0.0)]))
        bids = [(9.5, 1.0), *BIDS] if told == 11 else [(9.5, 1.0), (9.0, 1.0), (7.0, 3.0)]
        found = audit.settle(BookSnapshot("X", told, bids, ASKS))
        if told == 13:
            assert found is None
            both(book, audit, delta(13))
            found = audit.settle(BookSnapshot("X", told, bids, ASKS))
        assert found == []


def test_a_wrong_level_is_found_on_either_side_and_named_best_first() -> None:
    book = loaded([(9.0, 1.0), (7.0, 3.0)], [(11.0, 5.0), (11.5, 1.0), *ASKS[1:]])
    audit = Audit(book)
    both(book, audit, delta(11, [(8.5, 1.0)]))
    assert audit.settle(BookSnapshot("X", 10, BIDS, ASKS)) == [
        Difference(Side.BUY, 8.0, 0.0, 2.0),
        Difference(Side.SELL, 11.0, 5.0, 1.0),
        Difference(Side.SELL, 11.5, 1.0, 0.0),
    ]


def test_levels_outside_the_snapshots_range_are_not_compared() -> None:
    book = loaded([*BIDS, (6.0, 9.0)], [*ASKS, (14.0, 9.0)])
    audit = Audit(book)
    both(book, audit, delta(11, [(5.0, 1.0)], [(15.0, 1.0)]))
    assert audit.settle(BookSnapshot("X", 10, BIDS, ASKS)) == []


def test_a_snapshot_older_than_the_audit_is_refused_and_a_newer_one_settles_it() -> None:
    book = loaded(BIDS, ASKS)
    audit = Audit(book)
    with pytest.raises(SequenceGap, match="ends at update 9, before 10"):
        audit.settle(BookSnapshot("X", 9, BIDS, ASKS))
    assert audit.settle(BookSnapshot("X", 10, BIDS, ASKS)) == []


def test_a_book_that_is_out_of_step_is_not_compared() -> None:
    book = loaded(BIDS, ASKS)
    audit = Audit(book)
    book.desync()
    assert audit.settle(BookSnapshot("X", 10, BIDS, ASKS)) is None


def test_a_missing_delta_voids_the_audit() -> None:
    audit = Audit(loaded(BIDS, ASKS))
    audit.settle(BookSnapshot("X", 10, BIDS, ASKS))
    with pytest.raises(SequenceGap):
        audit.take(delta(12))


def test_the_shadow_replaces_a_wrong_book_without_a_moment_unsynced() -> None:
    book = loaded([(9.0, 7.0)], ASKS)
    audit, revision = Audit(book), book.revision
    both(book, audit, delta(11, [(8.5, 1.0)]))
    assert audit.settle(BookSnapshot("X", 10, BIDS, ASKS))
    book.adopt(audit.shadow)
    assert (book.synced, book.epoch, book.last_id, book.revision) == (True, 2, 11, revision + 4)
    assert book.bids(2) == [(9.0, 1.0), (8.5, 1.0)]
    assert book.apply(delta(12, [(8.5, 0.0)]))
    assert book.bids(2) == [(9.0, 1.0), (8.0, 2.0)]


def test_a_shadow_at_another_update_is_not_adopted() -> None:
    book, other = loaded(BIDS, ASKS, 10), loaded(BIDS, ASKS, 9)
    with pytest.raises(SequenceGap, match="nothing was changed"):
        book.adopt(other)
    assert book.best().update_id == 10
    assert book.epoch == 1


CHANGES = st.lists(st.tuples(st.integers(1, 9).map(float), st.integers(0, 2).map(float)), max_size=4)


@given(st.lists(CHANGES, min_size=6, max_size=6), st.integers(0, 2), st.integers(0, 5), st.booleans())
def test_an_audit_finds_a_missed_change_and_nothing_else(
    changes: list[Levels], begun: int, told: int, missed: bool
) -> None:
    """The audit begins after ``begun`` changes, the snapshot is of ``told``; the book may have missed the first."""
    truth: list[dict[float, float]] = [{5.0: 1.0}]
    for levels in changes:
        after = truth[-1] | dict(levels)
        truth.append({price: qty for price, qty in after.items() if qty})
    book = loaded([(5.0, 1.0)], [], 0)
    deltas = [delta(last, levels) for last, levels in enumerate(changes, 1)]
    if missed:
        deltas[0] = delta(1)
    for change in deltas[:begun]:
        book.apply(change)
    audit = Audit(book)
    for change in deltas[begun:]:
        both(book, audit, change)
    shot = BookSnapshot("X", max(told, begun), sorted(truth[max(told, begun)].items(), reverse=True), [])
    found = audit.settle(shot)
    low = min(truth[shot.last_id], default=0.0)
    ours, theirs = dict(book.bids(99)), audit.shadow.bids(99)
    assert found is not None
    assert {d.price for d in found} == {p for p, _ in ours.items() ^ set(theirs) if p >= low}
    if not missed:
        assert found == []
