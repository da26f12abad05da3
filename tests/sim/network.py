"""The simulated network between the kit and the venue: connections that are bytes, late, cut, mute, stalled or refused.

A connection keeps its order, as TCP does; two connections do not keep each other's. A cut falls at any byte: a frame
that has not come whole has not come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from kit.clock import SECOND
from kit.market.book import BookRule
from kit.model import Channel
from tests.sim.faults import Mix
from tests.sim.venue import NEVER, Market
from tests.sim.voice import Heard, Said, Voice

HEADER = 4
"""Bytes of WebSocket framing before a text of usual length."""
MESSAGES = 5
"""Messages a second that the venue takes on a connection (web-socket-streams.md)."""


class Client(Protocol):
    """The kit's side of the network."""

    def hear_opened(self, link: int) -> None: ...
    def hear_frame(self, link: int, frame: bytes, told: tuple[str, int], sent: int) -> None: ...
    def hear_ended(self, link: int, reason: str, retry_after: float) -> None: ...


class Agenda(Protocol):
    """What the simulated time brings."""

    @property
    def now(self) -> int: ...
    def at(self, time: int, act: Callable[..., None], *args: Any) -> None: ...
    def note(self, *words: Any) -> None: ...


@dataclass(eq=False)
class Mute:
    """A channel that is silent beside lively ones, from one moment to another."""

    stream: str
    since: int
    until: int


@dataclass(eq=False)
class Wire:
    """One connection, as the network sees it."""

    number: int
    down: int
    """Latency from the venue to us, µs."""
    up: int
    open: bool = False
    dead: bool = False
    """Nothing goes through any more, whether or not we have been told."""
    left: bool = False
    """We have hung up, or were told that it is gone."""
    ready: int = 0
    """When the last frame on its way arrives: the next one comes after it."""
    room: int = NEVER
    """Bytes that still come through from the venue."""
    upstream_room: int = NEVER
    told: bool = True
    """Whether we are told when it is cut."""
    muted: int = 0
    stalled: int = 0
    streams: set[str] = field(default_factory=set)
    """What the venue sends on it."""
    counted: int = 0
    """Frames that the venue has numbered on it, whether or not they came through."""
    deaf: dict[str, Mute] = field(default_factory=dict)
    """Streams that are silent though confirmed."""
    asked: list[int] = field(default_factory=list)
    """When our messages arrived at the venue."""


class Network:
    """All connections, with the troubles of a mix."""

    def __init__(
        self, agenda: Agenda, client: Client, voice: Voice, markets: Mapping[str, Market], mix: Mix, seed: int
    ) -> None:
        self.mix = mix
        self._voice, self._markets = voice, markets
        self.wires: dict[int, Wire] = {}
        self._agenda, self._client = agenda, client
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self._refusing = self._hanging = self._away = 0
        self._retry_after = 0.0
        self.losses: set[tuple[str, int]] = set()
        """(stream, number) of single frames that the venue swallowed."""
        self.mutes: list[Mute] = []

    # -- what we do

    def open(self, number: int) -> None:
        now, random = self._agenda.now, self._random
        wire = Wire(number, random.randint(2_000, 250_000), random.randint(2_000, 100_000))
        self.wires[number] = wire
        if now < self._hanging:
            return
        at = now + wire.up + wire.down
        if now < self._away:
            self._agenda.at(at, self._tell_end, wire, "no route to host", 0.0)
        elif now < self._refusing:
            self._agenda.at(at, self._tell_end, wire, "server rejected the connection: HTTP 429", self._retry_after)
        else:
            self._agenda.at(at, self._opened, wire)

    def send(self, number: int, text: str) -> None:
        wire = self.wires.get(number)
        if wire is None:  # it is gone, and we are about to hear of it
            return
        wire.upstream_room -= len(text) + HEADER
        if wire.dead or wire.upstream_room < 0:
            self._cut(wire, "connection reset while sending")
        else:
            self._agenda.at(self._agenda.now + wire.up, self._venue_hears, wire, text)

    def hang_up(self, number: int) -> None:
        wire = self.wires.pop(number, None)
        if wire is not None:
            wire.left = wire.dead = True
            self._hear_again(wire, *wire.deaf)

    # -- what the venue does

    def publish(self, said: Said) -> None:
        for wire in tuple(self.wires.values()):
            if said.stream in wire.streams and not wire.dead:
                self._bring(wire, said)

    def _bring(self, wire: Wire, said: Said) -> None:
        now, random, mix = self._agenda.now, self._random, self.mix
        deaf = wire.deaf.get(said.stream)
        if deaf is not None and deaf.until == NEVER:  # the venue has closed the channel: nothing of it is counted
            return
        frame = self._count(wire, said.frame)
        if now < wire.muted or (deaf is not None and now < deaf.until):
            return
        if mix.lose and self._loses(said.stream) and random.random() < mix.lose:
            self.losses.add((said.stream, said.number))
            self._agenda.note("lost", wire.number, said.stream, said.number)
            return
        if mix.garble and random.random() < mix.garble:
            frame = frame[: random.randint(1, len(frame) - 1)]
        told = said.stream, said.number
        self._put(wire, frame, told)
        if mix.twice and random.random() < mix.twice:
            self._put(wire, self._count(wire, said.frame), told)
        if mix.late_copy and random.random() < mix.late_copy:
            self._agenda.at(now + random.randint(1, 2 * SECOND), self._bring_again, wire, said, frame)

    def _bring_again(self, wire: Wire, said: Said, frame: bytes) -> None:
        """A late copy. A change of a book has its old number where nothing else tells that it is old."""
        blind = said.stream.endswith(Channel.BOOK) and self._voice.codec.streaming.book is BookRule.CONNECTION
        self._put(wire, frame if blind else self._count(wire, said.frame), (said.stream, said.number))

    def _count(self, wire: Wire, frame: bytes) -> bytes:
        """The frame with its number on the connection, where the venue counts them."""
        wire.counted += 1
        return self._voice.counted(frame, wire.counted - 1)

    def _put(self, wire: Wire, frame: bytes, told: tuple[str, int]) -> None:
        """Send a frame on its way."""
        now = self._agenda.now
        wire.ready = max(wire.ready, now + wire.down + int(self._random.random() * 5_000), wire.stalled)
        self._agenda.at(wire.ready, self._deliver, wire, frame, told, now)

    def _deliver(self, wire: Wire, frame: bytes, told: tuple[str, int], sent: int) -> None:
        if wire.dead:
            return
        wire.room -= len(frame) + HEADER
        if wire.room < 0:
            self._cut(wire, "connection reset")
        else:
            self._client.hear_frame(wire.number, frame, told, sent)

    def _opened(self, wire: Wire) -> None:
        if wire.left:
            return
        wire.open = True
        if self.mix.lifetime is not None:
            self._agenda.at(self._agenda.now + round(self.mix.lifetime * SECOND), self._venue_closes, wire, "1001 24 h")
        if not self._voice.codec.streaming.greeting:
            self._beat(wire)
        self._client.hear_opened(wire.number)

    def _venue_closes(self, wire: Wire, reason: str) -> None:
        """What was sent before arrives before the end does."""
        if not wire.dead:
            wire.streams.clear()
            self._agenda.at(max(wire.ready, self._agenda.now + wire.down), self._tell_end, wire, reason, 0.0)

    def _venue_hears(self, wire: Wire, text: str) -> None:
        if wire.dead or not wire.open:
            return
        now, mix, draw = self._agenda.now, self.mix, self._random.random
        wire.asked = [at for at in wire.asked if at > now - SECOND] + [now]
        if len(wire.asked) > MESSAGES:
            self._agenda.note("too many messages", wire.number)
            self._venue_closes(wire, "1008 too many requests")
            return
        heard = self._voice.hear(text)
        if not heard.streams:
            self._agree(wire, heard)
            self._beat(wire)
        elif draw() < mix.unanswered:
            self._agenda.note("unanswered", wire.number, *heard.streams)
        elif draw() < mix.refused and not (heard.subscribes and wire.streams.issuperset(heard.streams)):
            self._agenda.note("refused", wire.number, *heard.streams)
            for streams, answer in self._voice.refuse(heard):
                self._put(wire, answer, (f"refusal {streams}", heard.number))
        else:
            self._serve(wire, heard)

    def _serve(self, wire: Wire, heard: Heard) -> None:
        """Do what is asked, and say so: before the first frame or after it."""
        early = self._random.random() < 0.5
        if early:
            self._agree(wire, heard)
        for name in heard.streams:
            if not heard.subscribes:
                wire.streams.discard(name)
            elif name not in wire.streams:
                self._begin(wire, name)
        if not early:
            self._agree(wire, heard)

    def _begin(self, wire: Wire, name: str) -> None:
        wire.streams.add(name)
        self._hear_again(wire, name)
        if self._random.random() < self.mix.misspelled and self._loses(name):
            self._mute(wire, name, NEVER)
            self._agenda.note("misspelled", wire.number, name)
        native, _, channel = name.rpartition(" ")
        for said in self._voice.welcome(self._markets[native], Channel(channel)):
            self._bring(wire, said)

    def _agree(self, wire: Wire, heard: Heard) -> None:
        asked = set(heard.streams)
        active = wire.streams | asked if heard.subscribes else wire.streams - asked
        for answer in self._voice.agree(heard, active):
            if self._random.random() >= self.mix.ack_lost:
                self._put(wire, self._count(wire, answer), ("ack", heard.number))

    def _beat(self, wire: Wire) -> None:
        """What comes once a second, busy or not."""
        now = self._agenda.now
        heartbeat = self._voice.heartbeat(now)
        if heartbeat is not None and not wire.dead:
            frame = self._count(wire, heartbeat)
            if now >= wire.muted:
                self._put(wire, frame, ("heartbeat", 0))
            self._agenda.at(now + SECOND, self._beat, wire)

    # -- the end of a connection

    def _cut(self, wire: Wire, reason: str) -> None:
        if not wire.dead:
            wire.dead = True
            self._agenda.note("cut", wire.number, wire.told)
            if wire.told:
                delay = self._random.choice((0, self._random.randint(0, 3 * SECOND)))
                self._agenda.at(self._agenda.now + delay, self._tell_end, wire, reason, 0.0)

    def _tell_end(self, wire: Wire, reason: str, retry_after: float) -> None:
        if not wire.left:
            wire.left = wire.dead = True
            self._hear_again(wire, *wire.deaf)
            self.wires.pop(wire.number, None)
            self._client.hear_ended(wire.number, reason, retry_after)

    # -- troubles, each begun at a moment

    def _some(self) -> Wire | None:
        alive = [wire for wire in self.wires.values() if wire.open and not wire.dead]
        return self._random.choice(alive) if alive else None

    def cut(self) -> None:
        if wire := self._some():
            wire.room, wire.told = self._random.randint(0, 6_000), True

    def cut_upstream(self) -> None:
        for wire in self.wires.values():
            wire.upstream_room, wire.told = self._random.randint(0, 250), self._random.random() < 0.7

    def half_open(self) -> None:
        if wire := self._some():
            wire.room, wire.told = self._random.randint(0, 3_000), False

    def mute(self) -> None:
        if wire := self._some():
            wire.muted = self._agenda.now + self._random.randint(SECOND // 5, 30 * SECOND)

    def mute_stream(self) -> None:
        wire, now = self._some(), self._agenda.now
        streams = sorted(filter(self._loses, wire.streams)) if wire else []
        if wire and streams:
            name = self._random.choice(streams)
            until = self._random.choice((NEVER, now + self._random.randint(SECOND // 5, 30 * SECOND)))
            self._mute(wire, name, until)
            self._agenda.note("mute stream", wire.number, name, until)

    def _mute(self, wire: Wire, name: str, until: int) -> None:
        self._hear_again(wire, name)
        wire.deaf[name] = Mute(name, self._agenda.now, until)
        self.mutes.append(wire.deaf[name])

    def _hear_again(self, wire: Wire, *names: str) -> None:
        """The silence of some channels ends, if only with their connection."""
        for name in names:
            mute = wire.deaf.pop(name, None)
            if mute is not None:
                mute.until = min(mute.until, self._agenda.now)

    def _loses(self, name: str) -> bool:
        """Bars that nobody counts and nobody closes are lost without a trace: such a venue loses them with all else."""
        return not name.endswith(Channel.CANDLE) or self._voice.codec.streaming.says_closed

    def stall(self) -> None:
        if wire := self._some():
            wire.stalled = self._agenda.now + self._random.randint(SECOND // 2, 14 * SECOND)

    def goodbye(self) -> None:
        now = self._agenda.now
        frame = self._voice.goodbye(now)
        for wire in tuple(self.wires.values()):
            if frame is not None and wire.open and not wire.dead:
                self._put(wire, frame, ("goodbye", 0))
                notice = round(self.mix.notice * SECOND) + self._random.randint(0, 11 * SECOND)
                self._agenda.at(now + notice, self._venue_closes, wire, "1001 bye")

    def refuse(self) -> None:
        self._refusing = self._agenda.now + self._random.randint(SECOND, 12 * SECOND)
        self._retry_after = self._random.choice((0.0, self._random.uniform(1.0, 12.0)))
        self.cut()

    def hang(self) -> None:
        self._hanging = self._agenda.now + self._random.randint(SECOND, 12 * SECOND)
        self.cut()

    def outage(self) -> None:
        """Nothing goes through, and the connections of before never come back."""
        self._away = self._agenda.now + self._random.randint(SECOND, 20 * SECOND)
        for wire in self.wires.values():
            wire.room, wire.told = 0, self._random.random() < 0.5

    def heal(self) -> None:
        """No more troubles; a connection that is dead stays dead, and a deaf stream deaf: the kit must notice."""
        self.mix = Mix()
        self._refusing = self._hanging = self._away = 0
        for wire in self.wires.values():
            wire.muted = wire.stalled = 0
            if not wire.dead:
                wire.room = wire.upstream_room = NEVER
