"""The codec of Kraken's market data: what it asks, by which names, and what it does not speak."""

from __future__ import annotations

from typing import Any

import pytest

from kit.clock import SECOND
from kit.errors import UnknownName, UsageError
from kit.market.book import BookRule
from kit.market.candles import INTERVALS
from kit.venues.base import Auth, Budget, Call, Effect, Key, MarketCodec
from kit.venues.kraken import KRAKEN

codec: MarketCodec = KRAKEN  # a static check: it says all that a market codec must say

CALLS: list[tuple[Call[Any], str]] = [
    (KRAKEN.instruments(), "AssetPairs"),
    (KRAKEN.instruments(["BTC/USD"]), "AssetPairs?pair=XBTUSD"),
    (KRAKEN.instruments(["BTC/USD", "ETH/BTC"]), "AssetPairs?pair=XBTUSD%2CETHXBT"),
    (KRAKEN.time(), "Time"),
    (KRAKEN.candles("BTC/USD", "1m", None, None, 500), "OHLC?pair=XBTUSD&interval=1"),
    (KRAKEN.candles("DOGE/EUR", "4h", 1_700_000_000_000_000, 5, 9), "OHLC?pair=XDGEUR&interval=240&since=1699999999"),
    (KRAKEN.candles("DOGE/EUR", "1d", 0, None, 9), "OHLC?pair=XDGEUR&interval=1440&since=0"),
    (KRAKEN.trades("ETH/USD"), "Trades?pair=ETHUSD&count=1000"),
    (KRAKEN.trades("ETH/USD", 5), "Trades?pair=ETHUSD&count=5"),
    (KRAKEN.trades("ETH/USD", 5_000), "Trades?pair=ETHUSD&count=1000"),
    (KRAKEN.trades_between("ETH/USD", 0, 9, 2), "Trades?pair=ETHUSD&since=0&count=2"),
    (
        KRAKEN.trades_between("ETH/USD", 1_700_000_000_000_001, 1_700_000_000_000_009),
        "Trades?pair=ETHUSD&since=1700000000000000999&count=1000",
    ),
    (KRAKEN.last_trade("ETH/USD"), "Trades?pair=ETHUSD&count=1"),
    (KRAKEN.book("ETH/USD", 10), "Depth?pair=ETHUSD&count=10"),
    (KRAKEN.book("ETH/USD", 5_000), "Depth?pair=ETHUSD&count=500"),
    (KRAKEN.quote("ETH/USD"), "Ticker?pair=ETHUSD"),
]


def test_an_address_may_ask_once_a_second_on_the_whole() -> None:
    assert KRAKEN.budgets() == (Budget("REQUESTS-30S", 30, 30 * SECOND, sliding=True),)


@pytest.mark.parametrize(("call", "asked"), CALLS)
def test_a_question_goes_to_the_public_address_under_the_name_rest_knows(call: Call[Any], asked: str) -> None:
    query = KRAKEN.encode(call.params)
    assert f"{call.path}{'?' + query if query else ''}" == f"/0/public/{asked}"
    assert (call.method, call.auth, call.effect, call.weight) == ("GET", Auth.NONE, Effect.READ, 1)


def test_intervals_are_those_that_both_kraken_and_our_calendar_have() -> None:
    assert dict(KRAKEN.intervals) == {name: INTERVALS[name] for name in ("1m", "5m", "15m", "30m", "1h", "4h", "1d")}


@pytest.mark.parametrize("interval", ["1w", "2h", "1M", "1s", "", "60"])
def test_an_interval_kraken_has_not_is_an_unknown_name(interval: str) -> None:
    with pytest.raises(UnknownName, match="interval"):
        KRAKEN.candles("BTC/USD", interval, None, None, 10)


@pytest.mark.parametrize("auth", [Auth.SIGNED, Auth.KEY])
def test_what_needs_a_signature_is_not_spoken_and_not_sent(auth: Auth) -> None:
    call: Call[Any] = Call("POST", "/0/private/AddOrder", bytes, (), auth, Effect.WRITE)
    with pytest.raises(UsageError, match=r"not spoken yet.*nothing was sent"):
        KRAKEN.sign(call, Key("id", "secret"), 0)


def test_a_public_question_is_left_as_it_is_and_carries_no_key() -> None:
    call = KRAKEN.time()
    assert KRAKEN.sign(call, Key("id", "secret"), 0) is call
    assert KRAKEN.headers(Key("id", "secret")) == {}


def test_no_header_tells_what_is_used() -> None:
    assert KRAKEN.used({"X-RateLimit-Used": "5", "Retry-After": "1"}) == {}


def test_the_streams_prove_a_book_by_its_checksum_and_never_say_that_a_bar_has_closed() -> None:
    streaming = KRAKEN.streaming
    assert (streaming.book, streaming.bars, streaming.says_closed) == (BookRule.CHECKSUM, True, False)
    assert KRAKEN.stream_url(KRAKEN.environments["data"]) == "wss://ws.kraken.com/v2"
    assert streaming.depth in {10, 25, 100, 500, 1000}


def test_no_environment_holds_real_money() -> None:
    assert list(KRAKEN.environments) == ["data"]
    assert not any(hosts.real_money for hosts in KRAKEN.environments.values())


def test_a_client_id_is_free_text_of_at_most_eighteen_ascii_characters() -> None:
    assert KRAKEN.client_id_length == 18
    assert KRAKEN.client_id_alphabet.isascii()
