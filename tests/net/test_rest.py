"""REST against servers that answer, refuse, drop, delay, redirect, babble and fall silent, on real sockets."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import logging
import os
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kit.clock import MINUTE, SECOND, ManualClock, Offset, WallClock
from kit.errors import (
    BadAnswer,
    ClockSkew,
    KeyRefused,
    KitError,
    MissingKey,
    OutcomeUnknown,
    RateLimited,
    UsageError,
    VenueRefused,
    VenueUnreachable,
)
from kit.model import Instrument, OrderRequest, OrderType, Side
from kit.net import rest as room
from kit.net.rest import Rest
from kit.venues.base import Call, Hosts, Key
from kit.venues.binance import BINANCE

T0 = 1_767_225_600_000_000
KEY = Key("CANARYKEY" + "k" * 55, "CANARYSECRET" + "s" * 52)
BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.01"))
ORDER = BINANCE.order(BTC, BUY, "client1")
TIME = BINANCE.time()
CANCELLED = {"symbol": "BTCUSDT", "origClientOrderId": "client1", "orderId": 28, "status": "CANCELED"}
PLACED = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "clientOrderId": "client1",
    "transactTime": T0 // 1000,
    "price": "0",
    "origQty": "0.01",
    "executedQty": "0.01",
    "cummulativeQuoteQty": "1000",
    "status": "FILLED",
    "timeInForce": "GTC",
    "type": "MARKET",
    "side": "BUY",
    "fills": [{"price": "100000", "qty": "0.01", "commission": "0", "commissionAsset": "BTC", "tradeId": 1}],
}


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    query: str
    body: str

    @property
    def params(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.query + self.body).items()}


class Handler(BaseHTTPRequestHandler):
    """Does what the next step of its server's script says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body leave in two writes: the second would wait 40 ms for the first
    server: Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def respond(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        seen = Seen(self.command, url.path, dict(self.headers.items()), url.query, body)
        self.server.seen.append(seen)
        self.server.peers.add(self.client_address)
        self.server.step(seen)(self)

    do_GET = do_POST = do_DELETE = respond  # noqa: N815 - http.server's spelling

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


Step = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """A venue that follows a script; the clock and, when the script has ended, the last step are repeated."""

    daemon_threads = True
    script: list[Step]
    seen: list[Seen]
    peers: set[Any]
    time: int
    """What its clock shows, in ms."""

    def step(self, seen: Seen) -> Step:
        if seen.path == "/api/v3/time":
            return answer({"serverTime": self.time})
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    @property
    def asked(self) -> list[str]:
        """What was asked for, without the clock."""
        return [seen.method for seen in self.seen if seen.path != "/api/v3/time"]


def answer(body: object, status: int = 200, **headers: str) -> Step:
    """A whole answer; a body that is not bytes is sent as JSON."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()

    def do(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(payload)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(payload)

    return do


def drop(handler: Handler) -> None:
    """Take the request and close the connection."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def half(handler: Handler) -> None:
    """Begin an answer and close the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"symbol"')
    drop(handler)


def silence(handler: Handler) -> None:
    """Answer nothing until the client has gone."""
    handler.connection.settimeout(10)
    handler.connection.recv(1)
    handler.close_connection = True


@contextmanager
def serving(*script: Step) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.script, server.seen, server.peers, server.time = list(script), [], set(), T0 // 1000
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Client:
    """A Rest on a clock that only its own waits move."""

    rest: Rest
    clock: ManualClock
    waits: list[float] = field(default_factory=list)


@contextmanager
def client(where: Server | str, key: Key | None = KEY, timeout: tuple[float, float] = (2.0, 2.0)) -> Iterator[Client]:
    clock, waits = ManualClock(T0), list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(round(seconds * SECOND))

    url = where if isinstance(where, str) else f"http://127.0.0.1:{where.server_port}"
    rest = Rest(BINANCE, Hosts(url, ""), key=key, clock=clock, sleep=sleep, timeout=timeout, seed=7)
    try:
        yield Client(rest, clock, waits)
    finally:
        rest.close()


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


def error(code: int, msg: str = "no") -> dict[str, object]:
    return {"code": code, "msg": msg}


# -- what goes out ----------------------------------------------------------------------------------------------------


def test_a_question_goes_out_as_the_codec_spelled_it_and_its_answer_is_read() -> None:
    call = Call("GET", "/api/v3/echo", lambda body: body, (("symbol", "这是测试币456"), ("odd", '["a"]+~ /?&=')))
    with serving(answer([])) as server, client(server, key=None) as c:
        assert c.rest.do(call) == b"[]"
    assert server.seen[0].query == BINANCE.encode(call.params)
    assert server.seen[0].params == dict(call.params)
    assert "X-MBX-APIKEY" not in server.seen[0].headers


def test_a_public_question_carries_no_key_even_when_there_is_one() -> None:
    with serving(answer([])) as server, client(server) as c:
        c.rest.do(TIME)
    assert "X-MBX-APIKEY" not in server.seen[0].headers


@pytest.mark.parametrize("call", [ORDER, BINANCE.cancel(BTC, "client1"), BINANCE.balances()])
def test_a_signed_request_arrives_as_it_was_signed(call: Call[Any]) -> None:
    with serving(answer(error(-2013), 400)) as server, client(server) as c, pytest.raises(VenueRefused):
        c.rest.do(call)
    seen = server.seen[-1]
    signed, _, signature = (seen.query + seen.body).rpartition("&signature=")
    assert signature == hmac.new(KEY.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    assert seen.headers["X-MBX-APIKEY"] == KEY.id
    assert bool(seen.body) is (call.method == "POST")
    assert bool(seen.query) is (call.method != "POST")


def test_a_call_that_needs_a_key_is_refused_before_anything_is_sent_and_says_where_to_put_one() -> None:
    with serving(answer({})) as server, client(server, key=None) as c:
        with pytest.raises(MissingKey, match="PAPERTAPE_BINANCE_SANDBOX_KEY"):
            c.rest.do(ORDER)
        assert not server.seen


def test_a_secret_that_can_not_sign_is_refused_before_anything_is_sent() -> None:
    with serving(answer({})) as server, client(server, key=Key("k" * 64, "-----BEGIN CANARY")) as c:
        with pytest.raises(KeyRefused):
            c.rest.do(ORDER)
        assert not server.asked


# -- the venue's clock ------------------------------------------------------------------------------------------------


def test_the_first_signed_request_measures_the_clock_and_the_second_does_not() -> None:
    with serving(answer(PLACED)) as server, client(server) as c:
        c.clock.set(T0 + 90 * SECOND)  # ours is ahead
        c.rest.do(ORDER)
        c.clock.advance(3 * SECOND)
        c.rest.do(ORDER)
        assert c.rest.clock.now() == T0 + 3 * SECOND + BINANCE.clock_grain // 2
    assert [seen.path for seen in server.seen] == ["/api/v3/time", "/api/v3/order", "/api/v3/order"]
    assert [int(seen.params["timestamp"]) for seen in server.seen[1:]] == [T0 // 1000, T0 // 1000 + 3000]


@pytest.mark.parametrize("call", [ORDER, BINANCE.open_orders(BTC)])
def test_a_refused_timestamp_is_answered_by_setting_the_clock_and_one_more_try(call: Call[Any]) -> None:
    good = answer(PLACED if call is ORDER else [])
    with serving(answer(error(-1021), 400), good) as server, client(server) as c:
        c.rest.do(call)
    assert [seen.path == "/api/v3/time" for seen in server.seen] == [True, False, True, False]


def test_a_timestamp_refused_twice_is_a_clock_skew() -> None:
    with serving(answer(error(-1021), 400)) as server, client(server) as c:
        with pytest.raises(ClockSkew):
            c.rest.do(ORDER)
        assert server.asked == ["POST", "POST"]


def test_the_offset_comes_with_the_bound_that_the_round_trip_leaves() -> None:
    with serving(answer({})) as server:
        rest = Rest(BINANCE, Hosts(f"http://127.0.0.1:{server.server_port}", ""), clock=WallClock())
        measured = rest.sync()
        rest.close()
    assert 0 < measured.uncertainty < 2 * SECOND
    assert abs(rest.clock.now() - T0) < 2 * SECOND


# -- questions are asked again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [drop, half, answer(b"", 502), answer(error(-1000), 500), answer(error(-1007), 504)])
def test_a_question_is_asked_again_until_it_is_answered(fault: Step) -> None:
    with serving(fault, fault, answer([])) as server, client(server) as c:
        assert c.rest.do(BINANCE.open_orders(BTC)) == []
        assert server.asked == ["GET"] * 3
        assert 0.125 <= c.waits[0] <= 0.25 <= c.waits[1] <= 0.5


@pytest.mark.parametrize("fault", [drop, half, answer(b"gone", 503)])
def test_a_question_nobody_answers_is_unreachable_after_a_few_tries(fault: Step) -> None:
    with serving(fault) as server, client(server) as c, pytest.raises(VenueUnreachable, match="changed nothing"):
        c.rest.do(BINANCE.open_orders(BTC))
    assert server.asked == ["GET"] * 4


def test_a_silent_venue_costs_a_question_no_more_than_its_timeouts() -> None:
    with serving(silence) as server, client(server, timeout=(1.0, 0.05)) as c:
        with pytest.raises(VenueUnreachable, match="no answer came in time"):
            c.rest.do(BINANCE.quote("BTCUSDT"))
        assert server.asked == ["GET"] * 4


def test_a_closed_port_is_unreachable(closed_port: str) -> None:
    with client(closed_port) as c, pytest.raises(VenueUnreachable, match="takes no connection"):
        c.rest.do(TIME)


def test_a_venue_that_is_gone_costs_a_signed_question_one_patience_not_one_for_every_try(closed_port: str) -> None:
    with client(closed_port) as c:
        with pytest.raises(VenueUnreachable, match=r"GET /api/v3/time .* takes no connection"):
            c.rest.do(BINANCE.open_orders(BTC))
        assert len(c.waits) == 3


def test_a_host_without_address_is_unreachable() -> None:
    with client("http://nowhere.invalid") as c, pytest.raises(VenueUnreachable, match="resolved"):
        c.rest.do(TIME)


@pytest.mark.parametrize("where", ["http://", "ftp://127.0.0.1", "127.0.0.1:80", "http://[::1"])
def test_an_address_that_is_none_is_said_to_be_none(where: str) -> None:
    with client(where) as c, pytest.raises(VenueUnreachable, match="Nothing was sent"):
        c.rest.do(ORDER)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1, 2", b"\xff\xfe", b'{"serverTime": "soon"}', b"[" * 100_000])
def test_an_answer_that_is_rubbish_is_a_bad_answer_and_not_asked_for_again(body: bytes) -> None:
    with serving(answer(body)) as server, client(server) as c, pytest.raises(BadAnswer):
        c.rest.do(BINANCE.quote("BTCUSDT"))
    assert len(server.seen) == 1


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BIGGEST_ANSWER", 1000)
    with serving(answer(b"[" + b" " * 100_000)) as server, client(server) as c, pytest.raises(VenueUnreachable):
        c.rest.do(BINANCE.quote("BTCUSDT"))


def test_an_answer_that_only_drips_is_given_up() -> None:
    with serving(answer({})) as server, client(server) as c:

        def drip(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            for _ in range(3):
                handler.wfile.write(b"[")
                c.clock.advance(room.LONGEST_ANSWER)
            silence(handler)

        server.script = [drip]
        with pytest.raises(VenueUnreachable, match="no answer came in time"):
            c.rest.do(BINANCE.quote("BTCUSDT"))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("in_chunks", [True, False])
def test_an_answer_may_come_packed_and_in_chunks(packed: bool, in_chunks: bool) -> None:
    trades = [{"id": n, "price": "1", "qty": "2", "time": 3, "isBuyerMaker": True} for n in range(9000)]
    body = json.dumps(trades).encode()

    def piecewise(handler: Handler) -> None:
        sent = gzip.compress(body) if packed else body
        handler.send_response(200)
        if packed:
            handler.send_header("Content-Encoding", "gzip")
        handler.send_header(*(("Transfer-Encoding", "chunked") if in_chunks else ("Content-Length", str(len(sent)))))
        handler.end_headers()
        for at in range(0, len(sent), 5000):
            part = sent[at : at + 5000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if in_chunks else part)
        handler.wfile.write(b"0\r\n\r\n" if in_chunks else b"")

    with serving(piecewise) as server, client(server) as c:
        assert len(c.rest.do(BINANCE.trades("BTCUSDT"))) == 9000
        assert len(c.rest.do(BINANCE.trades("BTCUSDT"))) == 9000
        assert len(server.peers) == 1


def test_a_refusal_is_not_asked_for_again() -> None:
    with serving(answer(error(-1121, "Invalid symbol."), 400)) as server, client(server) as c:
        with pytest.raises(VenueRefused) as caught:
            c.rest.do(BINANCE.quote("NOPE"))
        assert caught.value.code == -1121
        assert len(server.seen) == 1


# -- what may have taken effect is never repeated ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        drop,
        half,
        answer(b"", 502),
        answer(error(-1000), 500),
        answer(error(-1007), 504),
        answer(b"<html>login</html>"),
        answer(b"{}"),
        answer({**PLACED, "status": 3}),
        answer(b"", 307, Location="/api/v3/other"),
        answer(b"", 302, Location="http://127.0.0.1:1/"),
    ],
)
def test_an_order_sent_without_a_plain_answer_is_unknown_and_sent_once(fault: Step) -> None:
    with serving(fault) as server, client(server) as c:
        with pytest.raises(OutcomeUnknown, match="ask with the client id"):
            c.rest.do(ORDER)
        assert [seen.path for seen in server.seen] == ["/api/v3/time", "/api/v3/order"]


def test_an_order_the_venue_is_silent_about_is_unknown_and_sent_once() -> None:
    with serving(silence) as server, client(server, timeout=(1.0, 0.05)) as c:
        with pytest.raises(OutcomeUnknown, match="no answer came in time"):
            c.rest.do(ORDER)
        assert server.asked == ["POST"]


def test_an_order_that_found_no_connection_was_not_sent_and_is_tried_again(closed_port: str) -> None:
    with serving(answer(PLACED)) as server, client(server) as c:
        c.rest.sync()
        c.rest.hosts = Hosts(closed_port, "")
        with pytest.raises(VenueUnreachable, match="Nothing was sent"):
            c.rest.do(ORDER)
        assert len(c.waits) == 2
        assert not server.asked


def test_an_order_turned_away_for_its_rate_is_sent_again_after_the_wait_it_was_told() -> None:
    turned_away = answer(error(-1003), 429, Retry_After="2")
    with serving(turned_away, answer(PLACED)) as server, client(server) as c:
        assert c.rest.do(ORDER)
        assert server.asked == ["POST", "POST"]
        assert 2.0 <= sum(c.waits) <= 2.5


def test_an_order_is_not_kept_waiting_long() -> None:
    with serving(answer(error(-1003), 429, Retry_After="30")) as server, client(server) as c:
        with pytest.raises(RateLimited) as caught:
            c.rest.do(ORDER)
        assert caught.value.retry_after == 30
        with pytest.raises(RateLimited, match="nothing was sent"):
            c.rest.do(ORDER)
        assert server.asked == ["POST"]
        assert c.waits == []


def test_an_address_that_asks_too_much_asks_nothing_more_whatever_was_turned_away() -> None:
    with serving(answer(error(-1003), 418, Retry_After="120")) as server, client(server) as c:
        for call in (ORDER, BINANCE.cancel(BTC, "client1")):
            with pytest.raises(RateLimited):
                c.rest.do(call)
        with pytest.raises(RateLimited, match="nothing was sent"):
            c.rest.do(BINANCE.quote("BTCUSDT"))
        assert server.asked == ["POST"]


def test_too_many_orders_stop_neither_questions_nor_cancels() -> None:
    script = (answer(error(-1015), 429, Retry_After="30"), answer([]), answer(CANCELLED))
    with serving(*script) as server, client(server) as c:
        with pytest.raises(RateLimited):
            c.rest.do(ORDER)
        assert c.rest.do(BINANCE.open_orders(BTC)) == []
        assert c.rest.do(BINANCE.cancel(BTC, "client1"))
        assert server.asked == ["POST", "GET", "DELETE"]
        assert c.waits == []


def test_a_redirected_question_is_told_where_it_was_sent_without_what_it_said() -> None:
    away = answer(b"", 301, Location=f"http://a.invalid/login?signature=abc&apiKey={KEY.id}")
    with serving(away) as server, client(server) as c:
        with pytest.raises(VenueUnreachable, match=r"a\.invalid/login") as caught:
            c.rest.do(BINANCE.balances())
        assert "signature" not in str(caught.value)
        assert all(seen.path.startswith("/api/v3/") for seen in server.seen)


# -- pacing -----------------------------------------------------------------------------------------------------------


def test_retry_after_is_a_floor_under_the_wait_of_a_question() -> None:
    with serving(answer(error(-1003), 429, Retry_After="7"), answer([])) as server, client(server) as c:
        c.rest.do(BINANCE.open_orders(BTC))
        assert server.asked == ["GET", "GET"]
        assert 7.0 <= sum(c.waits) <= 7.5


def test_a_ban_is_told_at_once_and_nothing_more_is_asked_meanwhile() -> None:
    with serving(answer(error(-1003), 418, Retry_After="3600")) as server, client(server) as c:
        with pytest.raises(RateLimited):
            c.rest.do(BINANCE.quote("BTCUSDT"))
        with pytest.raises(RateLimited, match="held back"):
            c.rest.do(BINANCE.quote("BTCUSDT"))
        assert server.asked == ["GET"]
        assert c.waits == []


LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
]
BOOK = {"lastUpdateId": 1, "bids": [], "asks": []}


def test_a_used_up_budget_is_sat_out_until_the_next_minute_of_the_venues_clock() -> None:
    used = answer(BOOK, X_MBX_USED_WEIGHT_1M="5990")
    known = answer({"rateLimits": LIMITS, "symbols": []}, X_MBX_USED_WEIGHT_1M="5999")
    with serving(used, known, answer(BOOK, X_MBX_USED_WEIGHT_1M="5")) as server, client(server) as c:
        server.time += 2_000
        c.clock.set(T0 + 1000 * SECOND)
        for _ in range(3):
            c.rest.do(BINANCE.book("BTCUSDT", 100))
        assert [seen.path.rpartition("/")[2] for seen in server.seen if seen.path != TIME.path] == [
            "depth",
            "exchangeInfo",  # asked for once, when the use became notable
            "depth",
            "depth",
        ]
        assert 58 <= sum(c.waits) < 59
        assert c.rest.clock.now() >= T0 + MINUTE


def test_a_long_wait_is_said_once_and_shows_as_long_as_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    with serving(answer(error(-1003), 429, Retry_After="7"), answer([])) as server, client(server) as c:
        shown: list[float] = []
        slept = c.rest._turns._sleep

        def sleep(seconds: float) -> None:
            shown.append(c.rest.waiting)
            slept(seconds)

        c.rest._turns._sleep = c.rest._sleep = sleep
        c.rest.do(BINANCE.open_orders(BTC))
        assert shown == [pytest.approx(7.0, abs=0.6)]
        assert c.rest.waiting == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "wait for 7 s: the venue said so" in caplog.text


def test_a_wait_that_is_not_waited_for_is_raised_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serving(answer(error(-1003), 418, Retry_After="3600")) as server, client(server) as c:
        with pytest.raises(RateLimited):
            c.rest.do(BINANCE.quote("BTCUSDT"))
        assert c.rest.waiting == 3600
    assert not caplog.records


def test_a_short_wait_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with serving(answer(error(-1003), 429, Retry_After="1"), answer([])) as server, client(server) as c:
        c.rest.do(BINANCE.open_orders(BTC))
    assert not caplog.records


def test_an_order_that_would_wait_longer_than_it_is_meant_for_is_limited_at_once() -> None:
    with serving(answer(error(-1003), 429, Retry_After="30"), answer(PLACED)) as server, client(server) as c:
        with pytest.raises(RateLimited):
            c.rest.do(replace(BINANCE.quote("BTCUSDT"), spare=True))
        with pytest.raises(RateLimited, match="nothing was sent") as caught:
            c.rest.do(ORDER)
        assert 29 <= caught.value.retry_after <= 30
        assert server.asked == ["GET"]
        assert c.waits == []


def test_who_does_not_really_wait_is_not_let_ask_again_and_again() -> None:
    with serving(answer(error(-1003), 429)) as server:
        hosts = Hosts(f"http://127.0.0.1:{server.server_port}", "")
        rest = Rest(BINANCE, hosts, clock=WallClock(), sleep=lambda seconds: None)
        with pytest.raises(RateLimited, match="held back"):
            rest.do(BINANCE.quote("BTCUSDT"))
        rest.close()
        assert len(server.seen) == 1


def test_an_order_waits_for_a_moment() -> None:
    with serving(answer(PLACED)) as server, client(server) as c:
        c.rest.sync()
        with c.rest._turns._pacing.open() as pacer:
            pacer.hold(T0 + 2 * SECOND, order=True, account=c.rest._turns._account)
        c.rest.do(ORDER)
        assert server.asked == ["POST"]
        assert c.waits == [2.0]


def test_a_few_orders_have_a_question_learn_the_limits_and_not_an_order() -> None:
    placed = answer(PLACED, X_MBX_ORDER_COUNT_10S="6")
    known = answer({"rateLimits": LIMITS, "symbols": []})
    with serving(placed, placed, known, answer([])) as server, client(server) as c:
        c.rest.do(ORDER)
        c.rest.do(ORDER)
        c.rest.do(BINANCE.open_orders(BTC))
        paths = [seen.path.rpartition("/")[2] for seen in server.seen if seen.path != TIME.path]
        assert paths == ["order", "order", "exchangeInfo", "openOrders"]


def test_an_order_leaves_though_the_limits_can_not_be_learned_but_no_more_than_the_venue_takes() -> None:
    placed = answer(PLACED, X_MBX_ORDER_COUNT_10S="99")
    known = answer({"rateLimits": LIMITS, "symbols": []})
    full = answer(PLACED, X_MBX_ORDER_COUNT_10S="100")
    with serving(placed, *([answer(b"", 503)] * 3), placed, known, full) as server, client(server) as c:
        server.time += 1_000
        for _ in range(3):
            c.rest.do(ORDER)
        with pytest.raises(RateLimited, match="used up"):
            c.rest.do(ORDER)
        assert server.asked == ["POST", "GET", "GET", "GET", "POST", "GET", "POST"]


def test_a_clock_that_was_measured_long_ago_is_measured_again_and_an_order_leaves_all_the_same() -> None:
    with serving(answer(PLACED)) as server, client(server) as c:
        c.rest.do(ORDER)
        c.clock.advance(11 * MINUTE)
        c.rest.do(ORDER)
        c.rest.do(ORDER)
        assert [seen.path == TIME.path for seen in server.seen] == [True, False, True, False, False]


def test_a_clock_too_rough_to_pace_by_is_measured_again_when_much_is_used() -> None:
    little, much = (answer(BOOK, X_MBX_USED_WEIGHT_1M=used) for used in ("500", "700"))
    with serving(little, much) as server, client(server) as c:
        c.rest._question = None
        c.rest.clock.offset = Offset(0, SECOND)
        c.clock.advance(11 * SECOND)
        for _ in range(4):
            c.rest.do(BINANCE.book("BTCUSDT", 100))
        assert [seen.path == TIME.path for seen in server.seen] == [False, False, True, False, False]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_signed_order_follows_no_redirect(status: int) -> None:
    with serving(answer(PLACED)) as other:
        away = answer(b"", status, Location=f"http://127.0.0.1:{other.server_port}/api/v3/order")
        with serving(away) as server, client(server) as c, pytest.raises(OutcomeUnknown):
            c.rest.do(ORDER)
        assert server.asked == ["POST"]
        assert not other.seen


def test_clients_of_one_home_share_what_is_used_and_what_the_venue_said(tmp_path: Path) -> None:
    with serving(answer(error(-1003), 418, Retry_After="3600")) as server:
        hosts = Hosts(f"http://127.0.0.1:{server.server_port}", "")
        one, two = (Rest(BINANCE, hosts, clock=ManualClock(T0), home=lambda: tmp_path) for _ in range(2))
        with pytest.raises(RateLimited, match="banned for a while"):
            one.do(BINANCE.quote("BTCUSDT"))
        with pytest.raises(RateLimited, match=r"said so, and every program.*pacing\.sqlite"):
            two.do(BINANCE.quote("BTCUSDT"))
        assert two.waiting == 3600
        assert len(server.seen) == 1
        one.close()
        two.close()


# -- discretion -------------------------------------------------------------------------------------------------------


def everything(failure: BaseException) -> str:
    """All that an exception could show: its chain, its arguments, its traceback with local variables."""
    shown: list[str] = []
    link: BaseException | None = failure
    while link is not None:
        shown += [repr(link), repr(link.args), repr(vars(link))]
        ours = link.__traceback__.tb_next if link is failure and link.__traceback__ else link.__traceback__
        shown += traceback.TracebackException(type(link), link, ours, capture_locals=True).format()
        assert link.__cause__ is None
        link = link.__context__
    return "\n".join(shown)


ECHO = json.dumps({"code": -1022, "msg": f"no: {KEY.id} {KEY.secret} signature=CANARYSIGNATURE"}).encode()


@pytest.mark.parametrize("call", [ORDER, BINANCE.query(BTC, "client1"), BINANCE.cancel(BTC, "client1")])
@pytest.mark.parametrize(
    "fault",
    [
        drop,
        half,
        answer(ECHO, 400),
        answer(ECHO, 500),
        answer(ECHO, 404),
        answer(ECHO),
        answer(b"<" + ECHO),
        answer(ECHO, 429),
    ],
)
def test_no_failure_shows_a_key_a_secret_or_a_signature(
    call: Call[Any], fault: Step, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(fault) as server, client(server) as c, pytest.raises(KitError) as caught:
        c.rest.do(call)
    signatures = [seen.params["signature"] for seen in server.seen if "signature" in seen.params]
    assert signatures
    shown = everything(caught.value) + caplog.text
    assert call.path in shown
    for secret in (KEY.id, KEY.secret, "CANARY", *signatures):
        assert secret not in shown


@pytest.mark.parametrize("where", ["http://user:CANARY@nowhere.invalid", "http://user:CANARY@127.0.0.1:1"])
def test_a_password_in_an_address_is_not_shown(where: str) -> None:
    with client(where) as c, pytest.raises(VenueUnreachable) as caught:
        c.rest.do(TIME)
    assert "CANARY" not in str(caught.value)


def test_the_key_is_in_no_picture_of_the_client() -> None:
    with client("http://127.0.0.1:1") as c:
        assert "CANARY" not in repr(c.rest) + repr(vars(c.rest))


def test_the_debug_log_of_a_success_shows_no_signature(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(answer([])) as server, client(server) as c:
        c.rest.do(BINANCE.open_orders(BTC))
    assert "signature=•••" in caplog.text
    assert server.seen[-1].params["signature"] not in caplog.text


# -- connections ------------------------------------------------------------------------------------------------------


def test_threads_share_one_client_and_connections_are_used_again() -> None:
    with serving(answer([])) as server, client(server) as c:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: c.rest.do(BINANCE.open_orders(BTC)), range(60)))
        assert answers == [[]] * 60
        assert len(server.peers) <= 4


def test_a_closed_client_says_so() -> None:
    with serving(answer([])) as server, client(server) as c:
        c.rest.close()
        c.rest.close()
        with pytest.raises(UsageError, match=r"kit\.connect"):
            c.rest.do(TIME)
        assert not server.seen


def test_a_proxy_is_used_but_never_to_reach_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with serving(answer(b"{}", 403)) as proxy, serving(answer([])) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        with client(server) as c:
            c.rest.do(TIME)
        assert not proxy.seen
        with client("http://venue.invalid") as c, pytest.raises(VenueRefused):
            c.rest.do(BINANCE.quote("BTCUSDT"))
        assert len(proxy.seen) == 1


def test_a_proxy_that_refuses_to_connect_means_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answer(b"", 407)) as proxy, serving(answer([])) as server, client(server) as c:
        c.rest.sync()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        vars(c.rest).pop("_environment")
        c.rest.hosts = Hosts("https://venue.invalid", "")
        with pytest.raises(VenueUnreachable, match="Nothing was sent"):
            c.rest.do(ORDER)


def self_signed(folder: Path) -> Path:
    """A certificate for this machine that nobody vouches for, with its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), 1, begin, begin.replace(year=2100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    bare = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, bare)
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_nobody_vouches_for_means_nothing_was_sent(tmp_path: Path) -> None:
    with serving(answer(PLACED)) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed(tmp_path))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        where = f"https://localhost:{server.server_port}"
        with client(where) as c, pytest.raises(VenueUnreachable, match=r"not trusted.*Nothing was sent"):
            c.rest.do(ORDER)
        assert not server.seen
