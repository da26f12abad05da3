"""Coinbase's codec: what is asked, where, and in what words."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import DAY, HOUR, MINUTE, SECOND
from kit.errors import UnknownName, UsageError
from kit.market.book import BookRule
from kit.market.candles import INTERVALS
from kit.venues.base import Auth, Budget, Call, Effect, Hosts, Key, MarketCodec, Params
from kit.venues.coinbase import COINBASE, PAGE

CODEC: MarketCodec = COINBASE
"""Checked by mypy: it says all that a market codec must."""

NOON = 1_790_000_000 * SECOND // DAY * DAY + 12 * HOUR


def asked(call: Call[Any]) -> tuple[str, dict[str, str]]:
    """Where a call goes, and what it says there."""
    assert (call.method, call.auth, call.effect) == ("GET", Auth.NONE, Effect.READ)
    assert call.path.startswith("/api/v3/brokerage/")
    return call.path.removeprefix("/api/v3/brokerage/"), dict(call.params)


def test_every_question_goes_to_its_public_address() -> None:
    start, end = NOON - HOUR, NOON
    span = {"start": str(start // SECOND), "end": str(end // SECOND)}
    ticker = "market/products/BTC-USD/ticker"
    assert asked(COINBASE.time()) == ("time", {})
    assert asked(COINBASE.instruments()) == ("market/products", {"product_type": "SPOT"})
    assert asked(COINBASE.candles("BTC-USD", "1m", start, end, 60)) == (
        "market/products/BTC-USD/candles",
        {**span, "granularity": "ONE_MINUTE"},
    )
    assert asked(COINBASE.trades("BTC-USD", 7)) == (ticker, {"limit": "7"})
    assert asked(COINBASE.trades_between("BTC-USD", start, end, 7)) == (ticker, {"limit": "100", **span})
    assert asked(COINBASE.last_trade("BTC-USD")) == (ticker, {"limit": "1"})
    assert asked(COINBASE.book("BTC-USD", 50)) == ("market/product_book", {"product_id": "BTC-USD", "limit": "50"})
    assert asked(COINBASE.quote("BTC-USD")) == ("market/product_book", {"product_id": "BTC-USD", "limit": "1"})


def test_several_instruments_are_one_question() -> None:
    params = COINBASE.instruments(["BTC-USD", "ETH-USD"]).params
    assert params == (("product_type", "SPOT"), ("product_ids", "BTC-USD"), ("product_ids", "ETH-USD"))
    assert COINBASE.encode(params) == "product_type=SPOT&product_ids=BTC-USD&product_ids=ETH-USD"


def test_no_more_is_asked_than_is_answered() -> None:
    assert asked(COINBASE.trades("BTC-USD", 1_000))[1]["limit"] == "100"  # one above 1,000 would be a 500
    assert asked(COINBASE.book("BTC-USD", 5_000))[1]["limit"] == "1000"
    assert asked(COINBASE.book("BTC-USD", 0))[1]["limit"] == "1"


def test_an_odd_name_stays_one_part_of_the_address() -> None:
    assert COINBASE.last_trade("../x?y").path == "/api/v3/brokerage/market/products/..%2Fx%3Fy/ticker"


# ---- the window of candles


def window(start: int | None, end: int | None, limit: int, interval: str = "1m") -> tuple[int, int]:
    params = asked(COINBASE.candles("BTC-USD", interval, start, end, limit))[1]
    return int(params["start"]) * SECOND, int(params["end"]) * SECOND


def test_candles_are_asked_for_in_a_window_no_longer_than_is_answered() -> None:
    assert window(NOON, None, 1_000) == (NOON, NOON + 300 * MINUTE)
    assert window(NOON, NOON + DAY, 1_000) == (NOON, NOON + 300 * MINUTE)
    assert window(NOON, NOON + HOUR, 1_000) == (NOON, NOON + HOUR)
    assert window(NOON, NOON + HOUR, 10) == (NOON, NOON + 10 * MINUTE)
    assert window(None, NOON, 10) == (NOON - 10 * MINUTE, NOON)
    assert window(None, NOON, 1_000, "1d") == (NOON // DAY * DAY - 299 * DAY, NOON)
    assert window(None, 3 * MINUTE, 10) == (0, 3 * MINUTE)


@given(
    interval=st.sampled_from(sorted(COINBASE.intervals)),
    start=st.none() | st.integers(0, 2**51),
    end=st.none() | st.integers(1, 2**51),
    limit=st.integers(1, 2_000),
)
def test_a_window_holds_the_bars_asked_for_and_is_never_refused(
    interval: str, start: int | None, end: int | None, limit: int
) -> None:
    if start is None and end is None:
        return
    step, rows = COINBASE.intervals[interval], min(limit, PAGE)
    first, last = window(start, end, limit, interval)
    assert first <= last
    assert (last - first) / step < 350
    if start is not None:
        begins = -(-start // step) * step
        assert first == begins
        assert last >= (begins + rows * step if end is None else min(end, begins + rows * step))
    elif end is not None:
        newest = (end - 1) // step * step
        assert first <= max(0, newest - (rows - 1) * step)
        assert last >= end


def test_candles_need_a_start_or_an_end_and_an_interval_that_exists() -> None:
    with pytest.raises(UsageError, match="give a start or an end"):
        COINBASE.candles("BTC-USD", "1m", None, None, 10)
    with pytest.raises(UnknownName, match="'1h'"):
        COINBASE.candles("BTC-USD", "1H", NOON, None, 10)
    with pytest.raises(UnknownName):
        COINBASE.candles("BTC-USD", "1M", NOON, None, 10)


def test_intervals_are_the_kits_by_name_and_length() -> None:
    assert list(COINBASE.intervals) == ["1m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "1d"]
    assert all(INTERVALS[name] == length for name, length in COINBASE.intervals.items())


def test_only_the_candles_of_the_range_are_given() -> None:
    rows = ",".join(
        f'{{"start":"{NOON // SECOND + 60 * i}","low":"1","high":"4","open":"2","close":"3","volume":"5"}}'
        for i in (3, 2, 1, 0, -1)
    )
    columns = COINBASE.candles("BTC-USD", "1m", NOON, NOON + 3 * MINUTE, 10).read(f'{{"candles":[{rows}]}}'.encode())
    assert columns["time"].tolist() == [NOON, NOON + MINUTE, NOON + 2 * MINUTE]
    assert columns["time"].dtype == np.int64


# ---- trades: the newest only


def tape(*rows: tuple[int, int]) -> bytes:
    """A ticker answer of (id, µs after noon), the newest first as on the wire."""
    prints = ",".join(
        f'{{"trade_id":"{ident}","product_id":"BTC-USD","price":"10","size":"1","time":"{stamp(NOON + after)}",'
        f'"side":"BUY","bid":"","ask":"","exchange":"coinbase"}}'
        for ident, after in sorted(rows, reverse=True)
    )
    return f'{{"trades":[{prints}],"best_bid":"9","best_ask":"11"}}'.encode()


def stamp(time: int) -> str:
    return f"{np.datetime64(time, 'us')}Z"


def test_trades_of_a_range_are_cut_to_the_microsecond_and_the_newest_are_kept() -> None:
    body = tape((1, -1), (2, 0), (3, 20), (4, 30), (5, 31))
    call = COINBASE.trades_between("BTC-USD", NOON, NOON + 31)
    assert [t.id for t in call.read(body)] == [2, 3, 4]
    assert asked(call)[1]["end"] == str(NOON // SECOND + 1)
    assert [t.id for t in COINBASE.trades_between("BTC-USD", NOON, NOON + 31, 2).read(body)] == [3, 4]


def test_the_last_trade_is_the_newest_and_none_where_there_is_none() -> None:
    last = COINBASE.last_trade("BTC-USD").read(tape((1, 0), (2, 10)))
    assert last is not None
    assert (last.id, last.time) == (2, NOON + 10)
    assert COINBASE.last_trade("BTC-USD").read(b'{"trades":[],"best_bid":"","best_ask":""}') is None


# ---- the rest of the wire


def test_a_key_signs_nothing_here(key: Key) -> None:
    public = COINBASE.time()
    assert COINBASE.sign(public, key, NOON) is public
    with pytest.raises(UsageError, match=r"not spoken yet.*nothing was sent") as refusal:
        COINBASE.sign(Call("POST", "/api/v3/brokerage/orders", len, auth=Auth.SIGNED), key, NOON)
    assert key.id not in str(refusal.value)


def test_no_key_is_ever_sent_and_no_cache_asked(key: Key) -> None:
    assert COINBASE.headers(None) == COINBASE.headers(key) == {"Cache-Control": "no-cache"}


def test_an_address_may_ask_ten_times_a_second_and_no_header_counts() -> None:
    assert COINBASE.budgets() == (Budget("PUBLIC-REQUESTS", 10, SECOND, sliding=True),)
    assert COINBASE.used({"X-RateLimit-Remaining": "3"}) == {}


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=5))))
def test_what_is_encoded_reads_back(pairs: list[tuple[str, str]]) -> None:
    params: Params = tuple(pairs)
    assert parse_qsl(COINBASE.encode(params), keep_blank_values=True) == pairs


def test_there_is_market_data_and_no_real_money() -> None:
    assert dict(COINBASE.environments) == {
        "data": Hosts("https://api.coinbase.com", "wss://advanced-trade-ws.coinbase.com")
    }
    assert COINBASE.stream_url(COINBASE.environments["data"]) == "wss://advanced-trade-ws.coinbase.com"


def test_its_streams_say_what_they_lack() -> None:
    streaming = COINBASE.streaming
    assert (streaming.book, streaming.bars, streaming.says_closed) == (BookRule.CONNECTION, False, False)
    assert not streaming.mixed
    for limit, seconds in (streaming.messages, streaming.attempts):
        assert limit / seconds <= 8
