"""What real venues sent, through the same codec: every line reads, and the numbers agree with each other."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kit.model import BookDelta, BookSnapshot, Candle, Quote, Trade
from kit.venues.binance import BINANCE

Find = Callable[[str], Path]
Market = tuple[list[BookDelta], list[Quote], list[Trade], BookSnapshot]


@pytest.fixture(scope="module")
def market(recording: Find) -> Market:
    """Five minutes of BTCUSDT, read once."""
    deltas: list[BookDelta] = []
    quotes: list[Quote] = []
    trades: list[Trade] = []
    snapshots: list[BookSnapshot] = []
    with gzip.open(recording("binance_spot_btcusdt_20240808.gz"), "rt") as lines:
        for line in filter(str.strip, lines):
            raw = line.partition(" ")[2]
            match next(iter(BINANCE.decode(raw)), None):
                case BookDelta() as delta:
                    deltas.append(delta)
                case Quote() as quote:
                    quotes.append(quote)
                case Trade() as trade:
                    trades.append(trade)
                case None:
                    snapshots.append(BINANCE.book("BTCUSDT", 1_000).read(raw.encode()))
    [snapshot] = snapshots
    return deltas, quotes, trades, snapshot


def test_every_line_of_five_minutes_of_btcusdt_reads_as_what_it_is(market: Market) -> None:
    deltas, quotes, trades, snapshot = market
    assert (len(deltas), len(quotes), len(trades)) == (3_451, 28_040, 9_757)
    assert {event.symbol for events in (deltas, quotes, trades) for event in events} == {"BTCUSDT"}
    assert (len(snapshot.bids), len(snapshot.asks)) == (1_000, 1_000)


def test_update_and_trade_ids_run_without_a_gap(market: Market) -> None:
    deltas, _, trades, _ = market
    assert all(after.first_id == before.last_id + 1 for before, after in pairwise(deltas))
    assert [trade.id for trade in trades] == list(range(trades[0].id, trades[0].id + len(trades)))


def test_book_and_quotes_agree_tick_by_tick(market: Market) -> None:
    """After each diff, the book's best prices are those of the newest quote that is not younger."""
    deltas, quotes, _, snapshot = market
    bids, asks = dict(snapshot.bids), dict(snapshot.asks)
    checked, at = 0, 0
    for delta in (d for d in deltas if d.last_id > snapshot.last_id):
        for side, changes in ((bids, delta.bids), (asks, delta.asks)):
            side.update(changes)
            for price in [price for price, qty in changes if not qty]:
                side.pop(price, None)
        while at + 1 < len(quotes) and quotes[at + 1].update_id <= delta.last_id:
            at += 1
        if quotes[at].update_id > snapshot.last_id:
            best = (max(bids), min(asks))
            assert best == (quotes[at].bid, quotes[at].ask)
            checked += 1
    assert checked > 3_000


def binance_us(recording: Find) -> Iterator[dict[str, Any]]:
    with gzip.open(recording("binance_us_20211012.jsonl.gz"), "rt") as lines:
        yield from map(json.loads, lines)


def test_every_frame_of_binance_us_reads(recording: Find) -> None:
    events = [event for line in binance_us(recording) if line["t"] == "recv" for event in BINANCE.decode(line["data"])]
    assert Counter(type(event) for event in events) == {BookDelta: 336, Quote: 128, Trade: 11, Candle: 5}
    assert {event.symbol for event in events if isinstance(event, Trade | Candle)} <= {
        "CRVUSDT", "COMPUSDT", "OMGBUSD", "ZRXUSDT",
    }  # fmt: skip


def test_binance_us_describes_its_instruments_and_budgets_as_they_were_in_2021(recording: Find) -> None:
    [info] = [line["data"].encode() for line in binance_us(recording) if "exchangeInfo" in line.get("url", "")]
    instruments = {instrument.native: instrument for instrument in BINANCE.instruments().read(info)}
    wire = {symbol["symbol"]: symbol for symbol in json.loads(info)["symbols"]}
    assert instruments.keys() == wire.keys()
    btc = instruments["BTCUSD"]
    assert (btc.symbol, str(btc.tick), str(btc.min_notional), str(btc.max_price)) == ("BTC/USD", "0.01", "10", "100000")
    assert all(i.tick > 0 and i.lot > 0 for i in instruments.values())
    assert [(b.name, b.limit) for b in BINANCE.budgets().read(info)] == [
        ("X-MBX-USED-WEIGHT-1M", 1_200),
        ("X-MBX-ORDER-COUNT-10S", 100),
        ("X-MBX-ORDER-COUNT-1D", 200_000),
        ("RAW-REQUESTS-5M", 6_100),
    ]


def test_binance_us_books_read_level_by_level(recording: Find) -> None:
    books = [line for line in binance_us(recording) if "/depth?" in line.get("url", "")]
    assert len(books) == 4
    for line in books:
        snapshot = BINANCE.book("X", 1_000).read(line["data"].encode())
        wire = json.loads(line["data"])
        assert snapshot.bids == [(float(p), float(q)) for p, q in wire["bids"]]
        assert snapshot.bids[0][0] < snapshot.asks[0][0]


def test_one_real_message_of_each_spot_channel_reads(recording: Find) -> None:
    rows = map(json.loads, recording("single_messages_binance.jsonl").read_text().splitlines())
    raw = {(row["mod"], json.loads(row["raw"]).get("stream", "")): row["raw"] for row in rows if row["test"] == "spot"}
    kinds = {name: type(next(iter(BINANCE.decode(text)), None)) for name, text in raw.items()}
    assert kinds == {
        ("trade", "btcusdt@aggTrade"): Trade,
        ("l2_event", "btcusdt@depth@100ms"): BookDelta,
        ("l2_topk", "ethusdt@depth20"): type(None),  # no symbol, no sequence: the kit does not ask for it
        ("bbo", "!bookTicker"): type(None),  # retired by the venue in 2022
        ("ticker", "ethusdt@ticker"): type(None),
        ("ticker", "!ticker@arr"): type(None),
        ("candlestick", "btcusdt@kline_1m"): Candle,
        ("l2_snapshot", ""): type(None),
    }
    assert BINANCE.book("BTCUSDT", 100).read(raw["l2_snapshot", ""].encode()).last_id == 33933317943
