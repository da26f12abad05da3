"""The supervised connection, against a real WebSocket server that drops, mutes, refuses and says goodbye."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from kit.clock import WallClock
from kit.model import BookDelta, Candle, Channel, Quote, Trade
from kit.net.loop import Loop
from kit.net.stream import Streams
from kit.net.supervisor import Backoff
from kit.venues.base import Hosts, Subscription
from kit.venues.binance import BINANCE

Eventually = Callable[[Callable[[], object]], None]
Tiny = Any  # the fixture of conftest.py
TRADES = Subscription(Channel.TRADE, "BTCUSDT")
QUOTES = Subscription(Channel.QUOTE, "BTCUSDT")
BOOK = Subscription(Channel.BOOK, "BTCUSDT")
BARS = Subscription(Channel.CANDLE, "BTCUSDT", "1m")


@dataclass(frozen=True)
class Up:
    """Everything a listener asked for is confirmed."""


@dataclass(frozen=True)
class Down:
    """Something a listener asked for comes no more."""

    reason: str


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.threads: set[str] = set()
        self.wanted: set[Subscription] = set()
        self._open: set[Subscription] = set()

    def up(self, subscription: Subscription, link: int, now: int) -> None:
        self._open.add(subscription)
        if self._open == self.wanted:
            self.heard.append(Up())

    def down(self, subscription: Subscription, reason: str, now: int) -> None:
        self._open.discard(subscription)
        if subscription == min(self.wanted, key=repr):  # once, however many went down together
            self.heard.append(Down(reason))

    def take(self, events: Sequence[object], now: int) -> None:
        self.heard += events
        self.threads.add(threading.current_thread().name)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]


class Broken(Listener):
    """Fails at every event."""

    def take(self, events: Sequence[object], now: int) -> None:
        raise ZeroDivisionError("my mistake")


def listen(streams: Streams, subscriptions: list[Subscription], listener: Listener) -> None:
    listener.wanted.update(subscriptions)
    streams.subscribe(subscriptions, listener)


Make = Callable[..., Streams]


@pytest.fixture
def make(tiny: Tiny, loop: Loop) -> Iterator[Make]:
    """Streams of the tiny venue whose pauses are short; closed at the end."""
    made: list[Streams] = []

    def build(hosts: Hosts | None = None, *, pause: float = 0.01, **options: float) -> Streams:
        streams = Streams(BINANCE, hosts or tiny.hosts, loop=loop, clock=WallClock(), seed=1, **options)
        streams.supervisor.backoff = Backoff(1, first=pause)
        made.append(streams)
        return streams

    yield build
    for streams in made:
        streams.close()


@pytest.fixture
def streams(make: Make) -> Streams:
    return make()


# -- subscribing and hearing


def test_a_listener_is_told_when_the_venue_has_confirmed_and_then_hears_its_events(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    listen(streams, [TRADES, QUOTES, BOOK, BARS], listener)
    eventually(lambda: listener.of(Up))
    tiny.trade(100.5)
    tiny.level("b", "99.50", "2.0")
    eventually(lambda: listener.of(Quote))
    assert [type(event) for event in listener.heard] == [Up, Trade, Candle, BookDelta, Quote]
    assert listener.threads == {"kit-streams"}


def test_each_listener_hears_what_it_asked_for_and_nothing_else(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    bars, trades, other = Listener(), Listener(), Listener()
    listen(streams, [BARS], bars)
    listen(streams, [TRADES], trades)
    listen(streams, [Subscription(Channel.CANDLE, "BTCUSDT", "5m")], other)
    eventually(lambda: bars.of(Up) and trades.of(Up) and other.of(Up))
    tiny.trade(100.5)
    eventually(lambda: bars.of(Candle) and trades.of(Trade))
    assert not bars.of(Trade)
    assert not trades.of(Candle)
    assert other.heard == [Up()]


def test_what_two_listeners_share_is_asked_for_once_and_ended_with_the_last(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    first, second = Listener(), Listener()
    listen(streams, [TRADES, BARS], first)
    eventually(lambda: first.of(Up))
    listen(streams, [TRADES], second)
    eventually(lambda: second.of(Up))
    assert len(tiny.said) == 1
    streams.unsubscribe([TRADES, BARS], first)
    eventually(lambda: tiny.streams == {"btcusdt@trade"})
    tiny.trade(100.0)
    eventually(lambda: second.of(Trade))
    assert not first.of(Trade)
    streams.unsubscribe([TRADES], second)
    eventually(lambda: tiny.streams == set())


def test_the_connection_ends_with_the_last_listener_and_begins_again_with_the_next(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    streams.unsubscribe([TRADES], listener)
    eventually(lambda: not tiny._subscribed)
    listen(streams, [TRADES], listener)
    eventually(lambda: len(listener.of(Up)) == 2)


def test_a_listener_that_fails_does_not_cost_the_others_their_data(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    listen(streams, [TRADES], Broken())
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.trade(100.0)
    eventually(lambda: listener.of(Trade))
    assert "my mistake" in str(streams.last_error)


def test_connections_of_one_loop_never_share_a_number(make: Make, eventually: Eventually) -> None:
    class Numbered(Listener):
        def up(self, subscription: Subscription, link: int, now: int) -> None:
            self.heard.append(link)

    listeners = [Numbered(), Numbered()]
    for listener in listeners:
        listen(make(), [TRADES], listener)
    eventually(lambda: all(listener.heard for listener in listeners))
    assert {listener.heard[0] for listener in listeners} == {1, 2}


def test_control_messages_stay_within_the_venues_five_a_second(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    for number in range(7):
        listen(streams, [Subscription(Channel.TRADE, f"COIN{number}")], listener)
        eventually(lambda count=number + 1: len(tiny.streams) == count)  # type: ignore[misc]  # binds the number
    times = [message["at"] for message in tiny.said]
    assert all(later - earlier >= 0.95 for earlier, later in zip(times, times[4:], strict=False))


# -- losing and finding again


def test_a_dropped_connection_is_opened_again_and_everything_asked_for_again(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    listen(streams, [TRADES, BARS], listener)
    eventually(lambda: listener.of(Up))
    tiny.drop()
    eventually(lambda: len(listener.of(Up)) == 2)
    tiny.trade(100.0)
    eventually(lambda: listener.of(Trade))
    assert [type(event) for event in listener.heard][:3] == [Up, Down, Up]
    assert "the connection broke" in listener.of(Down)[0].reason
    assert streams.connections == 2


def test_a_mute_connection_is_replaced(tiny: Tiny, make: Make, eventually: Eventually) -> None:
    listener = Listener()
    listen(make(mute_after=0.2), [TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.mute = True
    eventually(lambda: len(listener.of(Up)) == 2)
    assert "mute" in listener.of(Down)[0].reason


def test_a_subscription_that_is_never_confirmed_is_asked_for_again_though_data_flows(
    tiny: Tiny, make: Make, eventually: Eventually
) -> None:
    first, second = Listener(), Listener()
    streams = make(mute_after=0.3)
    listen(streams, [TRADES], first)
    eventually(lambda: first.of(Up))
    tiny.deaf = True
    listen(streams, [QUOTES], second)
    eventually(lambda: len(tiny.said) == 2)
    tiny.deaf = False

    def confirmed() -> bool:
        tiny.trade(100.0)
        return bool(second.of(Up))

    eventually(confirmed)
    assert "did not confirm" in first.of(Down)[0].reason


def test_acknowledgements_are_no_data(tiny: Tiny, make: Make, eventually: Eventually) -> None:
    listener = Listener()
    listen(make(mute_after=0.15), [Subscription(Channel.TRADE, "MISSPELLED")], listener)
    eventually(lambda: len(listener.of(Up)) >= 3)
    assert tiny.handshakes >= 3


def test_a_quiet_connection_that_somebody_vouches_for_is_kept(tiny: Tiny, make: Make, eventually: Eventually) -> None:
    listener, beat = Listener(), threading.Event()
    streams = make(mute_after=0.3)
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    for _ in range(12):
        streams.vouch()
        beat.wait(0.05)
    assert listener.heard == [Up()]


def test_a_goodbye_is_met_by_a_second_connection_and_nothing_is_missed(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.tell({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})

    def handed_over() -> bool:
        tiny.trade(100.0)
        return streams.supervisor.handovers == 1

    eventually(handed_over)
    eventually(lambda: len(tiny._subscribed) == 1)
    tiny.trade(100.0)
    eventually(lambda: listener.of(Trade)[-1].id == len(tiny.trades))
    assert not listener.of(Down)
    told = list(dict.fromkeys(trade.id for trade in listener.of(Trade)))
    assert told == list(range(told[0], len(tiny.trades) + 1))


def test_pauses_grow_while_nothing_but_a_connection_comes(tiny: Tiny, streams: Streams, eventually: Eventually) -> None:
    listener = Listener()
    listen(streams, [TRADES], listener)
    for count in range(1, 4):
        eventually(lambda count=count: len(listener.of(Up)) == count)  # type: ignore[misc]  # binds the number
        tiny.drop()
    assert streams.supervisor.backoff.tries >= 2
    eventually(lambda: len(listener.of(Up)) == 4)
    tiny.trade(100.0)
    eventually(lambda: listener.of(Trade))
    assert streams.supervisor.backoff.tries == 0


def test_a_venue_that_refuses_the_handshake_is_tried_again(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    tiny.refuse = 2
    listener = Listener()
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    assert tiny.handshakes == 3
    assert [type(event) for event in listener.heard] == [Down, Down, Up]
    assert "503" in str(streams.last_error)


def test_nobody_at_the_address_is_a_reason_to_read_and_not_an_end(make: Make, eventually: Eventually) -> None:
    listener = Listener()
    streams = make(Hosts("http://127.0.0.1:9", "ws://127.0.0.1:9"))
    listen(streams, [TRADES], listener)
    eventually(lambda: len(listener.of(Down)) >= 3)
    assert "no connection" in str(streams.last_error)


def test_rubbish_ends_the_connection_for_a_frame_may_be_lost(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.tell("<html>500</html>")
    eventually(lambda: len(listener.of(Up)) == 2)


def test_a_refused_subscription_is_told_to_whom_it_concerns(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    good, bad = Listener(), Listener()
    listen(streams, [TRADES], good)
    eventually(lambda: good.of(Up))
    tiny.deaf = True
    listen(streams, [BARS], bad)
    eventually(lambda: len(tiny.said) == 2)
    tiny.tell({"id": tiny.said[-1]["id"], "error": {"code": 2, "msg": "Invalid request: unknown stream"}})
    eventually(lambda: bad.of(Down))
    assert "unknown stream" in bad.of(Down)[0].reason
    assert good.heard == [Up()]


# -- the end


def test_closing_leaves_no_thread_no_connection_and_no_word(
    tiny: Tiny, eventually: Eventually, capfd: pytest.CaptureFixture[str]
) -> None:
    loop = Loop()
    listener = Listener()
    streams = Streams(BINANCE, tiny.hosts, loop=loop, clock=WallClock(), seed=1)
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    streams.close()
    loop.close()
    assert not loop._thread.is_alive()
    eventually(lambda: not tiny._subscribed)
    assert capfd.readouterr() == ("", "")


def test_a_loop_that_ends_hangs_up_what_nobody_has_closed(
    tiny: Tiny, eventually: Eventually, capfd: pytest.CaptureFixture[str]
) -> None:
    loop, listener = Loop(), Listener()
    open_one, opening = (Streams(BINANCE, tiny.hosts, loop=loop, clock=WallClock(), seed=seed) for seed in (1, 2))
    listen(open_one, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    listen(opening, [TRADES], Listener())
    loop.close()
    del open_one, opening
    gc.collect()  # a socket left open would be complained of now, and warnings are errors
    eventually(lambda: not tiny._subscribed)
    assert capfd.readouterr() == ("", "")


def test_trouble_is_never_printed(
    tiny: Tiny, streams: Streams, eventually: Eventually, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    tiny.refuse = 1
    listen(streams, [TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.drop()
    eventually(lambda: len(listener.of(Up)) == 2)
    tiny.tell("rubbish")
    eventually(lambda: len(listener.of(Up)) == 3)
    assert capfd.readouterr() == ("", "")
