"""The supervised connection, against a real WebSocket server that drops, mutes, refuses and says goodbye."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kit.clock import WallClock
from kit.model import BookDelta, Candle, Channel, Quote, Trade
from kit.net.loop import Loop
from kit.net.stream import Allowance, Backoff, Down, Streams, Up
from kit.venues.base import Hosts, Subscription
from kit.venues.binance import BINANCE

Eventually = Callable[[Callable[[], object]], None]
Tiny = Any  # the fixture of conftest.py
TRADES = Subscription(Channel.TRADE, "BTCUSDT")
QUOTES = Subscription(Channel.QUOTE, "BTCUSDT")
BOOK = Subscription(Channel.BOOK, "BTCUSDT")
BARS = Subscription(Channel.CANDLE, "BTCUSDT", "1m")


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.threads: set[str] = set()

    def __call__(self, event: object, now: int) -> None:
        self.heard.append(event)
        self.threads.add(threading.current_thread().name)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]


Make = Callable[..., Streams]


@pytest.fixture
def make(tiny: Tiny, loop: Loop) -> Iterator[Make]:
    """Streams of the tiny venue whose pauses are short; closed at the end."""
    made: list[Streams] = []

    def build(hosts: Hosts | None = None, *, pause: float = 0.01, **options: float) -> Streams:
        streams = Streams(BINANCE, hosts or tiny.hosts, loop=loop, clock=WallClock(), seed=1, **options)
        streams._backoff = Backoff(1, first=pause)
        made.append(streams)
        return streams

    yield build
    for streams in made:
        streams.close()


@pytest.fixture
def streams(make: Make) -> Streams:
    return make()


# -- pure parts


def test_pauses_double_up_to_a_limit_with_a_jitter_that_the_seed_fixes() -> None:
    pauses = [Backoff(3, first=1.0, most=8.0).next() for _ in range(2)]
    assert pauses[0] == pauses[1]
    backoff = Backoff(3, first=1.0, most=8.0)
    for longest in (1, 2, 4, 8, 8, 8):
        assert longest / 2 <= backoff.next() <= longest


def test_the_pause_is_short_again_after_data_only() -> None:
    backoff = Backoff(3, first=1.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0


def test_an_allowance_lets_so_many_through_in_any_window() -> None:
    allowance = Allowance(3, 1.0)
    now, let = 0.0, []
    for _ in range(9):
        now += allowance.take(now)
        let.append(now)
    assert let == [0, 0, 0, 1, 1, 1, 2, 2, 2]


# -- subscribing and hearing


def test_a_listener_is_told_when_the_venue_has_confirmed_and_then_hears_its_events(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    streams.subscribe([TRADES, QUOTES, BOOK, BARS], listener)
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
    streams.subscribe([BARS], bars)
    streams.subscribe([TRADES], trades)
    streams.subscribe([Subscription(Channel.CANDLE, "BTCUSDT", "5m")], other)
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
    one = streams.subscribe([TRADES, BARS], first)
    eventually(lambda: first.of(Up))
    two = streams.subscribe([TRADES], second)
    eventually(lambda: second.of(Up))
    assert len(tiny.said) == 1
    streams.unsubscribe(one)
    eventually(lambda: tiny.streams == {"btcusdt@trade"})
    tiny.trade(100.0)
    eventually(lambda: second.of(Trade))
    assert not first.of(Trade)
    streams.unsubscribe(two)
    eventually(lambda: tiny.streams == set())


def test_the_connection_ends_with_the_last_listener_and_begins_again_with_the_next(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    seat = streams.subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    streams.unsubscribe(seat)
    eventually(lambda: not tiny._subscribed)
    streams.subscribe([TRADES], listener)
    eventually(lambda: len(listener.of(Up)) == 2)


def test_a_listener_that_fails_does_not_cost_the_others_their_data(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    def broken(event: object, now: int) -> None:
        raise ZeroDivisionError("my mistake")

    listener = Listener()
    streams.subscribe([TRADES], broken)
    streams.subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.trade(100.0)
    eventually(lambda: listener.of(Trade))
    assert "my mistake" in str(streams.last_error)


def test_control_messages_stay_within_the_venues_five_a_second(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    for number in range(7):
        streams.subscribe([Subscription(Channel.TRADE, f"COIN{number}")], listener)
        eventually(lambda count=number + 1: len(tiny.streams) == count)  # type: ignore[misc]  # binds the number
    times = [message["at"] for message in tiny.said]
    assert all(later - earlier >= 0.95 for earlier, later in zip(times, times[4:], strict=False))


# -- losing and finding again


def test_a_dropped_connection_is_opened_again_and_everything_asked_for_again(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    streams.subscribe([TRADES, BARS], listener)
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
    make(mute_after=0.2).subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.mute = True
    eventually(lambda: len(listener.of(Up)) == 2)
    assert "mute" in listener.of(Down)[0].reason


def test_a_subscription_that_is_never_confirmed_is_asked_for_again_though_data_flows(
    tiny: Tiny, make: Make, eventually: Eventually
) -> None:
    first, second = Listener(), Listener()
    streams = make(mute_after=0.3)
    streams.subscribe([TRADES], first)
    eventually(lambda: first.of(Up))
    tiny.deaf = True
    streams.subscribe([QUOTES], second)
    eventually(lambda: len(tiny.said) == 2)
    tiny.deaf = False

    def confirmed() -> bool:
        tiny.trade(100.0)
        return bool(second.of(Up))

    eventually(confirmed)
    assert "did not confirm" in first.of(Down)[0].reason


def test_acknowledgements_are_no_data(tiny: Tiny, make: Make, eventually: Eventually) -> None:
    listener = Listener()
    make(mute_after=0.15).subscribe([Subscription(Channel.TRADE, "MISSPELLED")], listener)
    eventually(lambda: len(listener.of(Up)) >= 3)
    assert tiny.handshakes >= 3


def test_a_quiet_connection_that_somebody_vouches_for_is_kept(tiny: Tiny, make: Make, eventually: Eventually) -> None:
    listener, beat = Listener(), threading.Event()
    streams = make(mute_after=0.3)
    streams.subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    for _ in range(12):
        streams.vouch()
        beat.wait(0.05)
    assert listener.heard == [Up()]


def test_a_goodbye_is_followed_at_once(tiny: Tiny, make: Make, eventually: Eventually) -> None:
    listener = Listener()
    make(pause=60.0).subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.tell({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})
    eventually(lambda: len(listener.of(Up)) == 2)


def test_pauses_grow_while_nothing_but_a_connection_comes(tiny: Tiny, streams: Streams, eventually: Eventually) -> None:
    listener = Listener()
    streams.subscribe([TRADES], listener)
    for count in range(1, 4):
        eventually(lambda count=count: len(listener.of(Up)) == count)  # type: ignore[misc]  # binds the number
        tiny.drop()
    assert streams._backoff.tries >= 2
    eventually(lambda: len(listener.of(Up)) == 4)
    tiny.trade(100.0)
    eventually(lambda: listener.of(Trade))
    assert streams._backoff.tries == 0


def test_a_venue_that_refuses_the_handshake_is_tried_again(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    tiny.refuse = 2
    listener = Listener()
    streams.subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    assert tiny.handshakes == 3
    assert [type(event) for event in listener.heard] == [Down, Down, Up]
    assert "503" in str(streams.last_error)


def test_nobody_at_the_address_is_a_reason_to_read_and_not_an_end(make: Make, eventually: Eventually) -> None:
    listener = Listener()
    streams = make(Hosts("http://127.0.0.1:9", "ws://127.0.0.1:9"))
    streams.subscribe([TRADES], listener)
    eventually(lambda: len(listener.of(Down)) >= 3)
    assert "no connection" in str(streams.last_error)


def test_rubbish_ends_the_connection_for_a_frame_may_be_lost(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    listener = Listener()
    streams.subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.tell("<html>500</html>")
    eventually(lambda: len(listener.of(Up)) == 2)


def test_a_refused_subscription_is_told_to_whom_it_concerns(
    tiny: Tiny, streams: Streams, eventually: Eventually
) -> None:
    good, bad = Listener(), Listener()
    streams.subscribe([TRADES], good)
    eventually(lambda: good.of(Up))
    tiny.deaf = True
    streams.subscribe([BARS], bad)
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
    streams.subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    streams.close()
    loop.close()
    assert not loop._thread.is_alive()
    eventually(lambda: not tiny._subscribed)
    assert capfd.readouterr() == ("", "")


def test_trouble_is_never_printed(
    tiny: Tiny, streams: Streams, eventually: Eventually, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    tiny.refuse = 1
    streams.subscribe([TRADES], listener)
    eventually(lambda: listener.of(Up))
    tiny.drop()
    eventually(lambda: len(listener.of(Up)) == 2)
    tiny.tell("rubbish")
    eventually(lambda: len(listener.of(Up)) == 3)
    assert capfd.readouterr() == ("", "")
