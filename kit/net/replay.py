"""Replays: a tape led through the same code as live data, and what comes of it. ``replay(path)`` gives a ``Replayed``.

Any tape of :mod:`kit.net.tape` will do: the kit's own, or a foreign program's recording. A tape that is damaged is
played up to there, and ``trouble`` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import msgspec
import pandas as pd

from kit.errors import DataError, UnknownName, UsageError
from kit.market import tables
from kit.market.book import Book
from kit.market.candles import iso, labels
from kit.market.strand import Gap
from kit.model import BookSnapshot, Channel, Instrument, Levels, Quote, Written
from kit.net.playback import Connections, Playback
from kit.net.player import Mishap, Player, Prints
from kit.net.tape import Header, Received, Record, records
from kit.venues.taped import Taped, named, recognised

ROWS = 200_000
"""Rows of trades, quotes and tops of the book that are kept of each instrument: the newest."""
LOOK = 1_000
"""Records looked at to find out whose tape it is, where it does not say."""


class Played:
    """One instrument after its tape was played. Frames are those of a live instrument, as ``kit.net.live`` has them.

    Bars that were closed before the tape began are not on it, and where the venue streams none (Coinbase) they are
    folded from its trades: then the first one lacks what was traded before.
    """

    def __init__(self, player: Player, symbol: str, origin: Mapping[str, str], instrument: Instrument | None) -> None:
        self.symbol, self.native = symbol, player.native
        self._player, self._instrument = player, instrument
        self._labels = {"symbol": symbol, **origin}

    @property
    def events(self) -> dict[str, int]:
        """What the stream brought, counted: each trade of a frame of several is one."""
        return {str(channel): count for channel, count in self._player.events.items()}

    @property
    def prints(self) -> Prints:
        """The first and the last trade id, and the holes between."""
        return self._player.prints

    @property
    def intervals(self) -> list[str]:
        """The intervals whose bars the tape has, in the order in which they were met."""
        return list(self._player.bars) or [self._player.mirror.interval]

    @property
    def candles(self) -> pd.DataFrame:
        """The bars of the first interval."""
        return self.bars(self.intervals[0])

    def bars(self, interval: str) -> pd.DataFrame:
        """The bars of an interval, as in ``kit.market.candles``, with ``source`` and ``recv_ts``."""
        if interval not in self.intervals:
            raise UnknownName("interval", interval, self.intervals, "(on this tape)")
        mirror = self._player.bars.get(interval, self._player.mirror)
        venue, environment = self._labels["venue"], self._labels["environment"]
        attrs = labels(self.symbol, interval, venue, environment, mirror.holes, instrument=self._instrument)
        return mirror.candles.snapshot(attrs)

    @property
    def trades(self) -> pd.DataFrame:
        """The public trades: index ``time`` (UTC), columns ``id price qty side source recv_ts``, the taker's side."""
        return self._player.mirror.trades.snapshot(self._labels)

    @property
    def quotes(self) -> pd.DataFrame:
        """The best bids and asks, as they came: the columns of ``kit.market.quote_ring``."""
        return self._player.mirror.quotes.snapshot(self._labels)

    @property
    def tops(self) -> pd.DataFrame:
        """The best bid and ask of the book after each change of it, in the columns of ``quotes``."""
        return self._player.mirror.tops.snapshot(self._labels)

    @property
    def quote(self) -> Quote | None:
        """The last best bid and ask, None where the tape has none."""
        quote = self._player.mirror.quote
        return None if quote is None else msgspec.structs.replace(quote, symbol=self.symbol)

    @property
    def book(self) -> Book:
        """The order book at the end of the tape; reading it raises BookUnsynced where the tape left it incomplete."""
        return self._player.mirror.book

    def depth(self, levels: int = 20) -> pd.DataFrame:
        """The book at the end of the tape, ``levels`` a side: columns ``side`` (bid, then ask) ``price qty``."""
        book = self.book
        snapshot = BookSnapshot(self.symbol, book.last_id, book.bids(levels), book.asks(levels))
        return tables.book(snapshot, levels, {**self._labels, "epoch": book.epoch})

    @property
    def gaps(self) -> list[Gap]:
        """Intervals (µs) whose quotes and depth were lost."""
        return list(self._player.mirror.gaps)

    @property
    def losses(self) -> list[Mishap]:
        """When the book fell out of step, and why."""
        return list(self._player.mishaps)

    def summary(self) -> dict[str, Any]:
        """What ``kit replay --json`` says of it. ``resyncs`` counts how often the book fell out of step."""
        player, book, delays = self._player, self.book, self._player.latency.summary()
        ring = player.bars.get(self.intervals[0], player.mirror).candles
        forming = ring.forming is not None
        return {
            "events": {name: self.events[name] for name in ("trade", "quote", "book", "candle")},
            "trades": {name: getattr(self.prints, name) for name in ("first_id", "last_id", "gaps")},
            "candles": {"open": int(forming), "closed": len(ring) - forming},
            "book": {
                "epochs": book.epoch,
                "resyncs": len(player.mishaps),
                "best_bid": _first(book.bids(1)) if book.synced else None,
                "best_ask": _first(book.asks(1)) if book.synced else None,
                "checksums_ok": book.checksums_ok,
                "checksums_failed": book.checksums_failed,
            },
            "latency_ms": {
                "p50": None if delays is None else round(delays.p50, 3),
                "p99": None if delays is None else round(delays.p99, 3),
            },
        }

    def told(self) -> list[str]:
        """What went wrong, in words."""
        words = [f"the book was lost at {iso(loss.time)}: {loss.words}" for loss in self.losses]
        if self.prints.gaps:
            words.append(f"holes in the trade ids: {self.prints.gaps:,} (trades missing: {self.prints.missing:,})")
        if self.events[Channel.BOOK] and not self.book.epoch:
            words.append("the book was never whole: no snapshot of it on the tape is continued by its updates")
        elif self.events[Channel.BOOK] and not self.book.synced:
            words.append("the book was out of step when the tape ended, and is not shown")
        return [f"{self.symbol}: {word}" for word in words]

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.events.items() if count)
        return f"<played {self.symbol} · {counts or 'nothing'}>"


class Replayed:
    """A tape after it was played: ``instruments`` by BASE/QUOTE, in the order in which they were met.

    ``environment`` is what every frame's ``attrs`` say: TAPE, or SANDBOX where the tape is of the simulated exchange.
    """

    def __init__(self, path: Path, venue: str, playback: Playback, taped: Taped, trouble: str | None) -> None:
        self.path, self.venue = path, venue
        self.environment = "SANDBOX" if venue == "sandbox" else "TAPE"
        self.connections: Connections = playback.connections
        self.trouble = trouble
        """Where the tape is damaged, None when it is whole."""
        self.mishaps: list[Mishap] = playback.mishaps
        """What went wrong with connections and frames."""
        origin, listed = {"venue": venue, "environment": self.environment}, playback.listed
        played = (
            Played(player, taped.symbol(native, listed), origin, listed.get(native))
            for native, player in playback.players.items()
        )
        self.instruments: dict[str, Played] = {one.symbol: one for one in played}

    def __getitem__(self, symbol: str) -> Played:
        """An instrument by BASE/QUOTE or as the venue spells it; UnknownName suggests the nearest."""
        wanted = symbol.upper()
        for one in self.instruments.values():
            if wanted in (one.symbol, one.native.upper()):
                return one
        raise UnknownName("symbol", symbol, self.instruments, "(on this tape)")

    @property
    def whole(self) -> bool:
        """True when all of the tape could be read."""
        return self.trouble is None and not self.connections.unreadable

    def summary(self) -> dict[str, Any]:
        """What ``kit replay --json`` prints, JSON values only."""
        return {
            "venue": self.venue,
            "connections": {name: getattr(self.connections, name) for name in _COUNTED},
            "instruments": {symbol: one.summary() for symbol, one in self.instruments.items()},
        }

    @property
    def table(self) -> pd.DataFrame:
        """A row an instrument: what came, and where its book stood at the end."""
        rows = {symbol: _row(one.summary()) for symbol, one in self.instruments.items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis("symbol")

    def told(self) -> list[str]:
        """What went wrong, in words; nothing when all is well."""
        words = [f"{iso(mishap.time)}: {mishap.words}" for mishap in self.mishaps]
        return [
            *words,
            *chain.from_iterable(one.told() for one in self.instruments.values()),
            *([self.trouble] if self.trouble else []),
        ]

    def __repr__(self) -> str:
        count = len(self.instruments)
        damaged = "" if self.whole else ", damaged"
        frames = f"{self.connections.frames:,} frames"
        return f"<replayed {self.path} · {self.venue} · {frames}, {count} instruments{damaged}>"


_COUNTED = ("opened", "closed", "frames", "sent", "answers", "unreadable", "sequence_gaps")
_COLUMNS = ["trades", "quotes", "books", "bars", "holes", "bid", "ask", "epochs", "checks", "p50 ms", "p99 ms"]


def _row(said: Mapping[str, Any]) -> list[object]:
    events, book, delays = said["events"], said["book"], said["latency_ms"]
    best = [book[side][0] if book[side] else "-" for side in ("best_bid", "best_ask")]
    checks = f"{book['checksums_ok']}/{book['checksums_ok'] + book['checksums_failed']}"
    late = ["-" if delay is None else f"{delay:.1f}" for delay in delays.values()]
    counts = [events[name] for name in ("trade", "quote", "book", "candle")]
    return [*counts, said["trades"]["gaps"], *best, book["epochs"], checks, *late]


def _first(levels: Levels) -> list[str] | None:
    """The best level as the venue wrote it, None for an empty side."""
    best = cast("list[Written]", levels[:1])  # what plays a tape decodes as it is written
    return [best[0].price, best[0].qty] if best else None


class _Tape:
    """The records of a tape as far as they can be read."""

    def __init__(self, path: Path) -> None:
        self.trouble: str | None = None
        self._records = records(path)

    def __iter__(self) -> Iterator[Record]:
        try:
            yield from self._records
        except DataError as error:
            self.trouble = str(error)


def replay(path: str | Path, *, rows: int = ROWS) -> Replayed:
    """Play a tape as fast as it goes. ``rows`` bounds what is kept of each instrument.

    Raises UsageError where there is no tape at ``path``, or none of a venue that is known here.
    """
    tape = _Tape(Path(path))
    story = iter(tape)
    opening = list(islice(story, LOOK))
    venue, taped = _language(path, opening)
    playback = Playback(taped, rows=rows)
    for record in chain(opening, story):
        playback.play(record)
    return Replayed(Path(path), venue, playback, taped, tape.trouble)


def _language(path: str | Path, opening: Iterable[Record]) -> tuple[str, Taped]:
    """Whose tape it is: what its header says, else what its frames look like."""
    header = next((record for record in opening if isinstance(record, Header)), None)
    if header is not None and header.venue:
        taped = named(header.venue)
        if taped is None:
            raise UsageError(f"{path} is a tape of {header.venue}, which nobody here can read; nothing was played")
        return header.venue, taped
    taped = recognised(record.data for record in opening if isinstance(record, Received))
    if taped is None:
        raise UsageError(
            f"{path} doesn't say whose tape it is, and nothing in its first {LOOK:,} records is market data of a "
            "venue known here; nothing was played"
        )
    return taped.codec.name, taped
