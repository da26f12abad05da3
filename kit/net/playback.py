"""A tape led through the code of live frames: connections, frames and REST answers, in their order. Pure.

A channel is up from its first frame on a connection. It is down when the last connection that carried it is gone, when
frames are missing from that one's numbering, when one could not be read, or when the mirror wants it asked for anew;
and up again with the next frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

from kit.clock import SECOND
from kit.errors import BadAnswer
from kit.model import BookSnapshot, Candle, Channel, Instrument, Trade
from kit.net.player import Mishap, Player
from kit.net.routes import subscription
from kit.net.supervisor import BEAT
from kit.net.tape import Answered, Closed, Opened, Received, Record, Sent
from kit.venues.base import Ack, Goodbye, MarketEvent, Numbered, Subscription
from kit.venues.taped import Taped

_BEAT = round(BEAT * SECOND)


@dataclass
class Connections:
    """What passed over the connections, counted."""

    opened: int = 0
    """One that was open when the tape began counts too."""
    closed: int = 0
    """While the tape went on: its end is no loss."""
    frames: int = 0
    """What the venue sent."""
    sent: int = 0
    """What was sent to it."""
    answers: int = 0
    """By REST."""
    unreadable: int = 0
    """Frames and answers that are not what the venue promises."""
    sequence_gaps: int = 0
    """Holes in the connections' own numbering, where the venue numbers its frames (Coinbase)."""


@dataclass
class _Wire:
    """A connection: the number of its last frame, and what it has brought so far."""

    sequence: int | None = None
    carries: set[Subscription] = field(default_factory=set)


class Playback:
    """A tape on its way through the mirrors; hand ``play`` each record in turn. ``rows`` bounds what players keep."""

    def __init__(self, taped: Taped, *, rows: int) -> None:
        self.connections = Connections()
        self.players: dict[str, Player] = {}
        """By native name, in the order in which they were met."""
        self.listed: dict[str, Instrument] = {}
        """What the tape tells of instruments, by native name."""
        self.mishaps: list[Mishap] = []
        """What went wrong with connections and frames."""
        self._taped, self._rows = taped, rows
        self._wires: dict[int, _Wire] = {}
        self._closing: list[Closed] = []
        self._depths: dict[str, int] = {}
        self._books: dict[str, BookSnapshot] = {}
        """Answers that no question has met, by native name; empty where that is not told."""
        self._beat = 0

    def play(self, record: Record) -> None:
        """Take in what happened next."""
        match record:
            case Received():
                self._reach(record.ns // 1000)
                self._receive(record)
            case Answered():
                self.connections.answers += 1
                if record.status == HTTPStatus.OK:
                    self._answered(record.url, record.data, record.ns // 1000)
            case Opened():
                self._reach(record.ns // 1000)
                self._end(record.conn, "it was opened anew", record.ns // 1000)
                self._wire(record.conn)
            case Closed():  # it counts once something comes after it
                self._closing.append(record)
            case Sent():
                self.connections.sent += 1

    # -- connections

    def _reach(self, now: int) -> None:
        """Do what is due by ``now`` (µs)."""
        for closed in self._closing:
            self.connections.closed += 1
            self._end(closed.conn, f"its connection ended ({closed.reason or 'nobody says why'})", now)
        self._closing.clear()
        if now - self._beat >= _BEAT:
            self._beat = now
            for player in self.players.values():
                player.tick(now)
                self._follow(player, now)

    def _wire(self, conn: int) -> _Wire:
        if conn not in self._wires:
            self._wires[conn] = _Wire()
            self.connections.opened += 1
        return self._wires[conn]

    def _end(self, conn: int, reason: str, now: int) -> None:
        wire = self._wires.pop(conn, None)
        if wire is not None:
            self._lose(wire, reason, now)

    def _lose(self, wire: _Wire, reason: str, now: int) -> None:
        """What a connection carried, and no other does, is down."""
        gone, wire.carries = wire.carries, set()
        for sub in sorted(gone, key=repr):
            if not self._carried(sub):
                self.players[sub.native].down(sub, reason, now)

    def _carried(self, sub: Subscription) -> bool:
        return any(sub in wire.carries for wire in self._wires.values())

    # -- frames

    def _receive(self, record: Received) -> None:
        self.connections.frames += 1
        wire, now = self._wire(record.conn), record.ns // 1000
        try:
            events = self._taped.decode(record.data)
        except BadAnswer as error:
            self._unreadable(error, now)
            self._lose(wire, "a frame could not be read", now)
            return
        if not events:
            self._answered("", record.data, now)
        fresh: set[Subscription] = set()
        for event in events:
            if isinstance(event, Numbered):
                self._count(wire, event.number, now)
            elif isinstance(event, Ack):
                self._depths.update([told] if (told := self._taped.depth(record.data)) else [])
            elif not isinstance(event, Goodbye):
                self._take(record, wire, event, fresh)

    def _unreadable(self, error: BadAnswer, now: int) -> None:
        self.connections.unreadable += 1
        self.mishaps.append(Mishap(now, str(error)))

    def _count(self, wire: _Wire, number: int, now: int) -> None:
        last, wire.sequence = wire.sequence, number
        if last is not None and number != last + 1:
            self.connections.sequence_gaps += 1
            words = f"frames {last + 1} to {number - 1} of the connection did not come"
            self.mishaps.append(Mishap(now, words))
            self._lose(wire, words, now)

    def _take(self, record: Received, wire: _Wire, event: MarketEvent, fresh: set[Subscription]) -> None:
        """An event. A channel's first frame on a connection may tell of the past (Kraken, Coinbase): not timed."""
        sub, now = subscription(event), record.ns // 1000
        player = self.players.get(sub.native) or self._meet(sub.native)
        if sub not in wire.carries:
            if not self._carried(sub):
                player.up(sub, record.conn, now)
            wire.carries.add(sub)
            fresh.add(sub)
        player.take(event, sub, now)
        if isinstance(event, Trade):
            player.prints.add(event.id, self._taped.last_id(record.data, event))
        time = event.event_time if isinstance(event, Candle) else event.time
        if time and sub not in fresh:
            player.latency.add(now, time)
        self._follow(player, now)

    def _meet(self, native: str) -> Player:
        rules = self._taped.codec.streaming
        symbol = self._taped.symbol(native, self.listed)
        self.players[native] = Player(native, symbol, rules, self._depths.get(native), self._rows)
        return self.players[native]

    # -- questions and answers

    def _follow(self, player: Player, now: int) -> None:
        """See to what a player wants."""
        for channel in player.asks(now):
            for sub in {sub for wire in self._wires.values() for sub in wire.carries}:
                if sub.native == player.native and sub.channel is channel:
                    self._renew(sub, now)
        if player.asked is not None:
            self._offer(player, now)

    def _renew(self, sub: Subscription, now: int) -> None:
        """As a supervisor would: the channel is down, and up again with its next frame."""
        player = self.players[sub.native]
        player.down(sub, "its channel was to be asked for anew", now)
        for wire in self._wires.values():
            wire.carries.discard(sub)

    def _answered(self, url: str, body: bytes, now: int) -> None:
        try:
            told = self._taped.answer(url, body)
        except BadAnswer as error:
            self._unreadable(error, now)
            return
        if isinstance(told, BookSnapshot):
            self._books[told.symbol] = told
            for player in self.players.values():
                if player.asked is not None:
                    self._offer(player, now)
        elif told:
            self.listed |= {instrument.native: instrument for instrument in told}

    def _offer(self, player: Player, now: int) -> None:
        """Answer with the newest book the tape has; one that names no instrument is that of the only one there is."""
        book = self._books.pop(player.native, None)
        if book is None and sum(one.events[Channel.BOOK] > 0 for one in self.players.values()) == 1:
            book = self._books.pop("", None)
        if book is not None:
            player.answer(book, now)
            self._follow(player, now)
