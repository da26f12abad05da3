"""Requests as text against a scripted market in virtual time: who may ask, what is understood, what is answered."""

from __future__ import annotations

import base64
import hashlib
import hmac
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.clock import MINUTE, SECOND
from kit.model import Side
from kit.sandbox.auth import Credential, KeyKind
from kit.sandbox.endpoint import Security
from kit.sandbox.exchange import Exchange
from kit.sandbox.front import ENDPOINTS, Answer, Front, Request

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"  # published in Binance's documentation
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"


class Desk:
    """A front door with one signing account, asked at a time of the test's choosing."""

    def __init__(self, exchange: Exchange, now: int) -> None:
        self.front = Front(exchange)
        self.now = now
        exchange.register(Credential(KEY, "me", KeyKind.HMAC, SECRET))

    def get(self, path: str, query: str = "", **kwargs: Any) -> Answer:
        return self.front.answer(Request("GET", f"/api/v3/{path}", query, **kwargs), self.now)

    def signed(
        self, method: str, path: str, *, body: Any = "", secret: Any = SECRET, raw: Any = False, **params: Any
    ) -> Answer:
        query = urlencode({"timestamp": self.now // 1000} | params)
        signature = hmac.new(secret.encode(), (query + body).encode(), hashlib.sha256).hexdigest()
        request = Request(method, path if raw else f"/api/v3/{path}", f"{query}&signature={signature}", body, KEY)
        return self.front.answer(request, self.now)

    def order(self, **params: object) -> Answer:
        usual = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 1, "price": 99}
        return self.signed("POST", "order", **{k: v for k, v in (usual | params).items() if v is not None})


@pytest.fixture
def desk(exchange: Exchange, begins: int) -> Desk:
    return Desk(exchange, begins + MINUTE)


def code(answer: Answer) -> tuple[int, int]:
    return answer.status, answer.body["code"]


class TestWhoIsAsking:
    def test_the_signature_covers_query_and_body_without_a_separator(self, desk: Desk) -> None:
        body = "side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=99"
        assert desk.signed("POST", "order", body=body, symbol="BTCUSDT").status == 200

    def test_the_query_wins_over_the_body(self, desk: Desk) -> None:
        answer = desk.signed("POST", "order", body="price=98&quantity=1", symbol="BTCUSDT", side="BUY", type="LIMIT",
                             timeInForce="GTC", price=99)  # fmt: skip
        assert answer.body["price"] == "99.00000000"

    def test_a_wrong_secret_is_refused(self, desk: Desk) -> None:
        assert code(desk.signed("GET", "account", secret="wrong")) == (400, -1022)

    def test_an_upper_case_hmac_signature_is_as_good(self, desk: Desk) -> None:
        query = f"timestamp={desk.now // 1000}"
        signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest().upper()
        assert desk.get("account", f"{query}&signature={signature}", key=KEY).status == 200

    def test_no_key_a_malformed_key_and_an_unknown_key(self, desk: Desk) -> None:
        query = f"timestamp={desk.now // 1000}&signature=00"
        assert code(desk.get("account", query)) == (401, -2014)
        assert code(desk.get("account", query, key="short")) == (401, -2014)
        assert code(desk.get("account", query, key="A" * 64)) == (401, -2015)

    def test_a_missing_signature_or_timestamp_is_named(self, desk: Desk) -> None:
        answer = desk.get("account", f"timestamp={desk.now // 1000}", key=KEY)
        assert answer.body == {
            "code": -1102,
            "msg": "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.",
        }
        assert "'timestamp'" in desk.get("account", "signature=00", key=KEY).body["msg"]

    @pytest.mark.parametrize(
        ("offset_ms", "window", "expected"),
        [
            (0, None, 200),
            (-4_900, None, 200),
            (-5_001, None, -1021),
            (-5_001, 6000, 200),
            (999, None, 200),
            (1_000, None, -1021),
            (-59_000, 60_000, 200),
            (0, 60_001, -1131),
            (-2, "1.5", -1021),
        ],
    )
    def test_a_timestamp_counts_within_its_window(
        self, desk: Desk, offset_ms: int, window: object, expected: int
    ) -> None:
        params = {"timestamp": desk.now // 1000 + offset_ms} | ({"recvWindow": window} if window else {})
        answer = desk.signed("GET", "account", **params)
        assert (answer.status if answer.status == 200 else answer.body["code"]) == expected

    def test_times_may_be_in_microseconds(self, desk: Desk) -> None:
        assert desk.signed("GET", "account", timestamp=desk.now).status == 200

    def test_ed25519_signatures_are_base64_and_percent_encoded(self, desk: Desk) -> None:
        private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        desk.front.exchange.register(Credential("E" * 64, "me", KeyKind.ED25519, public))
        query = f"timestamp={desk.now // 1000}"
        signature = quote(base64.b64encode(private.sign(query.encode())).decode(), safe="")
        assert desk.get("account", f"{query}&signature={signature}", key="E" * 64).status == 200
        assert code(desk.get("account", f"{query}&recvWindow=9&signature={signature}", key="E" * 64)) == (400, -1022)
        assert code(desk.get("account", f"{query}&signature=%25%25", key="E" * 64)) == (400, -1022)

    def test_a_percent_encoded_payload_is_signed_as_it_was_sent(self, desk: Desk) -> None:
        answer = desk.signed("POST", "order", symbol="这是测试币456", side="BUY", type="MARKET", quantity=1)
        assert code(answer) == (400, -1121)


class TestParameters:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("interval=1m", (-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")),
            (
                "symbol=&interval=1m",
                (-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
            ),
            ("symbol=NOSUCH&interval=1m", (-1121, "Invalid symbol.")),
            (
                "symbol=btcusdt&interval=1m",
                (-1100, r"Illegal characters found in parameter 'symbol'; legal range is '^[\w\-._&&[^a-z]]{1,50}$'."),
            ),
            ("symbol=BTCUSDT&interval=7m", (-1120, "Invalid interval.")),
            ("symbol=BTCUSDT&interval=1m&limit=0", (-1130, "Data sent for parameter 'limit' is not valid.")),
            (
                "symbol=BTCUSDT&interval=1m&limit=x",
                (-1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."),
            ),
            (
                "symbol=BTCUSDT&interval=1m&depth=5",
                (-1104, "Not all sent parameters were read; read '2' parameter(s) but was sent '3'."),
            ),
            ("symbol=BTCUSDT&symbol=ETHUSDT&interval=1m", (-1101, "Duplicate values for a parameter detected.")),
            ("symbol=BTCUSDT&interval=1m&startTime=", (-1105, "Parameter 'startTime' was empty.")),
            ("symbol=BTCUSDT&interval=1m&timeZone=8", (-1130, "Data sent for parameter 'timeZone' is not valid.")),
        ],
    )
    def test_what_cannot_be_read_is_refused_in_the_venue_s_words(
        self, desk: Desk, query: str, expected: tuple[int, str]
    ) -> None:
        answer = desk.get("klines", query)
        assert (answer.status, answer.body["code"], answer.body["msg"]) == (400, *expected)

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"timeInForce": None}, -1102),
            ({"price": None}, -1102),
            ({"side": "HOLD"}, -1117),
            ({"type": "TRAILING"}, -1116),
            ({"timeInForce": "GTX"}, -1115),
            ({"price": "99.123456789"}, -1111),
            ({"price": "-1"}, -1100),
            ({"price": "NaN"}, -1100),
            ({"quantity": "0"}, -1013),
            ({"type": "MARKET"}, -1106),
            ({"type": "MARKET", "price": None, "timeInForce": None, "quantity": None}, -1102),
            ({"type": "TAKE_PROFIT"}, -1013),
            ({"stopPrice": "90"}, -1106),
            ({"newClientOrderId": "a b"}, -1100),
            ({"icebergQty": "1"}, -1104),
        ],
    )
    def test_orders_must_have_what_their_type_takes(
        self, desk: Desk, changes: dict[str, object], expected: int
    ) -> None:
        answer = desk.order(**changes)
        assert code(answer) == (400, expected)

    def test_an_unknown_endpoint_is_not_found(self, desk: Desk) -> None:
        assert desk.get("nothing").status == 404
        assert desk.front.answer(Request("POST", "/api/v3/klines"), desk.now).status == 404


class TestMarketData:
    def test_klines_are_rows_of_twelve_and_the_last_may_be_forming(self, market: Any, desk: Desk, begins: int) -> None:
        market.btc.trade(SECOND, 100.0, 1.0).trade(70 * SECOND, 101.0, 2.0, Side.SELL)
        desk.now = begins + 90 * SECOND
        rows = desk.get("klines", "symbol=BTCUSDT&interval=1m").body
        assert rows[1] == [
            (begins + MINUTE) // 1000,
            *["101.00000000"] * 4,
            "2.00000000",
            (begins + 2 * MINUTE) // 1000 - 1,
            "202.00000000",
            1,
            "0.00000000",
            "0.00000000",
            "0",
        ]
        assert len(rows) == 2

    def test_times_are_in_microseconds_when_asked_for(self, desk: Desk, begins: int) -> None:
        rows = desk.get("klines", "symbol=BTCUSDT&interval=1m&limit=1", unit="MICROSECOND").body
        assert (rows[0][0], rows[0][6]) == (begins + MINUTE, begins + 2 * MINUTE - 1)
        assert desk.get("time", unit="MICROSECOND").body == {"serverTime": desk.now}
        assert code(desk.get("time", unit="HOUR")) == (400, -1194)

    @pytest.mark.parametrize(
        ("query", "opens"),
        [
            ("limit=2", [3, 4]),
            ("startTime={1}&limit=2", [1, 2]),
            ("endTime={2}&limit=2", [1, 2]),
            ("startTime={1}&endTime={2}", [1, 2]),
            ("startTime={3}&endTime={1}", []),
            ("startTime=9999999999999999999", []),
        ],
    )
    def test_start_end_and_limit_page_as_the_venue_does(
        self, desk: Desk, begins: int, query: str, opens: list[int]
    ) -> None:
        desk.now = begins + 4 * MINUTE
        times = [(begins + n * MINUTE) // 1000 for n in range(5)]
        rows = desk.get("klines", "symbol=BTCUSDT&interval=1m&" + query.format(*times)).body
        assert [times.index(row[0]) for row in rows] == opens

    def test_aggregates_and_trades_share_ids(self, market: Any, desk: Desk, begins: int) -> None:
        for number in range(5):
            market.btc.trade(number * SECOND, 100.0 + number, 1.0)
        assert [row["a"] for row in desk.get("aggTrades", "symbol=BTCUSDT&fromId=2&limit=2").body] == [2, 3]
        start = (begins + SECOND) // 1000
        rows = desk.get("aggTrades", f"symbol=BTCUSDT&startTime={start}&endTime={start + 1000}").body
        assert [row["a"] for row in rows] == [2, 3]
        assert [row["id"] for row in desk.get("trades", "symbol=BTCUSDT&limit=2").body] == [4, 5]
        assert code(desk.get("aggTrades", f"symbol=BTCUSDT&fromId=1&startTime={start}")) == (400, -1128)

    def test_one_symbol_answers_an_object_and_several_a_list(self, desk: Desk) -> None:
        assert desk.get("ticker/bookTicker", "symbol=BTCUSDT").body["bidPrice"] == "100.00000000"
        both = desk.get("ticker/bookTicker", "symbols=" + quote('["BTCUSDT","ETHUSDT"]')).body
        assert [row["symbol"] for row in both] == ["BTCUSDT", "ETHUSDT"]
        assert len(desk.get("ticker/price").body) == 2
        assert code(desk.get("ticker/price", "symbol=BTCUSDT&symbols=" + quote('["ETHUSDT"]'))) == (400, -1128)
        for nonsense in ("[]", '["btc"]', "BTCUSDT"):
            assert code(desk.get("ticker/price", "symbols=" + quote(nonsense))) == (400, -1100)

    def test_day_statistics_add_up(self, market: Any, desk: Desk) -> None:
        market.btc.trade(SECOND, 100.0, 1.0).trade(2 * SECOND, 110.0, 3.0)
        day = desk.get("ticker/24hr", "symbol=BTCUSDT").body
        assert (day["highPrice"], day["lowPrice"], day["lastPrice"], day["count"]) == (
            "110.00000000",
            "100.00000000",
            "110.00000000",
            2,
        )
        assert (day["weightedAvgPrice"], day["priceChangePercent"]) == ("107.50000000", "10.000")
        assert (day["firstId"], day["lastId"]) == (1, 2)
        assert desk.get("avgPrice", "symbol=BTCUSDT").body["price"] == "107.50000000"

    def test_exchange_info_tells_what_was_asked_for(self, desk: Desk) -> None:
        def symbols(query: str) -> list[Any]:
            return desk.get("exchangeInfo", query).body["symbols"]  # type: ignore[no-any-return]

        assert [info["symbol"] for info in symbols("symbol=ETHUSDT")] == ["ETHUSDT"]
        assert symbols("symbol=ETHUSDT")[0]["permissionSets"] == [["SPOT"]]
        assert symbols("showPermissionSets=false")[0]["permissionSets"] == []
        assert symbols("symbolStatus=HALT") == symbols("permissions=MARGIN") == []

    def test_the_end_of_the_market_shows_as_a_break(self, scripted: Any, begins: int) -> None:
        desk = Desk(Exchange(scripted(ends=begins + SECOND)), begins + 2 * SECOND)
        assert {s["status"] for s in desk.get("exchangeInfo").body["symbols"]} == {"BREAK"}


class TestOrders:
    def test_answers_come_short_or_full(self, desk: Desk) -> None:
        full = desk.order(type="MARKET", price=None, timeInForce=None).body
        assert [fill["price"] for fill in full["fills"]] == ["101.00000000"]
        assert full["cummulativeQuoteQty"] == "101.00000000"
        assert set(desk.order(newOrderRespType="ACK", newClientOrderId="x").body) == {
            "symbol",
            "orderId",
            "orderListId",
            "clientOrderId",
            "transactTime",
        }
        result = desk.order(newOrderRespType="RESULT", newClientOrderId="y").body
        assert "fills" not in result
        assert result["status"] == "NEW"

    def test_an_order_is_found_by_either_id_and_both_must_agree(self, desk: Desk) -> None:
        number = desk.order(newClientOrderId="mine").body["orderId"]
        found = desk.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="mine").body
        assert (found["orderId"], found["isWorking"], found["status"]) == (number, True, "NEW")
        assert desk.signed("GET", "order", symbol="BTCUSDT", orderId=number).body == found
        both = desk.signed("GET", "order", symbol="BTCUSDT", orderId=number, origClientOrderId="other")
        assert code(both) == (400, -2039)
        assert code(desk.signed("GET", "order", symbol="ETHUSDT", orderId=number)) == (400, -2013)
        assert desk.signed("GET", "order", symbol="BTCUSDT").body["msg"] == (
            "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
        )

    def test_a_cancel_names_the_order_and_itself(self, desk: Desk) -> None:
        desk.order(newClientOrderId="mine")
        gone = desk.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId="mine", newClientOrderId="bye").body
        assert (gone["origClientOrderId"], gone["clientOrderId"], gone["status"]) == ("mine", "bye", "CANCELED")
        again = desk.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId="mine")
        assert (code(again), again.body["msg"]) == ((400, -2011), "Unknown order sent.")

    def test_all_open_orders_of_a_symbol_go_at_once(self, desk: Desk) -> None:
        for name in ("a", "b"):
            desk.order(newClientOrderId=name)
        gone = desk.signed("DELETE", "openOrders", symbol="BTCUSDT").body
        assert [each["origClientOrderId"] for each in gone] == ["a", "b"]
        assert desk.signed("GET", "openOrders").body == []
        assert code(desk.signed("DELETE", "openOrders", symbol="BTCUSDT")) == (400, -2011)
        assert [o["status"] for o in desk.signed("GET", "allOrders", symbol="BTCUSDT").body] == ["CANCELED"] * 2

    def test_cancel_replace_says_what_of_it_happened(self, desk: Desk) -> None:
        def replace(**params: object) -> Answer:
            usual = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 1}
            usual |= {"price": 98, "cancelReplaceMode": "STOP_ON_FAILURE"}
            return desk.signed("POST", "order/cancelReplace", **(usual | params))

        desk.order(newClientOrderId="old")
        done = replace(cancelOrigClientOrderId="old", newClientOrderId="new").body
        assert (done["cancelResult"], done["newOrderResult"]) == ("SUCCESS", "SUCCESS")
        assert done["newOrderResponse"]["clientOrderId"] == "new"
        stopped = replace(cancelOrigClientOrderId="old")
        assert code(stopped) == (400, -2022)
        assert stopped.body["data"]["newOrderResult"] == "NOT_ATTEMPTED"
        partly = replace(cancelOrigClientOrderId="old", cancelReplaceMode="ALLOW_FAILURE")
        assert code(partly) == (409, -2021)
        assert partly.body["data"]["cancelResponse"]["code"] == -2011
        too_much = replace(cancelOrigClientOrderId="new", quantity=1000)
        assert code(too_much) == (409, -2021)
        assert too_much.body["data"]["newOrderResponse"]["code"] == -2010
        assert code(replace(cancelOrigClientOrderId="new", price="98.001")) == (400, -1013)

    def test_fills_are_paged_and_at_most_a_day_apart(self, desk: Desk) -> None:
        for _ in range(3):
            desk.order(type="MARKET", price=None, timeInForce=None, quantity="0.1")
        rows = desk.signed("GET", "myTrades", symbol="BTCUSDT").body
        assert [row["qty"] for row in rows] == ["0.10000000"] * 3
        assert (rows[0]["commission"], rows[0]["commissionAsset"]) == ("0.00010000", "BTC")
        newest = desk.signed("GET", "myTrades", symbol="BTCUSDT", limit=1).body
        assert newest == rows[-1:]
        assert desk.signed("GET", "myTrades", symbol="BTCUSDT", fromId=rows[1]["id"], limit=1).body == rows[1:2]
        span = {"startTime": 1, "endTime": 86_400_002}
        assert code(desk.signed("GET", "myTrades", symbol="BTCUSDT", **span)) == (400, -1127)

    def test_the_account_shows_fees_and_balances(self, desk: Desk) -> None:
        shown = desk.signed("GET", "account", omitZeroBalances="true").body
        assert shown["commissionRates"]["taker"] == "0.00100000"
        assert {row["asset"]: row["free"] for row in shown["balances"]} == {
            "BTC": "10.00000000",
            "USDT": "10000.00000000",
        }
        assert shown["canWithdraw"] is False
        assert desk.signed("GET", "account/commission", symbol="BTCUSDT").body["standardCommission"]["maker"]


class TestBudgets:
    def test_every_answer_says_what_was_used_and_orders_cost_nothing(self, desk: Desk) -> None:
        assert desk.get("klines", "symbol=BTCUSDT&interval=1m").headers["x-mbx-used-weight-1m"] == "2"
        placed = desk.order(newClientOrderId="a")
        assert placed.headers["x-mbx-used-weight-1m"] == "2"
        assert placed.headers["x-mbx-order-count-10s"] == "1"
        assert desk.get("nothing").headers["x-mbx-used-weight-1m"] == "2"

    def test_a_filled_order_gives_its_count_back(self, desk: Desk) -> None:
        filled = desk.order(type="MARKET", price=None, timeInForce=None)
        assert filled.headers["x-mbx-order-count-10s"] == "0"

    def test_too_much_is_answered_429_and_going_on_is_banned(self, desk: Desk) -> None:
        desk.front.budget("127.0.0.1").charge(6_000, desk.now)
        turned_away = desk.get("ping")
        assert (turned_away.status, turned_away.headers["retry-after"]) == (429, "60")
        for _ in range(10):
            last = desk.get("ping")
        assert (last.status, last.headers["retry-after"]) == (418, "120")
        desk.now += 60 * SECOND
        assert desk.get("ping").status == 418
        desk.now += 61 * SECOND
        assert desk.get("ping").status == 200

    def test_the_budget_is_new_each_minute(self, desk: Desk) -> None:
        desk.front.budget("127.0.0.1").charge(6_000, desk.now)
        assert desk.get("ping").status == 429
        desk.now += MINUTE
        assert desk.get("ping").status == 200

    def test_orders_are_counted_per_account(self, desk: Desk) -> None:
        desk.front.exchange.members["me"].budget.windows[0].at(desk.now).used = 100
        refused = desk.order()
        assert code(refused) == (429, -1015)
        assert "retry-after" not in refused.headers
        usage = desk.signed("GET", "rateLimit/order").body
        assert [(row["interval"], row["count"]) for row in usage] == [("SECOND", 100), ("DAY", 0)]


def test_no_secret_shows_in_what_the_front_holds(desk: Desk) -> None:
    assert SECRET not in repr(desk.front.exchange.keys)
    assert SECRET not in repr(vars(desk.front.exchange))


WORDS = ["BTCUSDT", "ETHUSDT", "NOSUCH", "1m", "1M", "0", "1", "-1", "1e5", "NaN", "9" * 20, "1790000100000", "0.00001"]
WORDS += [
    "",
    "BUY",
    "SELL",
    "LIMIT",
    "MARKET",
    "STOP_LOSS",
    "LIMIT_MAKER",
    "GTC",
    "FOK",
    "true",
    "a",
    "[]",
    "é",
    "99.5",
]


@given(
    which=st.sampled_from(sorted(ENDPOINTS)),
    sent=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(WORDS)), max_size=8),
    unit=st.sampled_from([None, "MICROSECOND", "x"]),
)
@settings(max_examples=500)
def test_whatever_is_sent_is_answered(
    scripted: Any, begins: int, which: tuple[str, str], sent: list[tuple[int, str]], unit: str | None
) -> None:
    """No parameters, in any combination, are more than the exchange can answer or refuse."""
    exchange = Exchange(scripted())
    exchange.market.btc.trade(SECOND, 100.0, 1.0)  # type: ignore[attr-defined]
    exchange.open_account("me", {"USDT": Decimal(1000), "BTC": Decimal(1)}, begins)
    desk = Desk(exchange, begins + MINUTE)
    endpoint = ENDPOINTS[which]
    names = [param.name for param in endpoint.params] or ["symbol"]
    params = {names[number % len(names)]: word for number, word in sent}
    if endpoint.security is Security.SIGNED:
        answer = desk.signed(*which, raw=True, **params)
    else:
        answer = desk.front.answer(Request(*which, urlencode(params), unit=unit), desk.now)
    assert answer.status in (200, 400, 409)
    assert msgspec.json.encode(answer.body)
    for change in exchange.take():
        assert change.order.filled <= change.order.request.qty
