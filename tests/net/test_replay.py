"""A tape goes through the code of live frames: what it holds comes out, what it lacks is said, nothing is made up."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kit.clock import WallClock
from kit.errors import BookUnsynced, UnknownName, UsageError
from kit.model import BookDelta, Candle, Instrument, Quote, Trade
from kit.net.live import Live
from kit.net.loop import Loop
from kit.net.recorder import Recorder
from kit.net.replay import Replayed, replay
from kit.net.rest import Rest
from kit.net.stream import Streams
from kit.net.supervisor import Backoff
from kit.net.tape import Received, records
from kit.venue import Venue
from kit.venues.binance import BINANCE

Eventually = Callable[[Callable[[], object]], None]
Recording = Callable[[str], Path]
Pair = Sequence[str]
Tiny = Any  # the fixture of conftest.py

BEGAN = 1_790_000_000_000_000_000
FILLER = [[f"{price}.00", "1.0"] for price in range(60, 39, -1)]
"""Levels that make a book a whole one."""


class Spool:
    """A tape in the making: each line comes a millisecond after the one before, and reads as a venue would say it."""

    def __init__(self, path: Path, venue: str = "binance") -> None:
        self.path, self.ns = path, BEGAN
        self.lines: list[dict[str, Any]] = [{"t": "header", "version": 1, "venue": venue, "created_ns": BEGAN}]

    def line(self, kind: str, **told: Any) -> None:
        self.ns += 1_000_000
        self.lines.append({"t": kind, "ns": self.ns, **told})

    def pause(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)

    def opened(self, conn: int = 1) -> None:
        self.line("open", conn=conn, url="wss://there/stream")

    def closed(self, conn: int = 1) -> None:
        self.line("close", conn=conn, reason="1006")

    def recv(self, told: object, conn: int = 1) -> None:
        self.line("recv", conn=conn, text=told if isinstance(told, str) else json.dumps(told, separators=(",", ":")))

    def http(self, path: str, body: object, status: int = 200) -> None:
        url = f"https://there/api/v3/{path}"
        self.line("http", method="GET", url=url, status=status, headers={}, text=json.dumps(body))

    def trade(self, number: int, *, native: str = "BTCUSDT", conn: int = 1) -> None:
        data = {"e": "trade", "s": native, "t": number, "p": "50.00", "q": "1.0", "T": self.ns // 10**6, "m": True}
        self.recv({"stream": f"{native.lower()}@trade", "data": data}, conn)

    def aggregate(self, first: int, last: int) -> None:
        data = {"e": "aggTrade", "s": "BTCUSDT", "a": 1, "p": "50.00", "q": "1.0", "f": first, "l": last,
                "T": self.ns // 10**6, "m": True}  # fmt: skip
        self.recv({"stream": "btcusdt@aggTrade", "data": data})

    def bar(self, minute: int, trades: int, *, closed: bool = False, interval: str = "1m") -> None:
        opens = (BEGAN // 10**6 // 60_000 + minute) * 60_000
        k = {"t": opens, "i": interval, "o": "50", "h": "50", "l": "50", "c": "50", "v": f"{trades}", "q": "50",
             "n": trades, "x": closed}  # fmt: skip
        self.recv({"e": "kline", "E": self.ns // 10**6, "s": "BTCUSDT", "k": k})

    def delta(
        self, first: int, last: int, bids: Sequence[Pair] = (), asks: Sequence[Pair] = (), *, native: str = "BTCUSDT",
        conn: int = 1,
    ) -> None:  # fmt: skip
        data = {"e": "depthUpdate", "E": self.ns // 10**6, "s": native, "U": first, "u": last, "b": bids, "a": asks}
        self.recv({"stream": f"{native.lower()}@depth@100ms", "data": data}, conn)

    def quote(self, update: int, bid: Pair, ask: Pair) -> None:
        data = {"u": update, "s": "BTCUSDT", "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
        self.recv({"stream": "btcusdt@bookTicker", "data": data})

    def book(self, last: int, *, native: str = "BTCUSDT", limit: int = 1000) -> None:
        self.http(f"depth?symbol={native}&limit={limit}", whole(last))

    def played(self) -> Replayed:
        self.path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in self.lines).encode()))
        return replay(self.path)

    def said(self, symbol: str = "BTC/USDT") -> dict[str, Any]:
        return dict(self.played().summary()["instruments"][symbol])


def whole(last: int) -> dict[str, Any]:
    """An answer of depth: 61.50 bid, 61.70 asked."""
    bids, asks = [["61.50", "2.00"], *FILLER], [["61.70", "3.00"], ["99.00", "1.0"]]
    return {"lastUpdateId": last, "bids": bids, "asks": asks}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "tape.jsonl.gz")


# -- recordings of real venues


@pytest.fixture(scope="module")
def binance(recording: Recording) -> Replayed:
    return replay(recording("binance_spot_btcusdt_20240808.gz"))


def test_every_message_of_a_real_tape_is_told_of_and_no_trade_is_missing(binance: Replayed) -> None:
    said = binance.summary()
    assert said["venue"] == "binance"
    assert said["connections"]["frames"] == 41_249
    assert said["connections"]["sequence_gaps"] == 0
    one = said["instruments"]["BTC/USDT"]
    assert one["events"] == {"trade": 9_757, "quote": 28_040, "book": 3_451, "candle": 0}
    assert one["trades"] == {"first_id": 3_735_683_259, "last_id": 3_735_693_015, "gaps": 0}
    assert one["candles"] == {"open": 0, "closed": 0}
    assert len(binance["BTCUSDT"].trades) == 9_757
    assert len(binance["BTC/USDT"].quotes) == 28_040
    assert binance.told() == []


def test_numbers_are_as_the_venue_wrote_them(binance: Replayed) -> None:
    book = binance["BTC/USDT"].summary()["book"]
    assert book["best_bid"] == ["61685.99000000", "1.00870000"]
    assert book["best_ask"] == ["61686.00000000", "2.29327000"]
    assert (book["epochs"], book["resyncs"]) == (1, 0)


def test_a_recorder_whose_clock_was_behind_shows_a_negative_latency(binance: Replayed) -> None:
    assert -1_280 < binance["BTC/USDT"].summary()["latency_ms"]["p50"] < -1_260


def test_the_top_of_binances_book_is_its_book_ticker_wherever_the_two_can_be_compared(
    recording: Recording, binance: Replayed
) -> None:
    quotes = binance["BTC/USDT"].quotes
    told = quotes["update_id"].to_numpy()
    best = quotes[["bid", "bid_qty", "ask", "ask_qty"]].to_numpy()
    tops = binance["BTC/USDT"].tops.set_index("update_id")[["bid", "bid_qty", "ask", "ask_qty"]]
    deltas = [
        event.last_id
        for record in records(recording("binance_spot_btcusdt_20240808.gz"))
        if isinstance(record, Received)
        for event in BINANCE.decode(record.data)
        if isinstance(event, BookDelta) and event.last_id >= max(tops.index[0], told[0])
    ]
    after_each = tops.reindex(pd.Index(deltas), method="ffill").to_numpy()  # a top that stayed as it was has no row
    newest = best[np.searchsorted(told, deltas, side="right") - 1]
    assert len(deltas) == 3_449
    assert (after_each == newest).all()


def test_a_venue_of_binances_protocol_is_read_with_its_aggregates_and_its_answers_by_symbol(
    recording: Recording,
) -> None:
    played = replay(recording("binance_us_20211012.jsonl.gz"))
    assert list(played.instruments) == ["COMP/USDT", "OMG/BUSD", "CRV/USDT", "ZRX/USDT"]
    assert [one.book.synced for one in played.instruments.values()] == [True] * 4
    omg = played["OMGBUSD"].summary()
    assert omg["trades"] == {"first_id": 439_577, "last_id": 439_587, "gaps": 0}
    assert omg["candles"] == {"open": 1, "closed": 1}
    assert omg["book"]["best_bid"] == ["13.73070000", "91.95000000"]
    assert played.told() == []


@pytest.mark.parametrize(
    ("name", "symbol", "checks", "bid"),
    [
        ("kraken_v2_book_xrpusd.cbcap", "XRP/USD", 1_147, ["1.08083", "7721.98218036"]),
        ("kraken_v2_book_ethusd.cbcap", "ETH/USD", 1_129, ["1877.43", "0.02367331"]),
    ],
)
def test_every_checksum_of_kraken_is_met_at_the_depth_that_was_asked_for(
    recording: Recording, name: str, symbol: str, checks: int, bid: list[str]
) -> None:
    played = replay(recording(name))
    book = played.summary()["instruments"][symbol]["book"]
    assert (book["checksums_ok"], book["checksums_failed"]) == (checks, 0)
    assert (book["epochs"], book["resyncs"], book["best_bid"]) == (1, 0, bid)
    assert len(played[symbol].book.bids(1_000)) == 25
    quote = played[symbol].quote
    assert quote is not None
    assert [quote.bid, quote.bid_qty] == [float(text) for text in bid]


def test_coinbases_frames_are_counted_without_a_hole_and_its_great_snapshot_is_taken(recording: Recording) -> None:
    played = replay(recording("coinbase_advanced_first300.jsonl.gz"))
    said = played.summary()
    assert said["connections"] == {
        "opened": 1, "closed": 0, "frames": 300, "sent": 5, "answers": 1, "unreadable": 0, "sequence_gaps": 0,
    }  # fmt: skip
    btc, eth = said["instruments"]["BTC/USD"], said["instruments"]["ETH/USD"]
    assert btc["trades"] == {"first_id": 1_068_571_991, "last_id": 1_068_572_105, "gaps": 0}
    assert eth["trades"] == {"first_id": 833_140_679, "last_id": 833_140_787, "gaps": 0}
    assert (btc["events"]["trade"], eth["events"]["trade"]) == (115, 109)
    assert btc["book"]["best_bid"] == ["65083.66", "0.16159398"]
    assert len(played["BTC-USD"].book.bids(100_000)) > 10_000
    assert btc["latency_ms"]["p50"] < 100  # the hundred trades of the first frame are history, and not late
    assert played.told() == []


# -- what a tape tells


def test_a_book_is_that_of_the_answer_and_what_came_since(spool: Spool) -> None:
    spool.opened()
    spool.delta(5, 8)
    spool.book(8)
    spool.delta(9, 9, bids=[["61.50", "0.00"], ["61.40", "7.10"]])
    book = spool.said()["book"]
    assert book["best_bid"] == ["61.40", "7.10"]
    assert book["best_ask"] == ["61.70", "3.00"]


def test_an_answer_may_come_before_the_first_update(spool: Spool) -> None:
    spool.book(8)
    spool.delta(9, 9, asks=[["61.60", "4.0"]])
    assert spool.said()["book"]["best_ask"] == ["61.60", "4.0"]


def test_an_answer_without_its_question_is_known_by_its_shape(spool: Spool) -> None:
    spool.delta(5, 8)
    spool.recv(whole(8))
    assert spool.said()["book"]["best_bid"] == ["61.50", "2.00"]


def test_an_answer_without_its_question_is_nobodys_where_two_books_are_on_the_tape(spool: Spool) -> None:
    spool.delta(5, 8)
    spool.delta(5, 8, native="ETHUSDT")
    spool.recv(whole(8))
    played = spool.played()
    assert [one.book.epoch for one in played.instruments.values()] == [0, 0]
    assert len(played.told()) == 2
    assert "never whole" in played.told()[0]


@pytest.mark.parametrize("limit", [5, 20])
def test_the_top_of_a_book_is_never_taken_for_the_whole(spool: Spool, limit: int) -> None:
    spool.delta(5, 8)
    spool.book(8, limit=limit)
    said = spool.said()["book"]
    assert (said["epochs"], said["best_bid"], said["best_ask"]) == (0, None, None)


def test_an_answer_that_failed_tells_nothing(spool: Spool) -> None:
    spool.delta(5, 8)
    spool.http("depth?symbol=BTCUSDT&limit=1000", {"code": -1003, "msg": "Too many requests."}, status=429)
    spool.book(8)
    played = spool.played()
    assert (played.connections.answers, played.whole, played["BTC/USDT"].book.epoch) == (2, True, 1)


def test_a_book_with_a_hole_is_not_shown_until_an_answer_mends_it(spool: Spool) -> None:
    spool.book(4)
    spool.delta(5, 8)
    spool.delta(10, 12)
    lost = spool.played()
    assert lost["BTC/USDT"].summary()["book"]["best_bid"] is None
    with pytest.raises(BookUnsynced):
        lost["BTC/USDT"].depth()
    assert [("updates 9 to 9" in words or "out of step" in words) for words in lost.told()] == [True, True]
    spool.book(12)
    spool.delta(13, 13)
    book = spool.said()["book"]
    assert (book["epochs"], book["resyncs"], book["best_bid"]) == (2, 1, ["61.50", "2.00"])


def test_a_book_that_stands_still_while_quotes_move_on_is_built_anew(spool: Spool) -> None:
    spool.book(4)
    spool.delta(5, 8)
    spool.quote(9, ["61.60", "1.0"], ["61.70", "3.00"])
    for _ in range(7):
        spool.pause(1)
        spool.trade(1)
    spool.delta(9, 9, bids=[["61.60", "1.0"]])
    spool.book(9)
    said = spool.said()["book"]
    assert (said["epochs"], said["resyncs"]) == (2, 1)


def test_a_hole_in_the_trade_ids_is_one_gap_however_long_and_a_repetition_none(spool: Spool) -> None:
    for number in (5, 6, 6, 5, 7, 10, 11, 30):
        spool.trade(number)
    played = spool.played()
    assert played["BTC/USDT"].summary()["trades"] == {"first_id": 5, "last_id": 30, "gaps": 2}
    assert played["BTC/USDT"].trades["id"].tolist() == [5, 6, 7, 10, 11, 30]
    assert played.told() == ["BTC/USDT: holes in the trade ids: 2 (trades missing: 20)"]


def test_an_aggregate_stands_for_all_the_trades_it_sums_up(spool: Spool) -> None:
    for first, last in ((5, 9), (10, 10), (12, 20)):
        spool.aggregate(first, last)
    assert spool.said()["trades"] == {"first_id": 5, "last_id": 20, "gaps": 1}


def test_bars_are_counted_as_they_stand_at_the_end(spool: Spool) -> None:
    spool.bar(0, 1)
    spool.bar(0, 2, closed=True)
    spool.bar(1, 1)
    said = spool.said()
    assert (said["events"]["candle"], said["candles"]) == (3, {"open": 1, "closed": 1})


def test_bars_of_two_intervals_are_two_frames(spool: Spool) -> None:
    spool.trade(1)
    spool.bar(0, 1, interval="5m")
    spool.bar(0, 1)
    spool.bar(1, 1)
    one = spool.played()["BTC/USDT"]
    assert one.intervals == ["5m", "1m"]
    assert (len(one.candles), len(one.bars("1m"))) == (1, 2)
    assert (one.candles.attrs["interval"], one.bars("1m").attrs["interval"]) == ("5m", "1m")
    assert one.summary()["candles"] == {"open": 1, "closed": 0}
    with pytest.raises(UnknownName, match="1h"):
        one.bars("1h")


def test_frames_say_what_they_are_of(spool: Spool) -> None:
    spool.trade(1)
    spool.quote(1, ["1.0", "1.0"], ["2.0", "1.0"])
    played = spool.played()
    one = played["BTC/USDT"]
    for frame in (one.trades, one.quotes, one.tops, one.candles):
        assert {"symbol": "BTC/USDT", "venue": "binance", "environment": "TAPE"}.items() <= frame.attrs.items()
    assert one.quote == Quote("BTC/USDT", 1.0, 1.0, 2.0, 1.0, 1)
    assert repr(one) == "<played BTC/USDT · 1 trade, 1 quote>"
    assert "2 frames" in repr(played)
    assert played.table.loc["BTC/USDT", "trades"] == 1


def test_a_tape_of_the_simulated_exchange_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "tape", venue="sandbox")
    spool.trade(1)
    assert spool.played()["BTC/USDT"].trades.attrs["environment"] == "SANDBOX"


# -- names


def test_a_name_is_divided_as_the_tape_lists_it_else_by_what_is_paid_with(spool: Spool) -> None:
    listed = {"symbol": "BNBUSD", "status": "TRADING", "baseAsset": "BNB", "quoteAsset": "USD", "filters": []}
    for native in ("BNBUSD", "SOLFDUSD", "ETHBTC", "QWERTY"):
        spool.trade(1, native=native)
    spool.http("exchangeInfo?symbol=BNBUSD", {"symbols": [listed]})
    played = spool.played()
    assert list(played.instruments) == ["BNB/USD", "SOL/FDUSD", "ETH/BTC", "QWERTY"]
    assert played["ethbtc"].symbol == "ETH/BTC"
    with pytest.raises(UnknownName, match="ETH/BTC"):
        played["ETH/BTD"]


def test_a_tape_that_does_not_say_whose_it_is_is_known_by_its_frames(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "tape", venue="")
    spool.recv({"result": None, "id": 1})
    spool.trade(1)
    assert spool.played().venue == "binance"


@pytest.mark.parametrize(("venue", "words"), [("bitstamp", "bitstamp"), ("", "whose tape")])
def test_a_tape_that_nobody_here_can_read_is_refused(tmp_path: Path, venue: str, words: str) -> None:
    spool = Spool(tmp_path / "tape", venue=venue)
    spool.recv({"event": "trade", "data": {}})
    with pytest.raises(UsageError, match=words):
        spool.played()


# -- connections


def test_a_connection_that_ends_costs_the_book_until_the_next_has_built_it_anew(spool: Spool) -> None:
    spool.opened(1)
    spool.book(4)
    spool.delta(5, 8)
    spool.closed(1)
    spool.opened(2)
    spool.delta(20, 21, conn=2)
    assert spool.played()["BTC/USDT"].book.synced is False
    spool.book(21)
    spool.delta(22, 22, conn=2)
    said = spool.played().summary()
    assert (said["connections"]["opened"], said["connections"]["closed"]) == (2, 1)
    book = said["instruments"]["BTC/USDT"]["book"]
    assert (book["epochs"], book["resyncs"], book["best_bid"]) == (2, 1, ["61.50", "2.00"])


def test_a_question_ends_with_its_connection(spool: Spool) -> None:
    spool.opened(1)
    spool.delta(5, 8)
    spool.closed(1)
    spool.opened(2)
    spool.book(21)
    spool.delta(22, 22, conn=2)
    assert spool.said()["book"]["best_bid"] == ["61.50", "2.00"]


def test_the_end_of_the_tape_loses_nothing(spool: Spool) -> None:
    spool.opened(1)
    spool.book(4)
    spool.delta(5, 8)
    spool.closed(1)
    assert spool.said()["book"]["best_bid"] == ["61.50", "2.00"]


def test_a_second_connection_takes_over_from_the_first_without_a_loss(spool: Spool) -> None:
    spool.opened(1)
    spool.book(4)
    spool.delta(5, 8)
    spool.trade(1)
    spool.opened(2)
    for number in (1, 2):
        spool.delta(8 + number, 8 + number, conn=2)
        spool.trade(number, conn=2)
        spool.delta(8 + number, 8 + number)
        spool.trade(number)
    spool.closed(1)
    spool.delta(11, 11, conn=2)
    spool.trade(3, conn=2)
    played = spool.played()
    assert played["BTC/USDT"].trades["id"].tolist() == [1, 2, 3]
    book = played["BTC/USDT"].summary()["book"]
    assert (book["epochs"], book["resyncs"]) == (1, 0)
    assert played["BTC/USDT"].book.last_id == 11
    assert played.told() == []


def coinbase(spool: Spool, number: int, kind: str = "update") -> None:
    updates = [
        {"side": side, "event_time": "2026-08-09T21:05:48.170326Z", "price_level": price, "new_quantity": "1.50"}
        for side, price in (("bid", "10.0"), ("offer", "11.0"))
    ]
    event = {"type": kind, "product_id": "BTC-USD", "updates": updates}
    told = {"channel": "l2_data", "timestamp": "2026-08-09T21:05:48.4Z", "sequence_num": number, "events": [event]}
    spool.recv(told)


def test_a_frame_missing_from_a_connections_numbering_costs_what_it_carried(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "tape", venue="coinbase")
    coinbase(spool, 0, "snapshot")
    coinbase(spool, 1)
    coinbase(spool, 3)
    said = spool.played().summary()
    assert said["connections"]["sequence_gaps"] == 1
    assert said["instruments"]["BTC/USD"]["book"]["best_bid"] is None
    coinbase(spool, 4, "snapshot")
    played = spool.played()
    book = played.summary()["instruments"]["BTC/USD"]["book"]
    assert (book["epochs"], book["resyncs"], book["best_bid"]) == (2, 1, ["10.0", "1.50"])
    assert "frames 2 to 2" in played.told()[0]


# -- damage


def test_a_tape_that_is_cut_off_is_played_up_to_there_and_says_so(spool: Spool) -> None:
    for number in range(1, 500):
        spool.trade(number)
    spool.played()
    spool.path.write_bytes(spool.path.read_bytes()[:-60])
    played = replay(spool.path)
    assert not played.whole
    assert len(played["BTC/USDT"].trades) > 100
    assert "cut off" in played.told()[-1]
    assert "damaged" in repr(played)


def test_a_frame_that_cannot_be_read_is_told_and_the_book_not_believed_after_it(spool: Spool) -> None:
    spool.book(4)
    spool.delta(5, 8)
    spool.recv('{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","s":')
    spool.delta(9, 9)
    played = spool.played()
    assert (played.connections.unreadable, played.whole) == (1, False)
    assert played["BTC/USDT"].book.synced is False


# -- what the kit records itself

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.1")
)


@pytest.fixture
def recorded(tiny: Tiny, loop: Loop, tmp_path: Path) -> Iterator[tuple[Live, Recorder]]:
    """A live instrument of the tiny venue that is recorded from the first byte on."""
    clock = WallClock()
    rest = Rest(BINANCE, tiny.hosts, clock=clock)
    streams = Streams(BINANCE, tiny.hosts, loop=loop, clock=clock, seed=1)
    streams.supervisor.backoff = Backoff(1, first=0.02)
    with Recorder("binance", tmp_path / "own.jsonl.gz", clock) as recorder:
        streams.witness(recorder)
        rest.witnesses = (recorder,)
        live = Live(
            BINANCE, rest, streams, loop=loop, clock=clock, instrument=BTC, interval="1m", environment="SANDBOX"
        )
        yield live, recorder
        live.close()
        streams.close()
        rest.close()


def test_a_tape_gives_back_what_the_live_frame_held_through_a_drop(
    tiny: Tiny, recorded: tuple[Live, Recorder], eventually: Eventually
) -> None:
    live, recorder = recorded
    eventually(lambda: len(tiny.streams) == 4)
    eventually(lambda: len(live.frame) == 6)
    for step in range(3):
        tiny.trade(100.0 + step)
        tiny.level("b", "99.00", f"{step + 2}.0")
        tiny.level("b", "98.00", f"{step + 1}.0")
    assert live.ready(10)
    tiny.roll()
    tiny.drop()
    eventually(lambda: tiny.handshakes == 2 and len(tiny.streams) == 4)
    tiny.trade(103.0)
    tiny.level("b", "98.00", "0")
    tiny.level("a", "101.00", "4.0")
    assert live.ready(10)
    eventually(lambda: live.trades["id"].iloc[-1] == tiny.trades[-1]["id"] and live.quotes["ask_qty"].iloc[-1] == 4.0)
    eventually(lambda: live.book.best().ask_qty == 4.0 and len(live.frame) == 7)
    recorder.close()
    played = replay(recorder.path)
    one = played["BTC/USDT"]
    numbers = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "closed"]
    pd.testing.assert_frame_equal(one.candles[numbers], live.frame[numbers].tail(len(one.candles)))
    pd.testing.assert_frame_equal(
        one.trades[["id", "price", "qty", "side"]], live.trades[["id", "price", "qty", "side"]].tail(len(one.trades))
    )
    assert (one.quote, one.book.best()) == (live.quote, live.book.best())
    assert one.book.bids(9) == [(99.0, 4.0)]
    assert one.summary()["book"] == {
        "epochs": 2, "resyncs": 1, "best_bid": ["99.00", "4.0"], "best_ask": ["101.00", "4.0"], "checksums_ok": 0,
        "checksums_failed": 0,
    }  # fmt: skip
    assert (played.connections.opened, played.connections.closed) == (2, 1)


def test_a_tape_of_the_sandbox_holds_what_its_live_frame_showed(sandbox_venue: Venue, tmp_path: Path) -> None:
    path = tmp_path / "sandbox.jsonl.gz"
    live = sandbox_venue.live("BTC/USDT", "1s")
    came: Counter[type] = Counter()
    with sandbox_venue.record(path):
        live.tap(lambda event, _: came.update([type(event)]))
        until = time.monotonic() + 30
        while not (came[Trade] >= 5 and came[Candle] >= 5 and came[BookDelta] >= 10) and time.monotonic() < until:
            live.wait(timeout=10)
    live.close()
    one = replay(path)["BTC/USDT"]
    assert one.summary()["trades"]["gaps"] == 0
    columns = ["price", "qty", "side"]
    held = live.trades.set_index("id")[columns]
    told = one.trades.set_index("id")[columns]
    assert len(told) > 3
    pd.testing.assert_frame_equal(told, held.loc[told.index[0] : told.index[-1]])
    numbers = ["open", "high", "low", "close", "volume", "trades"]
    bars = one.candles[one.candles["closed"]][numbers].iloc[1:]
    assert len(bars) > 0
    pd.testing.assert_frame_equal(bars, live.frame.loc[bars.index, numbers])
    tops = ["bid", "bid_qty", "ask", "ask_qty"]
    both = one.tops.set_index("update_id")[tops]
    same = live.tops.drop_duplicates("update_id").set_index("update_id")[tops].reindex(both.index).dropna()
    assert len(same) > 5
    pd.testing.assert_frame_equal(both.loc[same.index], same)
