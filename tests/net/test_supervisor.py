"""What becomes of a venue's connections, decided on paper: no socket, no waiting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from kit.clock import SECOND
from kit.market.book import BookRule
from kit.model import BookSnapshot, Channel, Trade
from kit.net.link import Allowance, Link
from kit.net.supervisor import BEAT, OVERLAP, Action, Backoff, Hangup, Open, Send, Supervisor
from kit.venues.base import Ack, MarketEvent, Numbered, Subscription
from kit.venues.binance import BINANCE, Binance

TRADES = Subscription(Channel.TRADE, "BTCUSDT")
QUOTES = Subscription(Channel.QUOTE, "BTCUSDT")
BOOK = Subscription(Channel.BOOK, "BTCUSDT")
BARS = Subscription(Channel.CANDLE, "BTCUSDT", "1m")
START = 1_700_000_000 * SECOND


class Ear:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def up(self, subscription: Subscription, link: int, now: int) -> None:
        self.said.append(("up", subscription.channel, link))

    def down(self, subscription: Subscription, reason: str, now: int) -> None:
        self.said.append(("down", subscription.channel, reason))

    def take(self, events: Sequence[MarketEvent], now: int) -> None:
        self.said += [("event", getattr(event, "id", None) or getattr(event, "update_id", None)) for event in events]

    @property
    def events(self) -> list[int]:
        return [said[1] for said in self.said if said[0] == "event"]

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [said[1:] for said in self.said if said[0] == kind]


def trade(number: int) -> bytes:
    data = {"e": "trade", "E": 1, "s": "BTCUSDT", "t": number, "p": "1", "q": "1", "T": 1, "m": False, "M": True}
    return json.dumps({"stream": "btcusdt@trade", "data": data}, separators=(",", ":")).encode()


def quote(update: int) -> bytes:
    data = {"u": update, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}
    return json.dumps({"stream": "btcusdt@bookTicker", "data": data}, separators=(",", ":")).encode()


class Scene:
    """A supervisor whose venue confirms everything at once, unless a test says otherwise."""

    def __init__(self, *subs: Subscription, codec: Binance = BINANCE, **options: Any) -> None:
        self.now, self.ear = START, Ear()
        self.supervisor = Supervisor(codec, seed=1, **options)
        self.answers = True
        self.sent: list[tuple[int, dict[str, Any], int]] = []
        self.opened: list[int] = []
        self.hung_up: list[int] = []
        if subs:
            self.supervisor.subscribe(subs, self.ear, self.now)

    def after(self, seconds: float, *, hears: bool = False) -> Scene:
        """Let time pass, step by step; ``hears``: with a trade on the newest connection every second."""
        until = self.now + round(seconds * SECOND)
        while self.now < until:
            self.now = min(until, self.now + round(BEAT * SECOND))
            if hears and self.now % SECOND < BEAT * SECOND:
                for link in self.opened[-2:]:
                    self.hear(link, trade(self.now // SECOND))
            self.step()
        return self

    def step(self) -> list[Action]:
        actions = self.supervisor.step(self.now)
        for action in actions:
            match action:
                case Open(link):
                    self.opened.append(link)
                case Hangup(link):
                    self.hung_up.append(link)
                case Send(link, text):
                    self.sent.append((link, json.loads(text), self.now))
                    if self.answers:
                        self.acknowledge(link, json.loads(text)["id"])
        return actions

    def acknowledge(self, link: int, number: int, **answer: Any) -> None:
        self.hear(link, json.dumps({"result": None, "id": number, **answer}).encode())

    def hear(self, link: int, *frames: bytes) -> None:
        self.supervisor.received(link, frames, self.now)

    def connect(self) -> int:
        """The next connection comes about and is asked for everything."""
        while not self.opened or self.opened[-1] in self.hung_up:
            self.after(1)
        link = self.opened[-1]
        self.supervisor.opened(link, self.now)
        self.step()
        return link


def test_nobody_listening_means_no_connection() -> None:
    assert Scene().after(60).opened == []


def test_a_connection_is_asked_for_what_is_wanted_and_its_listener_hears_when_it_is_confirmed() -> None:
    scene = Scene(TRADES, QUOTES, BARS)
    scene.step()
    assert scene.opened == [1]
    assert scene.sent == []
    link = scene.connect()
    assert scene.sent[0][1]["params"] == ["btcusdt@kline_1m", "btcusdt@bookTicker", "btcusdt@trade"]
    assert scene.ear.of("up") == [(Channel.CANDLE, link), (Channel.QUOTE, link), (Channel.TRADE, link)]


def test_a_first_frame_confirms_what_the_venue_has_not_answered_yet() -> None:
    scene = Scene(TRADES)
    scene.answers = False
    link = scene.connect()
    scene.hear(link, trade(7))
    assert scene.ear.said == [("up", Channel.TRADE, link), ("event", 7)]


def test_the_venues_word_after_a_first_frame_says_nothing_new() -> None:
    scene = Scene(TRADES)
    scene.answers = False
    link = scene.connect()
    scene.hear(link, trade(7))
    scene.acknowledge(link, scene.sent[-1][1]["id"])
    assert scene.ear.of("up") == [(Channel.TRADE, link)]


def test_a_second_listener_hears_at_once_that_a_channel_is_up() -> None:
    scene, second = Scene(TRADES), Ear()
    link = scene.connect()
    scene.supervisor.subscribe([TRADES], second, scene.now)
    scene.hear(link, trade(7))
    assert second.said == [("up", Channel.TRADE, link), ("event", 7)]
    assert len(scene.sent) == 1
    scene.supervisor.unsubscribe([TRADES], second)
    scene.hear(link, trade(8))
    assert second.events == [7]
    assert scene.ear.events == [7, 8]


def test_what_nobody_wants_any_more_is_asked_for_no_more_and_the_last_to_leave_hangs_up() -> None:
    scene = Scene(TRADES, QUOTES)
    link = scene.connect()
    scene.supervisor.unsubscribe([QUOTES], scene.ear)
    scene.step()
    assert scene.sent[-1][1] == {
        "method": "UNSUBSCRIBE",
        "params": ["btcusdt@bookTicker"],
        "id": scene.sent[-1][1]["id"],
    }
    scene.supervisor.unsubscribe([TRADES], scene.ear)
    scene.step()
    assert scene.hung_up == [link]


def test_pauses_grow_until_data_comes_and_being_connected_is_not_data() -> None:
    scene = Scene(TRADES)
    began: list[int] = []
    for _ in range(8):
        scene.connect()
        began.append(scene.now)
        scene.supervisor.ended(scene.opened[-1], "cut", scene.now)
        scene.hung_up.append(scene.opened[-1])
    pauses = [(later - earlier) / SECOND for earlier, later in pairwise(began)]
    assert pauses[-1] > 8
    assert pauses == sorted(pauses)
    scene.hear(scene.connect(), trade(1))
    assert scene.supervisor.backoff.tries == 0


def test_retry_after_is_a_floor_for_the_pause() -> None:
    scene = Scene(TRADES)
    scene.step()
    scene.supervisor.ended(1, "429", scene.now, retry_after=40.0)
    assert scene.after(39.5).opened == [1]
    assert scene.after(1).opened == [1, 2]


def test_connection_attempts_and_messages_keep_to_what_the_venue_allows() -> None:
    codec = Binance()
    codec.streaming = replace(BINANCE.streaming, attempts=(5, 300.0), batch=1)
    subs = [Subscription(Channel.TRADE, f"S{number}") for number in range(9)]
    scene = Scene(*subs, codec=codec)
    scene.connect()
    scene.after(5, hears=True)
    times = [at for _, _, at in scene.sent]
    assert len(times) == 9
    assert all(later - earlier >= SECOND for earlier, later in zip(times, times[3:], strict=False))
    scene.supervisor.backoff._most = 1.0
    for _ in range(200):
        scene.after(1)
        if scene.opened[-1] not in scene.hung_up:
            scene.supervisor.ended(scene.opened[-1], "cut", scene.now)
            scene.hung_up.append(scene.opened[-1])
    assert len(scene.opened) == 5


def test_a_mute_connection_is_replaced_and_acknowledgements_do_not_keep_it() -> None:
    scene = Scene(TRADES, mute_after=15.0)
    link = scene.connect()
    for second in range(14):
        scene.after(1)
        scene.acknowledge(link, 1_000 + second)
    assert scene.hung_up == []
    scene.after(2)
    assert scene.hung_up == [link]
    assert "mute for 15 s" in scene.ear.of("down")[0][1]


def test_a_quiet_connection_that_rest_vouches_for_is_kept() -> None:
    scene = Scene(TRADES)
    scene.connect()
    for _ in range(10):
        scene.after(10)
        scene.supervisor.vouch(scene.now)
    assert scene.hung_up == []


def test_a_venue_that_does_not_confirm_loses_the_connection() -> None:
    scene = Scene(TRADES, QUOTES)
    scene.answers = False
    link = scene.connect()
    for second in range(20):
        scene.hear(link, trade(second))
        scene.after(1)
    assert scene.hung_up == [link]
    assert (Channel.QUOTE, "the venue did not confirm the subscriptions") in scene.ear.of("down")


def test_an_attempt_that_leads_nowhere_is_given_up() -> None:
    scene = Scene(TRADES)
    scene.step()
    scene.after(16)
    assert scene.hung_up == [1]
    assert scene.after(2).opened == [1, 2]


def test_a_refused_subscription_is_told_to_whom_it_concerns_and_asked_for_again_after_growing_pauses() -> None:
    scene, other = Scene(TRADES), Ear()
    scene.answers = False
    link = scene.connect()
    scene.acknowledge(link, 1)
    wrong = Subscription(Channel.TRADE, "NOPE")
    scene.supervisor.subscribe([wrong], other, scene.now)
    scene.step()
    scene.hear(link, json.dumps({"error": {"code": 2, "msg": "Invalid request"}, "id": 2}).encode())
    assert "Invalid request" in other.of("down")[0][1]
    assert scene.ear.of("down") == []
    for asked, pause in ((3, 15), (4, 30), (5, 60)):
        began = scene.now
        while len(scene.sent) < asked:
            scene.after(1, hears=True)
        assert pause <= (scene.now - began) / SECOND <= pause + 2
        scene.hear(link, json.dumps({"error": {"code": 2, "msg": "no"}, "id": scene.sent[-1][1]["id"]}).encode())
    scene.after(130, hears=True)
    scene.acknowledge(link, scene.sent[-1][1]["id"])
    assert other.of("up") == [(Channel.TRADE, link)]


def test_what_comes_all_the_same_was_not_refused_and_is_not_asked_for_again() -> None:
    scene = Scene(TRADES)
    scene.answers = False
    link = scene.connect()
    scene.acknowledge(link, 1, error={"code": 2, "msg": "somebody asked for something wrong"})
    scene.hear(link, trade(1))
    assert scene.ear.of("up") == [(Channel.TRADE, link)]
    scene.after(60, hears=True)
    assert len(scene.sent) == 1


def test_a_list_of_all_that_is_subscribed_clears_what_an_error_that_named_nobody_was_taken_for() -> None:
    link = Link(1, START, Allowance(1, 1.0), asked={TRADES, QUOTES})
    link.pending[1] = START, {TRADES, QUOTES, BARS}
    link.confirmed = {BARS}  # a frame of it has come
    assert link.answered(Ack(None, "no")) == {TRADES, QUOTES}
    link.refused = {TRADES: START, QUOTES: START}
    assert link.answered(Ack(None, active=frozenset({(Channel.TRADE, TRADES.native)}))) == {TRADES}


def test_an_unreadable_frame_ends_the_connection() -> None:
    scene = Scene(TRADES)
    link = scene.connect()
    scene.hear(link, b'{"stream":"btcusdt@trade","data":{"s":')
    scene.step()
    assert scene.hung_up == [link]
    assert "can't be read" in scene.ear.of("down")[0][1]


def test_what_was_read_together_is_handed_on_together_and_in_its_order() -> None:
    class Counting(Ear):
        def take(self, events: Sequence[MarketEvent], now: int) -> None:
            super().take(events, now)
            self.said.append(("together", len(events)))

    scene = Scene()
    ears = Counting(), Counting()
    scene.supervisor.subscribe([TRADES, QUOTES], ears[0], scene.now)
    scene.supervisor.subscribe([QUOTES], ears[1], scene.now)
    scene.hear(scene.connect(), trade(1), quote(2), trade(3))
    assert [ear.events for ear in ears] == [[1, 2, 3], [2]]
    assert [ear.of("together") for ear in ears] == [[(3,)], [(1,)]]


def test_what_came_before_a_word_about_a_channel_or_an_unreadable_frame_is_handed_on_before_it() -> None:
    scene = Scene(TRADES)
    link = scene.connect()
    scene.answers = False
    scene.supervisor.subscribe([QUOTES], scene.ear, scene.now)
    scene.step()
    scene.hear(link, trade(1), quote(2), trade(3), b"rubbish", trade(4))
    assert [said[:2] for said in scene.ear.said] == [
        ("up", Channel.TRADE),
        ("event", 1),
        ("up", Channel.QUOTE),
        ("event", 2),
        ("event", 3),
        ("down", Channel.TRADE),
        ("down", Channel.QUOTE),
    ]


def test_a_listener_that_fails_costs_the_others_nothing() -> None:
    class Deaf(Ear):
        def take(self, events: Sequence[MarketEvent], now: int) -> None:
            raise ZeroDivisionError

    scene = Scene()
    scene.supervisor.subscribe([TRADES], Deaf(), scene.now)
    scene.supervisor.subscribe([TRADES], scene.ear, scene.now)
    scene.hear(scene.connect(), trade(1))
    assert scene.ear.events == [1]
    assert "ZeroDivisionError" in str(scene.supervisor.last_error)


# -- a channel asked for anew


def test_a_renewed_channel_is_dropped_asked_for_again_and_up_only_by_the_venues_word() -> None:
    scene = Scene(TRADES, QUOTES)
    link = scene.connect()
    scene.answers = False
    scene.supervisor.renew(TRADES, scene.now)
    scene.after(1)
    assert [message["method"] for _, message, _ in scene.sent] == ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"]
    scene.hear(link, trade(5))  # of the old subscription
    scene.hear(link, quote(5))
    assert scene.ear.events == [5]
    scene.acknowledge(link, scene.sent[-1][1]["id"])
    scene.hear(link, trade(6))
    assert scene.ear.said[-2:] == [("up", Channel.TRADE, link), ("event", 6)]


def test_a_channel_that_stays_amiss_costs_the_connection() -> None:
    scene = Scene(TRADES, QUOTES)
    link = scene.connect()
    for _ in range(3):
        scene.hear(link, quote(1))
        scene.supervisor.renew(TRADES, scene.now)
        scene.after(5)
    assert scene.hung_up == [link]


class InStream(Binance):
    """A venue whose books begin with a snapshot in the stream."""

    streaming = replace(BINANCE.streaming, book=BookRule.CONNECTION)

    def decode(self, frame: bytes | str) -> Any:
        if frame == b"snapshot":
            return (BookSnapshot("BTCUSDT", 0, [(1.0, 1.0)], [(2.0, 1.0)]),)
        return BINANCE.decode(frame)


def test_a_snapshot_confirms_a_renewed_book_before_the_venues_word_does() -> None:
    scene = Scene(BOOK, codec=InStream())
    link = scene.connect()
    scene.answers = False
    scene.supervisor.renew(BOOK, scene.now)
    scene.after(1)
    scene.hear(link, b"snapshot")
    assert scene.ear.of("up") == [(Channel.BOOK, link)] * 2


def test_a_second_listener_to_a_book_that_began_in_the_stream_has_it_told_anew() -> None:
    scene, second = Scene(BOOK, codec=InStream()), Ear()
    link = scene.connect()
    for _ in range(5):  # and whoever joins costs nobody the connection
        scene.supervisor.subscribe([BOOK], second, scene.now)
        scene.hear(link, b"snapshot")
        scene.after(1)
    assert scene.hung_up == []
    assert [message["method"] for _, message, _ in scene.sent[-2:]] == ["UNSUBSCRIBE", "SUBSCRIBE"]
    assert second.of("up")[-1] == (Channel.BOOK, link)


# -- rotation


def rotate(scene: Scene) -> tuple[int, int]:
    old = scene.connect()
    scene.hear(old, json.dumps({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}).encode())
    scene.step()
    assert scene.hung_up == []
    return old, scene.connect()


def test_a_goodbye_is_met_by_a_second_connection_and_nothing_is_told_twice_or_missed() -> None:
    scene = Scene(TRADES)
    old, new = rotate(scene)
    for number in range(1, 31):
        if old not in scene.hung_up:
            scene.hear(old, trade(number))
        scene.hear(new, trade(number))
        scene.after(0.25)
    assert scene.hung_up == [old]
    assert list(dict.fromkeys(scene.ear.events)) == list(range(1, 31))
    assert scene.ear.of("down") == []
    assert scene.supervisor.handovers == 1


def test_the_second_connection_is_held_back_while_the_first_is_in_use() -> None:
    scene = Scene(TRADES)
    old, new = rotate(scene)
    scene.hear(new, trade(2))
    assert scene.ear.events == []
    scene.hear(old, trade(1))
    assert scene.ear.events == [1]


def test_a_first_connection_that_dies_beside_its_successor_is_followed_without_a_hole() -> None:
    scene = Scene(TRADES)
    old, new = rotate(scene)
    for number in range(1, 9):
        scene.hear(old, trade(number))
        scene.hear(new, trade(number))
        scene.now += OVERLAP // 6
    scene.hear(new, trade(9))
    scene.supervisor.ended(old, "cut", scene.now)
    assert scene.ear.of("down") == []
    assert list(dict.fromkeys(scene.ear.events)) == list(range(1, 10))


def test_a_first_connection_that_dies_too_soon_is_said_to_have_dropped() -> None:
    scene = Scene(TRADES)
    old, new = rotate(scene)
    scene.hear(old, trade(1))
    scene.hear(new, trade(3))
    scene.supervisor.ended(old, "cut", scene.now)
    assert scene.ear.said[-3:] == [("down", Channel.TRADE, "cut"), ("up", Channel.TRADE, new), ("event", 3)]


def test_that_rest_vouches_for_a_connection_does_not_show_that_nothing_was_missed_on_it() -> None:
    scene = Scene(TRADES)
    old, new = rotate(scene)
    for number in range(2, 30):
        scene.hear(new, trade(number))
        scene.supervisor.vouch(scene.now)
        scene.after(0.1)
    assert scene.supervisor.handovers == 0
    scene.supervisor.ended(old, "gone", scene.now)
    assert scene.ear.of("down") == [(Channel.TRADE, "gone")]


def test_an_old_connection_that_is_mute_beside_a_lively_new_one_is_a_drop() -> None:
    scene = Scene(TRADES)
    _, new = rotate(scene)
    for number in range(40):
        scene.hear(new, trade(number))
        scene.after(0.25)
    assert "mute" in scene.ear.of("down")[0][1]
    assert scene.ear.of("up")[-1] == (Channel.TRADE, new)


@pytest.mark.parametrize("beats", [True, False])
def test_beside_a_quiet_old_connection_its_heartbeats_prove_that_nothing_is_missed(beats: bool) -> None:
    scene = Scene(TRADES, codec=InStream())
    old, new = rotate(scene)
    for _ in range(36):
        if beats and old not in scene.hung_up:
            scene.hear(old, b'{"channel":"heartbeat"}')
        scene.supervisor.vouch(scene.now)
        scene.after(0.25)
    assert scene.supervisor.handovers == beats
    assert scene.ear.of("down") == (
        [] if beats else [(Channel.TRADE, "the connection was mute while the one opened to replace it was not")]
    )
    assert new not in scene.hung_up


def test_retry_after_of_a_refused_successor_holds_for_every_attempt() -> None:
    scene = Scene(TRADES)
    old, new = rotate(scene)
    scene.supervisor.ended(new, "429", scene.now, retry_after=30.0)
    scene.supervisor.ended(old, "cut", scene.now)
    assert scene.after(29).opened == [old, new]
    assert len(scene.after(2).opened) == 3


def test_a_channel_that_only_the_successor_carries_comes_up_with_it() -> None:
    scene = Scene(TRADES, QUOTES)
    old = scene.connect()
    scene.answers = False
    scene.supervisor.renew(QUOTES, scene.now)
    scene.after(1)
    scene.hear(old, json.dumps({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}).encode())
    scene.step()
    scene.answers = True
    new = scene.connect()
    for number in range(30):
        scene.hear(old, trade(number))
        scene.hear(new, trade(number))
        scene.after(0.25)
    assert scene.supervisor.handovers == 1
    assert scene.ear.of("up")[-1] == (Channel.QUOTE, new)


def test_a_connection_is_replaced_before_the_venue_cuts_it() -> None:
    scene = Scene(TRADES, lifetime=120.0)
    old = scene.connect()
    scene.after(100, hears=True)
    assert scene.opened == [old]
    scene.after(12, hears=True)
    assert len(scene.opened) == 2


def test_a_successor_that_can_not_be_opened_is_tried_again_with_growing_pauses_while_the_old_one_goes_on() -> None:
    scene = Scene(TRADES, mute_after=1e6)
    old = scene.connect()
    scene.hear(old, json.dumps({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}).encode())
    for _ in range(240):
        scene.after(0.25)
        if scene.opened[-1] != old and scene.opened[-1] not in scene.hung_up:
            scene.supervisor.ended(scene.opened[-1], "refused", scene.now)
            scene.hung_up.append(scene.opened[-1])
        scene.hear(old, trade(1))
    assert 5 <= len(scene.opened) <= 9
    assert old not in scene.hung_up


# -- a connection that counts its frames


class Counting(Binance):
    """Binance's frames, each with the number its venue would give it."""

    def decode(self, frame: bytes | str) -> Any:
        said: list[Any] = []
        for event in super().decode(frame):
            said += [Numbered(event.id), event] if isinstance(event, Trade) else [event]
        return said


def test_a_hole_in_a_connections_numbering_ends_it_before_the_frame_after_it_is_believed() -> None:
    scene = Scene(TRADES, codec=Counting())
    link = scene.connect()
    for number in (1, 2, 4):
        scene.hear(link, trade(number))
    assert scene.ear.events == [1, 2]
    assert scene.supervisor.sequence_gaps == 1
    assert scene.ear.of("down") == [(Channel.TRADE, "frames 3 to 3 of the connection did not come")]


@pytest.mark.parametrize("seed", range(5))
def test_pauses_lie_between_half_and_all_of_what_they_have_grown_to(seed: int) -> None:
    backoff = Backoff(seed, first=1.0, most=8.0)
    pauses = [backoff.next() for _ in range(6)]
    for pause, longest in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert longest / 2 <= pause <= longest
    backoff.reset()
    assert backoff.next() <= 1.0
