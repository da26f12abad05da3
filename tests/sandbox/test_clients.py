"""Clients that nobody here wrote, pointed at the sandbox: ccxt and python-binance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kit.sandbox.launcher import Handle

SIZE = "0.01000"


@pytest.fixture(scope="module")
def venue(sandbox: Handle) -> Iterator[Any]:
    ccxt = pytest.importorskip("ccxt")
    venue = ccxt.binance(
        {
            "apiKey": sandbox.key.id,
            "secret": sandbox.key.secret,
            "enableRateLimit": False,
            "options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},
        }
    )
    for door in ("public", "private"):
        venue.urls["api"][door] = f"{sandbox.hosts.rest}/api/v3"
    for version in ("sapi", "sapiV2", "sapiV3", "sapiV4"):
        venue.urls["api"][version] = f"{sandbox.hosts.rest}/sapi/v1"
    venue.session.trust_env = False
    venue.load_markets()
    yield venue
    venue.session.close()


class TestCcxt:
    @pytest.fixture(autouse=True)
    def tidy(self, venue: Any) -> Iterator[None]:
        yield
        for order in venue.fetch_open_orders("BTC/USDT"):
            venue.cancel_order(order["id"], "BTC/USDT")

    def test_it_lists_markets_with_their_steps(self, venue: Any) -> None:
        market = venue.market("BTC/USDT")
        assert (market["id"], market["spot"], market["active"]) == ("BTCUSDT", True, True)
        assert market["precision"]["price"] > 0
        assert market["limits"]["cost"]["min"] > 0
        assert venue.currencies["USDT"]["code"] == "USDT"

    def test_it_fetches_candles_trades_book_and_tickers(self, venue: Any) -> None:
        candles = venue.fetch_ohlcv("BTC/USDT", "1m", limit=5)
        assert len(candles) == 5
        assert [row[0] for row in candles] == list(range(candles[0][0], candles[0][0] + 5 * 60_000, 60_000))
        assert len(venue.fetch_trades("BTC/USDT", limit=10)) == 10
        book = venue.fetch_order_book("BTC/USDT", 20)
        assert book["bids"][0][0] < book["asks"][0][0]
        ticker = venue.fetch_ticker("BTC/USDT")
        assert ticker["low"] <= ticker["last"] <= ticker["high"]
        assert {"BTC/USDT", "ETH/USDT"} <= set(venue.fetch_tickers())
        assert abs(venue.fetch_time() / 1000 - time.time()) < 60

    def test_a_market_order_fills_and_shows_in_trades_and_balance(self, venue: Any) -> None:
        before = venue.fetch_balance()["BTC"]["free"]
        order = venue.create_order("BTC/USDT", "market", "buy", float(SIZE))
        assert (order["status"], order["filled"]) == ("closed", float(SIZE))
        after = venue.fetch_balance()["BTC"]["free"]
        assert after == pytest.approx(before + float(SIZE) * 0.999)
        fills = venue.fetch_my_trades("BTC/USDT", params={"orderId": order["id"]})
        assert sum(fill["amount"] for fill in fills) == pytest.approx(float(SIZE))
        assert fills[0]["fee"]["currency"] == "BTC"

    def test_a_limit_order_rests_is_found_by_its_client_id_and_cancelled(self, venue: Any) -> None:
        price = venue.fetch_ticker("BTC/USDT")["bid"] * 0.8
        price = float(venue.price_to_precision("BTC/USDT", price))
        venue.create_order("BTC/USDT", "limit", "buy", float(SIZE), price, {"newClientOrderId": "ccxt-1"})
        found = venue.fetch_order(None, "BTC/USDT", {"origClientOrderId": "ccxt-1"})
        assert (found["status"], found["clientOrderId"], found["price"]) == ("open", "ccxt-1", price)
        assert [order["clientOrderId"] for order in venue.fetch_open_orders("BTC/USDT")] == ["ccxt-1"]
        gone = venue.cancel_order(None, "BTC/USDT", {"origClientOrderId": "ccxt-1"})
        assert gone["status"] == "canceled"
        assert venue.fetch_open_orders("BTC/USDT") == []

    def test_its_errors_are_the_ones_ccxt_knows(self, venue: Any) -> None:
        ccxt = pytest.importorskip("ccxt")
        with pytest.raises(ccxt.InsufficientFunds):
            venue.create_order("BTC/USDT", "limit", "buy", 100, 40_000)
        with pytest.raises(ccxt.OrderNotFound):
            venue.fetch_order(None, "BTC/USDT", {"origClientOrderId": "never-placed"})
        with pytest.raises(ccxt.OrderNotFound):
            venue.cancel_order("987654321", "BTC/USDT")

    def test_a_wrong_secret_is_refused(self, venue: Any) -> None:
        ccxt = pytest.importorskip("ccxt")
        right, venue.secret = venue.secret, "wrong"
        try:
            with pytest.raises(ccxt.AuthenticationError):
                venue.fetch_balance()
        finally:
            venue.secret = right

    def test_a_stop_limit_order_waits(self, venue: Any) -> None:
        last = venue.fetch_ticker("BTC/USDT")["last"]
        stop, price = (float(venue.price_to_precision("BTC/USDT", last * share)) for share in (0.7, 0.69))
        order = venue.create_order("BTC/USDT", "limit", "sell", float(SIZE), price, {"stopPrice": stop})
        found = venue.fetch_order(order["id"], "BTC/USDT")
        assert (found["status"], found["triggerPrice"]) == ("open", stop)


@pytest.fixture(scope="module")
def client(sandbox: Handle) -> Iterator[Any]:
    """python-binance takes the thread's event loop even for its synchronous client: here it is one that gets closed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client = _python_binance(sandbox, sandbox.key.id, sandbox.key.secret)
    yield client
    client.close_connection()
    asyncio.set_event_loop(None)
    loop.close()


class TestPythonBinance:
    @pytest.fixture(autouse=True)
    def tidy(self, client: Any) -> Iterator[None]:
        yield
        for order in client.get_open_orders(symbol="ETHUSDT"):
            client.cancel_order(symbol="ETHUSDT", orderId=order["orderId"])

    def test_it_reads_the_market(self, client: Any) -> None:
        assert client.ping() == {}
        assert client.get_symbol_info("ETHUSDT")["status"] == "TRADING"
        klines = client.get_klines(symbol="ETHUSDT", interval="5m", limit=3)
        assert [len(row) for row in klines] == [12] * 3
        assert len(client.get_order_book(symbol="ETHUSDT", limit=10)["bids"]) == 10
        assert client.get_recent_trades(symbol="ETHUSDT", limit=2)[1]["id"]
        assert client.get_avg_price(symbol="ETHUSDT")["mins"] == 5
        assert client.get_orderbook_ticker(symbol="ETHUSDT")["symbol"] == "ETHUSDT"

    def test_it_pages_history(self, client: Any) -> None:
        start = 1_790_000_000_000 - 1_790_000_000_000 % 60_000
        rows = client.get_historical_klines("ETHUSDT", "1m", start, start + 1_500 * 60_000)
        assert len(rows) == 1_501
        assert rows[0][0] == start

    def test_it_places_finds_and_cancels(self, client: Any) -> None:
        price = float(client.get_orderbook_ticker(symbol="ETHUSDT")["bidPrice"])
        limit = client.order_limit_buy(
            symbol="ETHUSDT", quantity="0.1000", price=f"{price * 0.8:.2f}", newClientOrderId="pb-1"
        )
        assert limit["status"] == "NEW"
        assert client.get_order(symbol="ETHUSDT", origClientOrderId="pb-1")["orderId"] == limit["orderId"]
        gone = client.cancel_order(symbol="ETHUSDT", origClientOrderId="pb-1", newClientOrderId="pb-2")
        assert (gone["origClientOrderId"], gone["clientOrderId"]) == ("pb-1", "pb-2")

    def test_it_buys_at_market_and_reads_its_fills(self, client: Any) -> None:
        before = Decimal(client.get_asset_balance("USDT")["free"])
        bought = client.order_market_buy(symbol="ETHUSDT", quoteOrderQty="50")
        assert bought["status"] == "FILLED"
        spent = sum(Decimal(fill["price"]) * Decimal(fill["qty"]) for fill in bought["fills"])
        assert Decimal(client.get_asset_balance("USDT")["free"]) == before - spent
        mine = client.get_my_trades(symbol="ETHUSDT", orderId=bought["orderId"])
        assert [fill["id"] for fill in mine] == [fill["tradeId"] for fill in bought["fills"]]
        assert client.get_all_orders(symbol="ETHUSDT", limit=1)[0]["orderId"] == bought["orderId"]

    def test_a_test_order_changes_nothing(self, client: Any) -> None:
        before = client.get_account()["balances"]
        assert client.create_test_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="1.0000") == {}
        assert client.get_account()["balances"] == before

    def test_refusals_carry_the_venue_s_codes(self, client: Any) -> None:
        exceptions = pytest.importorskip("binance.exceptions")
        with pytest.raises(exceptions.BinanceAPIException, match=r"-1013.*LOT_SIZE"):
            client.order_market_buy(symbol="ETHUSDT", quantity="0.00001")
        with pytest.raises(exceptions.BinanceAPIException, match="-1121"):
            client.get_symbol_ticker(symbol="NOSUCH")

    def test_an_ed25519_key_signs_as_well(self, sandbox: Handle) -> None:
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        key = sandbox.new_key("asymmetric", public_key=public, cash={"USDT": Decimal(500)})
        client = _python_binance(sandbox, key.id, None, private_key=pem)
        assert client.get_asset_balance("USDT")["free"] == "500.00000000"
        assert client.order_market_buy(symbol="ETHUSDT", quoteOrderQty="50")["status"] == "FILLED"
        client.close_connection()


def _python_binance(sandbox: Handle, key: str, secret: str | None, **kwargs: Any) -> Any:
    module = pytest.importorskip("binance.client")

    class Here(module.Client):  # type: ignore[misc, name-defined]
        API_URL = f"{sandbox.hosts.rest}/api"
        MARGIN_API_URL = f"{sandbox.hosts.rest}/sapi"

    return Here(key, secret, **kwargs)
