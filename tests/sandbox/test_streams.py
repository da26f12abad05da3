"""The sandbox's sockets as a plain WebSocket client meets them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kit.sandbox.launcher import Handle

Read = Callable[[ClientConnection, Callable[[Any], bool]], Any]


@pytest.fixture
def caller(sandbox: Handle, call: Any) -> Any:
    return call(sandbox)


@pytest.fixture
def opened(sandbox: Handle) -> Iterator[Callable[..., ClientConnection]]:
    """``opened(path)`` is a stream connection; closed afterwards."""
    with ExitStack() as connections:

        def open_one(path: str, host: str = sandbox.hosts.stream) -> ClientConnection:
            return connections.enter_context(connect(host + path, compression=None, proxy=None))

        yield open_one


def until(connection: ClientConnection, wanted: Callable[[Any], bool], seconds: float = 15) -> Any:
    """The first message that is wanted."""
    ends = time.monotonic() + seconds
    while True:
        message = json.loads(connection.recv(timeout=max(0.01, ends - time.monotonic())))
        if wanted(message):
            return message


def ask(connection: ClientConnection, **wish: Any) -> Any:
    connection.send(json.dumps(wish))
    return until(connection, lambda message: message.get("id", -1) == wish["id"] and "e" not in message)


class TestMarketData:
    def test_a_raw_stream_sends_payloads_as_they_are(self, opened: Any) -> None:
        quote = until(opened("/ws/btcusdt@bookTicker"), lambda _: True)
        assert set(quote) == {"u", "s", "b", "B", "a", "A"}
        assert quote["s"] == "BTCUSDT"

    def test_a_combined_stream_names_the_stream(self, opened: Any) -> None:
        connection = opened("/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@depth5@100ms")
        delta = until(connection, lambda m: m["stream"] == "btcusdt@depth@100ms")["data"]
        assert (delta["e"], delta["s"]) == ("depthUpdate", "BTCUSDT")
        partial = until(connection, lambda m: m["stream"] == "btcusdt@depth5@100ms")["data"]
        assert set(partial) == {"lastUpdateId", "bids", "asks"}
        assert len(partial["bids"]) == 5

    def test_depth_diffs_chain_and_meet_a_snapshot(self, opened: Any, caller: Any) -> None:
        connection = opened("/ws/btcusdt@depth@100ms")
        first = until(connection, lambda _: True)
        snapshot = caller.get("/api/v3/depth", symbol="BTCUSDT", limit=5000)
        last = first["u"]
        bids = dict(snapshot["bids"])
        assert first["U"] <= snapshot["lastUpdateId"] + 1
        for _ in range(8):
            delta = until(connection, lambda _: True)
            assert delta["U"] == last + 1
            last = delta["u"]
            if last > snapshot["lastUpdateId"]:
                bids.update(delta["b"])
        fresh = caller.get("/api/v3/depth", symbol="BTCUSDT", limit=5000)
        if fresh["lastUpdateId"] == last:
            assert {price: qty for price, qty in bids.items() if float(qty)} == dict(fresh["bids"])

    def test_trades_stream_with_the_ids_that_rest_gives_them(self, opened: Any, caller: Any) -> None:
        connection = opened("/stream?streams=btcusdt@trade/btcusdt@aggTrade")
        trade = until(connection, lambda m: m["stream"].endswith("@trade"))["data"]
        aggregate = until(connection, lambda m: m["stream"].endswith("@aggTrade"))["data"]
        row = caller.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=trade["t"], limit=1)[0]
        assert [row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"]] == [
            trade[letter] for letter in "tpqTm"
        ]
        row = caller.get("/api/v3/aggTrades", symbol="BTCUSDT", fromId=aggregate["a"], limit=1)[0]
        assert row.items() <= aggregate.items()

    def test_a_bar_closes_once_quiet_or_not_and_as_rest_has_it(self, opened: Any, caller: Any) -> None:
        connection = opened("/ws/paxgusdt@kline_1s")
        closed: list[Any] = []
        while len(closed) < 2:
            bar = until(connection, lambda m: m["k"]["x"])["k"]
            closed.append(bar)
        opens = [bar["t"] for bar in closed]
        assert opens == list(range(opens[0], opens[0] + 2000, 1000))
        rows = caller.get("/api/v3/klines", symbol="PAXGUSDT", interval="1s", startTime=opens[0], endTime=opens[-1])
        assert [[bar[letter] for letter in "tohlcvTqnVQB"] for bar in closed] == rows

    def test_tickers_arrive_each_second(self, opened: Any) -> None:
        connection = opened("/stream?streams=btcusdt@ticker/btcusdt@miniTicker")
        full = until(connection, lambda m: m["stream"].endswith("@ticker"))["data"]
        mini = until(connection, lambda m: m["stream"].endswith("@miniTicker"))["data"]
        assert full["e"] == "24hrTicker"
        assert set(mini) == set("eEscohlvq")

    def test_microseconds_on_request(self, opened: Any) -> None:
        trade = until(opened("/ws/btcusdt@depth@100ms?timeUnit=MICROSECOND"), lambda _: True)
        assert abs(trade["E"] / 1e6 - time.time()) < 60

    def test_a_misspelled_stream_is_silent_for_ever(self, opened: Any) -> None:
        connection = opened("/ws/btcusdt@trades")
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.5)

    def test_streams_come_and_go_by_message(self, opened: Any) -> None:
        connection = opened("/ws")
        assert ask(connection, method="SUBSCRIBE", params=["btcusdt@bookTicker", "no@such"], id=1) == {
            "result": None,
            "id": 1,
        }
        assert until(connection, lambda m: m.get("s") == "BTCUSDT")
        listed = ask(connection, method="LIST_SUBSCRIPTIONS", id=2)["result"]
        assert sorted(listed) == ["btcusdt@bookTicker", "no@such"]
        ask(connection, method="UNSUBSCRIBE", params=["btcusdt@bookTicker"], id="three")
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.4)

    def test_nonsense_is_answered_with_the_venue_s_codes(self, opened: Any) -> None:
        connection = opened("/ws")
        connection.send("{")
        assert until(connection, lambda _: True)["error"]["code"] == 3
        assert ask(connection, method="DANCE", id=4)["error"]["code"] == 2

    def test_more_than_five_messages_a_second_end_the_connection(self, opened: Any) -> None:
        connection = opened("/ws")
        for number in range(7):
            connection.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        with pytest.raises(ConnectionClosed) as ended:
            until(connection, lambda _: False)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1008

    def test_an_unknown_path_is_not_found(self, opened: Any) -> None:
        with pytest.raises(InvalidStatus):
            opened("/nothing")


class TestWebSocketApi:
    @pytest.fixture
    def api(self, sandbox: Handle, opened: Any) -> ClientConnection:
        connection: ClientConnection = opened("", sandbox.hosts.ws_api)
        return connection

    def signed(self, sandbox: Handle, **params: Any) -> dict[str, Any]:
        full = params | {"apiKey": sandbox.key.id, "timestamp": time.time_ns() // 1_000_000}
        payload = "&".join(f"{name}={full[name]}" for name in sorted(full))
        full["signature"] = hmac.new(sandbox.key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        return full

    def test_it_tells_the_time(self, api: ClientConnection) -> None:
        answer = ask(api, id="t", method="time")
        assert answer["status"] == 200
        assert abs(answer["result"]["serverTime"] / 1000 - time.time()) < 60
        assert answer["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"

    def test_orders_go_through_and_events_tell_of_them(self, sandbox: Handle, api: ClientConnection) -> None:
        subscribed = ask(api, id=1, method="userDataStream.subscribe.signature", params=self.signed(sandbox))
        number = subscribed["result"]["subscriptionId"]
        wish = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "10000.00"}
        wish |= {"quantity": "0.01000", "newClientOrderId": "through-the-socket"}
        api.send(json.dumps({"id": 2, "method": "order.place", "params": self.signed(sandbox, **wish)}))
        seen = [json.loads(api.recv(timeout=10)) for _ in range(3)]
        answer = next(message for message in seen if message.get("id") == 2)
        report, position = (message["event"] for message in seen if "event" in message)
        assert answer["result"]["status"] == "NEW"
        assert (report["x"], report["X"], report["c"], report["C"]) == ("NEW", "NEW", "through-the-socket", "")
        assert position["e"] == "outboundAccountPosition"
        assert {balance["a"] for balance in position["B"]} == {"BTC", "USDT"}
        which = {"symbol": "BTCUSDT", "origClientOrderId": "through-the-socket", "newClientOrderId": "the-cancel"}
        api.send(json.dumps({"id": 3, "method": "order.cancel", "params": self.signed(sandbox, **which)}))
        gone = until(api, lambda m: m.get("event", {}).get("x") == "CANCELED")
        assert gone["subscriptionId"] == number
        assert (gone["event"]["c"], gone["event"]["C"]) == ("the-cancel", "through-the-socket")
        assert ask(api, id=4, method="userDataStream.unsubscribe", params={"subscriptionId": number})["result"] == {}

    def test_a_bad_signature_is_refused(self, sandbox: Handle, api: ClientConnection) -> None:
        params = self.signed(sandbox) | {"signature": "0" * 64}
        answer = ask(api, id=1, method="account.status", params=params)
        assert (answer["status"], answer["error"]["code"]) == (400, -1022)

    def test_an_unknown_method_is_refused(self, api: ClientConnection) -> None:
        assert ask(api, id=1, method="order.dance")["status"] == 400
