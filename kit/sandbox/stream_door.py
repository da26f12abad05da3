"""The streams: who subscribes to what, and each tick's frames to them (web-socket-streams.md).

``/ws/<stream>`` sends payloads as they are, ``/stream?streams=a/b`` wraps each as ``{"stream": …, "data": …}``.
A name nothing is ever sent on is subscribed to without an error, as at the venue.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kit.clock import SECOND, Clock
from kit.sandbox.endpoint import Context
from kit.sandbox.exchange import Exchange
from kit.sandbox.faults import Armed, Faults
from kit.sandbox.feeds import Channel, Feed, Frame, parse
from kit.sandbox.public import statistics
from kit.sandbox.sockets import Client, Door
from kit.sandbox.wire import Json, Stamp, day_ticker, mini_ticker

MOST_STREAMS = 1_024
VERBS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class BadRequest(Exception):
    """A control message that can't be done: the venue's error code and words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.body = {"code": code, "msg": words}


class StreamDoor(Door):
    """Connections, their streams, and one feed for every symbol somebody listens to."""

    def __init__(self, exchange: Exchange, faults: Faults, clock: Clock, wall: Clock) -> None:
        super().__init__(faults, wall)
        self._exchange = exchange
        self._clock = clock
        self._streams: dict[Client, dict[str, None]] = {}
        self._combined: dict[Client, bool] = {}
        self._readers: defaultdict[str, dict[Client, None]] = defaultdict(dict)
        self._feeds: dict[str, Feed] = {}
        self._late: deque[tuple[int, Frame]] = deque()
        """Frames a delay holds back, with the time (µs by the wall) they are due."""

    def knows(self, path: str) -> bool:
        return path in ("/stream", "/ws") or path.startswith("/ws/")

    def joined(self, client: Client) -> None:
        self._streams[client] = {}
        self._combined[client] = client.path == "/stream"
        named = client.query.get("streams", "") if client.path == "/stream" else client.path.removeprefix("/ws")
        self._subscribe(client, [name for name in named.split("/") if name])

    def left(self, client: Client) -> None:
        self._unsubscribe(client, list(self._streams.pop(client, ())))
        self._combined.pop(client, None)

    def heard(self, client: Client, message: str | bytes) -> None:
        """A control message: SUBSCRIBE and its kin."""
        wish: Any = None
        try:
            wish = _decoded(message)
            answer: dict[str, Json] = {"result": self._obey(client, wish)}
        except BadRequest as bad:
            answer = {"error": bad.body}
        answer["id"] = wish.get("id") if isinstance(wish, dict) else None
        self.send(client, msgspec.json.encode(answer))

    def tick(self, now: int) -> None:
        """Make this tick's frames and send them."""
        wall = self._wall.now()
        self._befall(now, wall)
        for native, feed in self._feeds.items():
            for frame in feed.frames(self._wanted(native), now):
                self._publish(frame, wall)
        while self._late and self._late[0][0] <= wall:
            self._deliver(self._late.popleft()[1])

    def shut_down(self, now: int) -> None:
        """Announce that every connection is about to end."""
        for client in list(self._streams):
            self._announce(client, now)

    def _befall(self, now: int, wall: int) -> None:
        """What faults do to the connections that are open when they begin."""
        for each in self._faults.begun("shutdown", wall):
            for client in self._struck(each):
                client.ends = each
                self._announce(client, now)
        for each in self._faults.begun("lag", wall):
            for client in self._struck(each):
                client.lag = each
        for each in self._faults.begun("freeze", wall):
            for client in self._struck(each):
                client.ends = each
                client.freeze()

    def _struck(self, each: Armed) -> list[Client]:
        return [client for client in self._streams if not client.frozen and self._faults.drawn(each)]

    def _announce(self, client: Client, now: int) -> None:
        event = {"e": "serverShutdown", "E": client.stamp(now)}
        self.send(client, self._spelled(client, "!serverShutdown", event))

    def _publish(self, frame: Frame, now: int) -> None:
        target = f"STREAM {frame.stream}"
        copies = self._faults.copies(target, now)
        held = round(self._faults.delay(target, now) * SECOND) if copies else 0
        for _ in range(copies):
            if held or self._late:
                due = max(now + held, self._late[-1][0] if self._late else 0)
                self._late.append((due, frame))
            else:
                self._deliver(frame)

    def _deliver(self, frame: Frame) -> None:
        spelled: dict[tuple[Stamp, bool], bytes] = {}
        now = self._wall.now()
        for client in tuple(self._readers.get(frame.stream, ())):
            key = client.stamp, self._combined[client]
            if key not in spelled:
                spelled[key] = self._spelled(client, frame.stream, frame.make(client.stamp))
            share = None if client.frozen else self._faults.torn(f"STREAM {frame.stream}", now)
            if share is None:
                self.send(client, spelled[key])
            else:
                client.tear(spelled[key], share)

    def _spelled(self, client: Client, stream: str, payload: Json) -> bytes:
        return msgspec.json.encode({"stream": stream, "data": payload} if self._combined[client] else payload)

    # -- subscriptions ------------------------------------------------------------------------------------------------

    def _obey(self, client: Client, wish: dict[str, Any]) -> Json:
        verb, params = wish.get("method"), wish.get("params", [])
        if verb not in VERBS:
            raise BadRequest(2, f"Invalid request: unknown variant `{verb}`, expected one of {', '.join(VERBS)}")
        if verb == "LIST_SUBSCRIPTIONS":
            return list(self._streams[client])
        if verb in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(client, params)
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise BadRequest(2, "Invalid request: params must be a list of stream names")
        if verb == "SUBSCRIBE" and any(
            self._faults.strikes("refuse", f"STREAM {name}", self._wall.now()) for name in params
        ):
            raise BadRequest(2, "Invalid request: refused by a fault of the sandbox")
        act = self._subscribe if verb == "SUBSCRIBE" else self._unsubscribe
        act(client, params)
        return None

    def _property(self, client: Client, params: Any) -> Json:
        match params:
            case ["combined"]:
                return self._combined[client]
            case ["combined", bool(value)]:
                self._combined[client] = value
                return None
        raise BadRequest(0, "Unknown property")

    def _subscribe(self, client: Client, names: Iterable[str]) -> None:
        mine = self._streams[client]
        if len(mine.keys() | set(names)) > MOST_STREAMS:
            raise BadRequest(2, f"Invalid request: at most {MOST_STREAMS} streams on one connection")
        for name in names:
            mine[name] = None
            self._readers[name][client] = None
            self._listen(name)

    def _unsubscribe(self, client: Client, names: Iterable[str]) -> None:
        for name in names:
            self._streams.get(client, {}).pop(name, None)
            self._readers[name].pop(client, None)
            if not self._readers[name]:
                del self._readers[name]
        self._hush()

    def _listen(self, name: str) -> None:
        """Have the market of a stream's symbol followed."""
        parsed = parse(name, self._exchange.market.instruments)
        if parsed is None or parsed[0] in self._feeds:
            return
        pit = self._exchange.pit(parsed[0])
        now = self._clock.now()
        self._exchange.wake(pit, now)
        feed = self._feeds[parsed[0]] = Feed(pit, self._statistics(parsed[0]), last=now)
        pit.listeners.append(feed.hear)

    def _hush(self) -> None:
        """Stop following markets nobody listens to."""
        for native in [native for native in self._feeds if not self._wanted(native)]:
            feed = self._feeds.pop(native)
            feed.pit.listeners.remove(feed.hear)

    def _wanted(self, native: str) -> dict[str, Channel]:
        parsed = ((name, parse(name, (native,))) for name in self._readers)
        return {name: found[1] for name, found in parsed if found}

    def _statistics(self, native: str) -> Callable[[str, int, Stamp], Json]:
        def make(kind: str, now: int, stamp: Stamp) -> Json:
            full = statistics(Context(self._exchange, now, stamp), native)
            return (mini_ticker if kind == "miniTicker" else day_ticker)(full, stamp(now))

        return make


def _decoded(message: str | bytes) -> dict[str, Any]:
    try:
        wish = msgspec.json.decode(message)
    except msgspec.MsgspecError as error:
        raise BadRequest(3, f"Invalid JSON: {error}") from None
    if not isinstance(wish, dict) or "method" not in wish:
        raise BadRequest(2, "Invalid request: missing field `method`")
    return wish
