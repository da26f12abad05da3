"""An account's stream on real sockets: kept up, told in order, never heard of in a log."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from kit.clock import SECOND, ManualClock, Offset, VenueClock
from kit.errors import VenueUnreachable
from kit.model import OrderStatus, Report
from kit.net import account_stream
from kit.net.account_stream import AccountStream
from kit.net.loop import Loop
from kit.net.supervisor import Backoff
from kit.venues.base import Key, Standing
from kit.venues.binance import BINANCE
from tests.net.serving import end

Eventually = Callable[[Callable[[], object]], None]
NOW = 1_700_000_000 * SECOND
KEY = Key("keyid" * 10, "secret" * 10)


class Door:
    """A WebSocket API that does what a test says; it answers subscriptions and tells what it is given to tell."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any] | None] = []
        """What the next subscriptions are answered with, in their order; None: not at all."""
        self.refuse = 0
        self.open: list[ServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kit-test-door", daemon=True)
        self._thread.start()
        self._server: Server = self._do(self._serve())

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/ws-api/v3"

    def tell(self, event: dict[str, Any] | str, *, to: int = -1) -> None:
        text = event if isinstance(event, str) else json.dumps({"subscriptionId": 0, "event": event})
        self._do(self.open[to].send(text))

    def drop(self) -> None:
        for connection in list(self.open):
            self._loop.call_soon_threadsafe(connection.transport.abort)

    def close(self) -> None:
        self.drop()
        self._do(end(self._server))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self) -> Server:
        return await serve(self._converse, "127.0.0.1", 0, process_request=self._admit, compression=None)

    def _admit(self, connection: ServerConnection, _: Request) -> Response | None:
        if not self.refuse:
            return None
        self.refuse -= 1
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")

    async def _converse(self, connection: ServerConnection) -> None:
        self.open.append(connection)
        with suppress(ConnectionClosed):
            async for text in connection:
                message = json.loads(text)
                self.asked.append(message)
                answer = self.answers.pop(0) if self.answers else {"status": 200, "result": {"subscriptionId": 0}}
                if answer is not None:
                    await connection.send(json.dumps({"id": message["id"], **answer}))
        self.open.remove(connection)


class Rest:
    """A clock that is right once it was measured."""

    def __init__(self) -> None:
        self.clock = VenueClock(ManualClock(NOW))
        self.measured = 0
        self.away = False

    def sync(self) -> None:
        if self.away:
            raise VenueUnreachable("the clock could not be read")
        self.measured += 1
        self.clock.offset = Offset(self.measured * SECOND, 1_000)


class Listener:
    """Keeps what it is told, and by which thread."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.threads: set[str] = set()
        self.broken = False

    def up(self, at: int) -> None:
        self._keep(("up", at))

    def down(self, reason: str) -> None:
        self._keep(("down", reason))

    def heard(self, news: object) -> None:
        if self.broken:
            self.broken = False
            raise ValueError("a mistake of the listener")
        self._keep(news)

    def _keep(self, what: object) -> None:
        self.told.append(what)
        self.threads.add(threading.current_thread().name)

    @property
    def words(self) -> list[str]:
        return [each[0] for each in self.told if isinstance(each, tuple)]

    @property
    def why(self) -> list[str]:
        return [each[1] for each in self.told if isinstance(each, tuple) and each[0] == "down"]

    @property
    def filled(self) -> list[Decimal]:
        return [each.filled for each in self.told if isinstance(each, Standing)]


def execution(filled: str) -> dict[str, Any]:
    return {
        "e": "executionReport", "E": 1, "s": "BTCUSDT", "c": "mine", "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "9",
        "p": "1", "C": "", "x": "TRADE", "X": "PARTIALLY_FILLED", "i": 7, "l": "1", "z": filled, "L": "1", "n": "0",
        "N": None, "T": 1, "t": int(filled),
    }  # fmt: skip


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


@pytest.fixture
def rest() -> Rest:
    return Rest()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def stream(door: Door, rest: Rest, listener: Listener, loop: Loop) -> Iterator[AccountStream]:
    made = AccountStream(BINANCE, door.url, KEY, rest, loop=loop, name="test", seed=1)
    made.backoff = Backoff(1, first=0.02)
    yield made
    made.close()
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "kit-account-test"]


@pytest.fixture
def up(stream: AccountStream, listener: Listener, eventually: Eventually) -> AccountStream:
    stream.start(listener)
    eventually(lambda: listener.words == ["up"])
    return stream


def test_news_are_told_in_their_order_on_a_thread_of_their_own(
    door: Door, up: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    for filled in ("1", "2", "3"):
        door.tell(execution(filled))
    eventually(lambda: listener.filled == [1, 2, 3])
    assert [type(each) for each in listener.told[1:3]] == [Report, Standing]
    assert listener.told[2].status is OrderStatus.PARTIAL
    assert listener.threads == {"kit-account-test"}


def test_the_subscription_is_signed_by_the_venues_clock(
    door: Door, up: AccountStream, rest: Rest, listener: Listener
) -> None:
    assert rest.measured == 1
    [message] = door.asked
    assert message["method"] == "userDataStream.subscribe.signature"
    assert message["params"]["timestamp"] == (NOW + SECOND) // 1000
    assert listener.told == [("up", NOW + SECOND)]


def test_a_clock_that_is_refused_is_measured_and_the_same_asked_once_more(
    door: Door, stream: AccountStream, rest: Rest, listener: Listener, eventually: Eventually
) -> None:
    door.answers = [{"status": 400, "error": {"code": -1021, "msg": "Timestamp for this request is outside"}}]
    stream.start(listener)
    eventually(lambda: listener.words == ["up"])
    assert (rest.measured, len(door.asked), stream.connections) == (2, 2, 1)
    assert door.asked[1]["params"]["timestamp"] == (NOW + 2 * SECOND) // 1000


def test_what_the_venue_refuses_is_said_in_its_words_and_asked_again_later(
    door: Door, stream: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    door.answers = [{"status": 401, "error": {"code": -2015, "msg": f"Invalid API-key {KEY.id}, IP, or permissions"}}]
    stream.start(listener)
    eventually(lambda: listener.why)
    assert listener.why == ["Invalid API-key …, IP, or permissions (-2015)"]
    assert stream.last_error == listener.why[0]
    stream.close()
    assert len(door.asked) == 1


def test_a_connection_that_breaks_is_opened_again(
    door: Door, up: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    door.refuse = 1
    door.drop()
    eventually(lambda: listener.words == ["up", "down", "down", "up"])
    assert "503" in listener.why[1]
    door.tell(execution("1"))
    eventually(lambda: listener.filled == [1])


def test_pauses_grow_until_the_account_has_news(
    door: Door, up: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    for times in (2, 3):
        door.drop()
        eventually(lambda times=times: listener.words.count("up") == times)  # type: ignore[misc]  # a default argument
    assert up.backoff.tries == 2
    door.tell(execution("1"))
    eventually(lambda: listener.filled)
    assert up.backoff.tries == 0


@pytest.mark.parametrize("kind", ["eventStreamTerminated", "serverShutdown"])
def test_before_an_end_that_is_announced_the_next_connection_is_opened(
    kind: str, door: Door, up: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    door.answers = [None]  # the next subscription is not confirmed yet
    door.tell({"e": kind, "E": 1})
    eventually(lambda: len(door.asked) == 2)
    door.tell(execution("1"), to=0)  # the old one still tells
    eventually(lambda: listener.filled == [1])
    door.tell(json.dumps({"id": door.asked[1]["id"], "status": 200}), to=1)
    eventually(lambda: listener.words == ["up", "up"])
    eventually(lambda: len(door.open) == 1)
    door.tell(execution("2"))
    eventually(lambda: listener.filled == [1, 2])


def test_a_connection_that_gets_old_is_replaced_without_a_hole(
    door: Door, stream: AccountStream, listener: Listener, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AccountStream, "_lifetime", 0.05)
    stream.start(listener)
    eventually(lambda: listener.words[:3] == ["up", "up", "up"])
    eventually(lambda: len(door.open) <= 2)


def test_a_connection_that_does_not_tell_what_it_should_is_given_up(
    door: Door, up: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    up.renew("the order's echo did not come")
    eventually(lambda: listener.words == ["up", "down", "up"])
    assert listener.why == ["the order's echo did not come"]
    eventually(lambda: len(door.open) == 1)


@pytest.mark.parametrize("frame", ["{", '{"e":"executionReport","x":"TRADE"}'])
def test_a_frame_that_can_not_be_read_costs_the_connection(
    frame: str, door: Door, up: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    door.tell(frame)
    eventually(lambda: listener.words == ["up", "down", "up"])


def test_news_that_could_not_be_taken_in_are_read_again(
    door: Door, up: AccountStream, listener: Listener, eventually: Eventually
) -> None:
    listener.broken = True
    door.tell(execution("1"))
    eventually(lambda: listener.words == ["up", "down", "up"])
    assert "a mistake of the listener" in listener.why[0]


def test_a_subscription_that_is_not_answered_is_given_up(
    door: Door, stream: AccountStream, listener: Listener, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_stream, "ANSWERED_WITHIN", 0.05)
    door.answers = [None]
    stream.start(listener)
    eventually(lambda: listener.words[-1:] == ["up"])
    assert set(listener.why) == {"the venue did not answer the subscription"}  # on a busy machine some more take long


def test_a_clock_that_can_not_be_measured_is_tried_again(
    door: Door, stream: AccountStream, rest: Rest, listener: Listener, eventually: Eventually
) -> None:
    rest.away = True
    stream.start(listener)
    eventually(lambda: listener.words[:2] == ["down", "down"])
    rest.away = False
    eventually(lambda: listener.words[-1] == "up")


def test_nothing_that_is_signed_is_ever_logged_or_shown(
    door: Door, stream: AccountStream, listener: Listener, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("kit.net.socket", "websockets", "websockets.client"):
        caplog.set_level(logging.DEBUG, name)
    door.answers = [{"status": 400, "error": {"code": -1022, "msg": f"bad {KEY.id}"}}]
    stream.start(listener)
    eventually(lambda: listener.why)
    text = " ".join(record.getMessage() for record in caplog.records if "server" not in record.name)
    shown = text + repr(stream) + repr(vars(stream)) + repr(listener.told)
    for secret in (KEY.id, KEY.secret, door.asked[0]["params"]["signature"]):
        assert secret not in shown
        assert secret[-12:] not in shown


def test_closing_leaves_no_thread_no_connection_and_no_word(
    door: Door, up: AccountStream, loop: Loop, eventually: Eventually, capfd: pytest.CaptureFixture[str]
) -> None:
    up.close()
    eventually(lambda: not door.open)
    assert not loop._tasks
    assert loop.last_error is None
    assert capfd.readouterr() == ("", "")


def test_closing_at_the_very_moment_of_the_answer_leaves_nothing_running(
    door: Door,
    stream: AccountStream,
    listener: Listener,
    loop: Loop,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = stream._answered

    def closing(*answer: Any) -> None:
        answered(*answer)
        stream._quit()

    monkeypatch.setattr(stream, "_answered", closing)
    stream.start(listener)
    eventually(lambda: door.asked and not loop._tasks)


def test_a_loop_that_ends_first_leaves_nothing_either(
    door: Door, up: AccountStream, loop: Loop, eventually: Eventually, capfd: pytest.CaptureFixture[str]
) -> None:
    loop.close()
    up.close()
    eventually(lambda: not door.open)
    assert capfd.readouterr() == ("", "")
