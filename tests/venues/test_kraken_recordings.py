"""What Kraken really sent, through the codec: every frame reads, and every checksum is that of the book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from zlib import crc32

import pytest

from kit.market.book import Book, BookRule
from kit.model import BookDelta, BookSnapshot, Levels, Written
from kit.venues.base import Ack, Event
from kit.venues.kraken import KRAKEN

Find = Callable[[str], Path]
DEPTH = 25
"""What the recorder subscribed to."""


def frames(path: Path) -> Iterator[bytes]:
    """The frames of a .cbcap file: a header line, then ``<ns> <byte count>`` and so many bytes, each on its line."""
    data = path.read_bytes()
    at = data.index(b"\n") + 1
    while at < len(data):
        end = data.index(b"\n", at)
        size = int(data[at:end].split()[1])
        yield data[end + 1 : end + 1 + size]
        at = end + size + 2


@pytest.fixture(params=["ethusd", "xrpusd"])
def recorded(request: pytest.FixtureRequest, recording: Find) -> list[tuple[bytes, list[Event]]]:
    path = recording(f"kraken_v2_book_{request.param}.cbcap")
    return [(frame, list(KRAKEN.decode(frame))) for frame in frames(path)]


def test_every_frame_reads_as_what_it_is(recorded: list[tuple[bytes, list[Event]]]) -> None:
    kinds = Counter(type(event) for _, events in recorded for event in events)
    updates = sum(b'"book","type":"update"' in frame for frame, _ in recorded)
    assert kinds == {BookSnapshot: 1, BookDelta: updates, Ack: 1}
    assert updates > 200
    silent = [frame for frame, events in recorded if not events]
    assert {frame[:20] for frame in silent} == {b'{"channel":"heartbea', b'{"channel":"status",'}


def digits(levels: list[Written]) -> str:
    return "".join(text.replace(".", "").lstrip("0") for level in levels for text in (level.price, level.qty))


class Plain:
    """A book as the guide words it, slow and obvious: apply, drop zeros, cut to the depth."""

    def __init__(self) -> None:
        self.bids: list[Written] = []
        self.asks: list[Written] = []

    def take(self, event: BookSnapshot | BookDelta) -> int:
        self.bids = self._side([] if isinstance(event, BookSnapshot) else self.bids, event.bids)[::-1][:DEPTH]
        self.asks = self._side([] if isinstance(event, BookSnapshot) else self.asks, event.asks)[:DEPTH]
        return crc32((digits(self.asks[:10]) + digits(self.bids[:10])).encode())

    @staticmethod
    def _side(levels: list[Written], changes: Levels) -> list[Written]:
        merged = {level[0]: level for level in [*levels, *cast("list[Written]", changes)]}
        return sorted(level for level in merged.values() if level[1])


def test_every_checksum_is_that_of_the_digits_the_codec_kept(recorded: list[tuple[bytes, list[Event]]]) -> None:
    book = Plain()
    changes = [event for _, events in recorded for event in events if isinstance(event, BookSnapshot | BookDelta)]
    assert [book.take(change) for change in changes] == [change.checksum for change in changes]


def test_the_kits_own_book_stands_every_checksum_too(recorded: list[tuple[bytes, list[Event]]]) -> None:
    changes = [event for _, events in recorded for event in events if isinstance(event, BookSnapshot | BookDelta)]
    book = Book(changes[0].symbol, BookRule.CHECKSUM, DEPTH)
    for change in changes:
        if isinstance(change, BookSnapshot):
            book.load(change)
        else:
            assert book.apply(change)
    assert book.synced
    assert (book.checksums_ok, book.checksums_failed) == (len(changes), 0)
