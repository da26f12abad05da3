"""What a venue's verbs give: whole ranges, honest frames, and kind words for what can't be."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest

import kit
from kit.clock import HOUR, MINUTE, SECOND, ManualClock
from kit.errors import BadAnswer, BadRange, KitError, MissingKey, UnknownName, UsageError
from kit.market import candles
from kit.market.feed import FeedState
from kit.net import progress
from kit.runtime import runtime
from kit.venue import Venue, connect
from kit.venues.base import Hosts, Key, MarketCodec
from kit.venues.binance import BINANCE
from kit.venues.coinbase import COINBASE
from kit.venues.kraken import KRAKEN
from tests.net.loopback import Loopback
from tests.net.tiny_coinbase import TinyCoinbase
from tests.net.tiny_kraken import TinyKraken

T0 = candles.moment("2026-01-01", "start")
BTC, ETH = {"symbol": "BTCUSDT", "baseAsset": "BTC"}, {"symbol": "ETHUSDT", "baseAsset": "ETH"}
SYMBOLS = [{**each, "status": "TRADING", "quoteAsset": "USDT", "filters": []} for each in (BTC, ETH)]


class Exchange(ThreadingHTTPServer):
    """A small Binance with a bar a minute and a trade every ten seconds, and a few bad habits to choose from."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.now = T0 + 10_000 * MINUTE + 30 * SECOND
        self.listed = T0
        self.missing: set[int] = set()
        self.most = 1000
        self.overlap = 0
        self.stuck = False
        self.takes = 0
        self.clock: ManualClock | None = None
        self.seen: list[tuple[str, dict[str, str]]] = []

    def asked(self, endpoint: str) -> list[dict[str, str]]:
        return [params for path, params in self.seen if path == f"/api/v3/{endpoint}"]

    def answer(self, endpoint: str, params: dict[str, str]) -> object:
        self.now += self.takes
        if self.clock is not None:
            self.clock.advance(self.takes)
        answer: object = getattr(self, f"get_{endpoint.replace('/', '_')}")(params)
        return answer

    def get_time(self, _: dict[str, str]) -> object:
        return {"serverTime": self.now // 1000}

    def get_exchangeInfo(self, params: dict[str, str]) -> object:  # noqa: N802 - the endpoint's name
        asked = [each for each in SYMBOLS if each["symbol"] == params.get("symbol", each["symbol"])]
        return {"symbols": asked, "rateLimits": []} if asked else (400, {"code": -1121, "msg": "Invalid symbol."})

    def get_klines(self, params: dict[str, str]) -> object:
        step, limit = candles.interval_us(params["interval"]), min(int(params["limit"]), self.most)
        end = min(self.now, int(params.get("endTime", 1 << 50)) * 1000) // step + 1
        if "startTime" in params and not self.stuck:
            first = max(self.listed, int(params["startTime"]) * 1000 - self.overlap * step)
            opens = [n for n in range(-(-first // step), end) if n * step not in self.missing][:limit]
        else:
            last = T0 // step + 1000 if self.stuck else end
            opens = [n for n in range(self.listed // step, last) if n * step not in self.missing][-limit:]
        return [self.kline(n * step // 1000, step // 1000) for n in opens]

    def kline(self, opened: int, step: int) -> list[object]:
        price = f"{opened // step % 1000}.5"
        return [opened, price, price, price, price, "2", opened + step - 1, "3", 4, "1", "1", "0"]

    def trade(self, number: int) -> dict[str, object]:
        at = (T0 + number * 10 * SECOND) // 1000
        return {"id": number, "price": "7.5", "qty": "0.5", "time": at, "isBuyerMaker": number % 2 == 0}

    @property
    def last_trade(self) -> int:
        return (self.now - T0) // (10 * SECOND)

    def get_trades(self, params: dict[str, str]) -> object:
        return [self.trade(n) for n in range(self.last_trade + 1)][-int(params["limit"]) :]

    def get_historicalTrades(self, params: dict[str, str]) -> object:  # noqa: N802 - the endpoint's name
        first = 0 if self.stuck else int(params["fromId"])
        return [self.trade(n) for n in range(first, self.last_trade + 1)][: int(params["limit"])]

    def get_aggTrades(self, params: dict[str, str]) -> object:  # noqa: N802 - the endpoint's name
        first = max(0, -((T0 - int(params["startTime"]) * 1000) // (10 * SECOND)))
        last = min(self.last_trade, (int(params["endTime"]) * 1000 - T0) // (10 * SECOND))
        rows = [self.trade(n) for n in range(first, last + 1)][: int(params["limit"])]
        return [
            {"a": 1, "p": t["price"], "q": t["qty"], "f": t["id"], "l": t["id"], "T": t["time"], "m": t["isBuyerMaker"]}
            for t in rows
        ]

    def get_depth(self, params: dict[str, str]) -> object:
        levels = min(int(params["limit"]), 3)
        asks, bids = [[f"{100 + n}", "1"] for n in range(levels)], [[f"{99 - n}", "2"] for n in range(levels - 1)]
        return {"lastUpdateId": 77, "bids": bids, "asks": asks}

    def get_ticker_bookTicker(self, params: dict[str, str]) -> object:  # noqa: N802 - the endpoint's name
        return {"symbol": params["symbol"], "bidPrice": "99", "bidQty": "2", "askPrice": "100", "askQty": "1"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body leave in two writes: the second would wait 40 ms for the first
    server: Exchange

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        params = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.seen.append((url.path, params))
        answer = self.server.answer(url.path.removeprefix("/api/v3/"), params)
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def trading() -> Iterator[tuple[Exchange, Venue]]:
    """An exchange, and a venue whose own clock is an hour behind the exchange's."""
    exchange = Exchange()
    thread = threading.Thread(target=exchange.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    exchange.clock = ManualClock(exchange.now - HOUR)
    venue = Venue(BINANCE, "testnet", Hosts(f"http://127.0.0.1:{exchange.server_port}", ""), clock=exchange.clock)
    try:
        yield exchange, venue
    finally:
        venue.close()
        exchange.shutdown()
        exchange.server_close()
        thread.join()


def opens(frame: pd.DataFrame) -> list[int]:
    """Minutes since T0 of the frame's bars."""
    return [int(n) for n in (candles.open_times(frame) - T0) // MINUTE]


# -- candles: ranges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("most", [1000, 300])
def test_a_range_comes_whole_however_many_pages_it_has(rows: int, most: int) -> None:
    with trading() as (exchange, venue):
        exchange.most = most
        frame = venue.candles("BTC/USDT", start="2026-01-01", end=pd.Timestamp(T0 + rows * MINUTE, unit="us"))
    assert opens(frame) == list(range(rows))
    assert frame["open"].tolist() == [float(f"{(T0 // MINUTE + n) % 1000}.5") for n in range(rows)]
    assert frame.attrs["holes"] == []
    assert frame["closed"].all()


def test_start_belongs_to_a_range_and_end_does_not() -> None:
    with trading() as (_, venue):
        assert opens(venue.candles("BTC/USDT", start="2026-01-01 00:02", end="2026-01-01 00:05")) == [2, 3, 4]
        assert opens(venue.candles("BTC/USDT", start="2026-01-01 00:01:01", end="2026-01-01 00:04:01")) == [2, 3, 4]


@pytest.mark.parametrize(
    "start",
    [
        date(2026, 1, 2),
        datetime(2026, 1, 2),  # noqa: DTZ001 - a naive datetime is what is tested
        datetime(2026, 1, 2, tzinfo=UTC),
        pd.Timestamp("2026-01-02 01:00", tz="Europe/Berlin"),
        "2026-01-02T02:00+02:00",
        np.datetime64("2026-01-02"),
    ],
)
def test_times_may_be_said_in_many_ways_and_are_utc(start: candles.Moment) -> None:
    with trading() as (_, venue):
        frame = venue.candles("BTC/USDT", start=start, limit=1)
    assert frame.index[0] == pd.Timestamp("2026-01-02", tz="UTC")


def test_without_a_start_the_newest_come() -> None:
    with trading() as (_, venue):
        assert opens(venue.candles("BTC/USDT")) == list(range(9501, 10_001))
        assert opens(venue.candles("BTC/USDT", limit=2)) == [9999, 10_000]
        assert opens(venue.candles("BTC/USDT", limit=2345)) == list(range(7656, 10_001))
        assert opens(venue.candles("BTC/USDT", end="2026-01-01 01:00", limit=2)) == [58, 59]
        assert opens(venue.candles("BTC/USDT", end="2026-01-01 01:00")) == list(range(60))


def test_with_a_start_a_limit_takes_the_first() -> None:
    with trading() as (_, venue):
        assert opens(venue.candles("BTC/USDT", start="2026-01-01", limit=1200)) == list(range(1200))
        frame = venue.candles("BTC/USDT", start="2026-01-01", end="2026-01-01 00:02", limit=5)
        assert opens(frame) == [0, 1]


def test_a_start_alone_reaches_to_now_in_as_many_pages_as_it_needs() -> None:
    with trading() as (exchange, venue):
        frame = venue.candles("BTC/USDT", start=pd.Timestamp(T0 + 7_500 * MINUTE, unit="us"))
        assert opens(frame) == list(range(7_500, 10_001))
        assert len(exchange.asked("klines")) == 3


def test_pages_that_overlap_are_joined_without_doubles() -> None:
    with trading() as (exchange, venue):
        exchange.overlap = 10
        assert opens(venue.candles("BTC/USDT", start="2026-01-01", end="2026-01-02")) == list(range(1440))


def test_a_venue_that_repeats_itself_is_a_bad_answer_and_no_endless_loop() -> None:
    with trading() as (exchange, venue):
        exchange.stuck = True
        with pytest.raises(BadAnswer, match="gave before"):
            venue.candles("BTC/USDT", start="2026-01-01", end="2026-01-03")
        with pytest.raises(BadAnswer, match="gave before"):
            venue.candles("BTC/USDT", limit=2500)
        with pytest.raises(BadAnswer, match="gave before"):
            venue.trades("BTC/USDT", start="2026-01-01", end="2026-01-03")


# -- candles: what a frame says ---------------------------------------------------------------------------------------


def test_the_forming_bar_is_marked_by_the_venues_clock_not_ours() -> None:
    with trading() as (exchange, venue):
        assert venue.candles("BTC/USDT", limit=3)["closed"].tolist() == [True, True, False]
        exchange.now += 30 * SECOND - 1000
        assert exchange.clock is not None
        exchange.clock.advance(30 * SECOND - 1000)
        assert venue.candles("BTC/USDT", limit=2)["closed"].tolist() == [True, False]


def test_a_bar_that_closed_while_the_answer_was_under_way_is_not_called_closed() -> None:
    with trading() as (exchange, venue):
        venue.candles("BTC/USDT", limit=1)
        exchange.takes = 40 * SECOND  # the question leaves in minute 10,000 and is answered in the next
        frame = venue.candles("BTC/USDT", limit=2)
    assert opens(frame) == [10_000, 10_001]
    assert frame["closed"].tolist() == [False, False]


def test_bars_that_are_missing_are_holes_and_the_one_that_forms_is_none() -> None:
    with trading() as (exchange, venue):
        exchange.missing = {T0 + n * MINUTE for n in (3, 4, 7, 10_000)}
        frame = venue.candles("BTC/USDT", start="2026-01-01", end="2026-01-01 00:10")
        assert opens(frame) == [0, 1, 2, 5, 6, 8, 9]
        assert frame.attrs["holes"] == [
            ["2026-01-01T00:03:00+00:00", "2026-01-01T00:05:00+00:00"],
            ["2026-01-01T00:07:00+00:00", "2026-01-01T00:08:00+00:00"],
        ]
        assert venue.candles("BTC/USDT", limit=3).attrs["holes"] == []
        assert venue.candles("BTC/USDT", start="2026-01-01", limit=3).attrs["holes"] == []


def test_nothing_in_a_range_is_an_empty_frame_with_the_schema_and_says_so() -> None:
    with trading() as (_, venue):
        before = venue.candles("BTC/USDT", "1h", start="2025-12-31", end="2026-01-01")
        none = venue.candles("BTC/USDT", start="2026-01-01", end="2026-01-01")
        never = venue.candles("BTC/USDT", end="2025-12-31")
        some = venue.candles("BTC/USDT", limit=1)
    assert before.attrs["holes"] == [["2025-12-31T00:00:00+00:00", "2026-01-01T00:00:00+00:00"]]
    assert none.attrs["holes"] == never.attrs["holes"] == []
    for frame in (before, none, never):
        assert frame.empty
        assert frame.dtypes.equals(some.dtypes)
        assert frame.index.dtype == some.index.dtype


def test_attrs_are_json_and_say_where_a_frame_comes_from() -> None:
    with trading() as (_, venue):
        frames = [
            venue.candles("btcusdt", limit=1),
            venue.trades("btcusdt"),
            venue.book("btcusdt"),
            venue.instruments(),
        ]
    for frame in frames:
        assert json.loads(json.dumps(frame.attrs)) == frame.attrs
        assert (frame.attrs["venue"], frame.attrs["environment"]) == ("binance", "TESTNET")
        assert frame.attrs.get("symbol", "BTC/USDT") == "BTC/USDT"
    assert frames[0].attrs["interval"] == "1m"


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("range_", "words"),
    [
        ({"start": "2026-01-02", "end": "2026-01-01"}, "end=2026-01-01 is before start=2026-01-02"),
        ({"start": "soon"}, "start='soon'"),
        ({"end": 1_767_225_600}, "end=1767225600"),
        ({"limit": 0}, "limit=0"),
        ({"limit": -5}, "limit=-5"),
        ({"limit": True}, "limit=True"),
        ({"limit": 2.5}, r"limit=2\.5"),
    ],
)
def test_a_range_that_can_not_be_is_refused_before_anything_is_asked(range_: dict[str, Any], words: str) -> None:
    with trading() as (exchange, venue):
        with pytest.raises(BadRange, match=words):
            venue.candles("BTC/USDT", **range_)
        with pytest.raises(BadRange, match=words):
            venue.trades("BTC/USDT", **range_)
        assert not exchange.seen


def test_a_start_in_the_future_is_told_the_venues_time() -> None:
    with trading() as (exchange, venue):
        with pytest.raises(BadRange, match="future: the venue's clock says 2026-01-07T22:40:30"):
            venue.candles("BTC/USDT", start="2026-01-08")
        with pytest.raises(BadRange, match="future: the venue's clock says 2026-01-07T22:40:30"):
            venue.trades("BTC/USDT", start="2026-01-08")
        assert not exchange.asked("klines")
        assert not exchange.asked("aggTrades")
        assert opens(venue.candles("BTC/USDT", start="2026-01-07 22:40:00")) == [10_000]  # an hour ahead of our clock


def test_a_mistyped_interval_is_told_the_nearest_before_anything_is_asked() -> None:
    with trading() as (exchange, venue):
        for verb in (venue.candles, venue.live):
            with pytest.raises(UnknownName, match="did you mean '15m'"):
                verb("BTC/USDT", "15min")
            with pytest.raises(UnknownName, match="unknown interval"):
                verb("BTC/USDT", ["1m"])  # type: ignore[arg-type]  # that is the test
        assert not exchange.seen


@pytest.mark.parametrize(
    ("said", "meant"), [("BTC/USTD", "BTC/USDT"), ("ETHUSD", "ETHUSDT"), ("BT/CUSDT", "BTC/USDT"), ("", "BTCUSDT")]
)
def test_a_mistyped_symbol_is_told_the_nearest(said: str, meant: str) -> None:
    with trading() as (_, venue), pytest.raises(UnknownName, match=meant):
        venue.candles(said)


def test_a_symbol_may_be_spelled_in_many_ways_and_is_asked_for_once() -> None:
    with trading() as (exchange, venue):
        for spelling in ("BTC/USDT", "btc-usdt", "BTCUSDT", "btc_usdt", " Btc/Usdt ", "BTC:USDT"):
            assert venue.instrument(spelling).symbol == "BTC/USDT"
        assert len(exchange.asked("exchangeInfo")) == 1


# -- the other verbs --------------------------------------------------------------------------------------------------


def test_trades_of_a_range_are_single_prints_without_a_gap() -> None:
    with trading() as (_, venue):
        frame = venue.trades("BTC/USDT", start="2026-01-01 00:01:05", end="2026-01-01 06:00")
    assert frame["id"].tolist() == list(range(7, 2160))
    assert frame.index[0] == pd.Timestamp("2026-01-01 00:01:10", tz="UTC")
    assert frame["side"].tolist()[:2] == ["buy", "sell"]
    assert list(frame.columns) == ["id", "price", "qty", "side"]


def test_the_newest_trades_come_as_many_as_wanted() -> None:
    with trading() as (exchange, venue):
        last = exchange.last_trade
        assert venue.trades("BTC/USDT")["id"].tolist() == list(range(last - 999, last + 1))
        assert venue.trades("BTC/USDT", limit=3)["id"].tolist() == [last - 2, last - 1, last]
        assert venue.trades("BTC/USDT", limit=2500)["id"].tolist() == list(range(last - 2499, last + 1))
        assert venue.trades("BTC/USDT", start="2026-01-01", limit=3)["id"].tolist() == [0, 1, 2]


def test_no_trades_are_an_empty_frame_with_the_schema() -> None:
    with trading() as (_, venue):
        none = venue.trades("BTC/USDT", start="2025-01-01", end="2025-01-02")
        empty_range = venue.trades("BTC/USDT", start="2026-01-01", end="2026-01-01")
        some = venue.trades("BTC/USDT", limit=1)
    for frame in (none, empty_range):
        assert frame.empty
        assert frame.dtypes.equals(some.dtypes)
        assert frame.index.dtype == some.index.dtype


def test_trades_up_to_an_end_need_a_start() -> None:
    with trading() as (exchange, venue):
        with pytest.raises(BadRange, match="need a start="):
            venue.trades("BTC/USDT", end="2026-01-02")
        assert not exchange.seen


def test_the_book_comes_best_first_and_knows_its_update() -> None:
    with trading() as (_, venue):
        book = venue.book("BTC/USDT", limit=3)
        with pytest.raises(BadRange):
            venue.book("BTC/USDT", limit=0)
    assert book.to_numpy().tolist() == [
        ["bid", 99.0, 2.0],
        ["bid", 98.0, 2.0],
        ["ask", 100.0, 1.0],
        ["ask", 101.0, 1.0],
        ["ask", 102.0, 1.0],
    ]
    assert book.attrs["last_id"] == 77


def test_the_quote_speaks_of_our_symbol() -> None:
    with trading() as (_, venue):
        quote = venue.quote("btcusdt")
    assert (quote.symbol, quote.bid, quote.ask) == ("BTC/USDT", 99.0, 100.0)


def test_instruments_are_a_table_by_symbol() -> None:
    with trading() as (_, venue):
        table = venue.instruments()
    assert list(table.index) == ["BTC/USDT", "ETH/USDT"]
    assert table.loc["BTC/USDT", "native"] == "BTCUSDT"
    assert table["tick"].dtype == np.float64


def test_the_time_is_the_venues() -> None:
    with trading() as (exchange, venue):
        assert venue.time().floor("ms") == pd.Timestamp(exchange.now // 1000, unit="ms", tz="UTC")


# -- progress ---------------------------------------------------------------------------------------------------------


def test_what_is_quick_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with trading() as (_, venue):
        venue.candles("BTC/USDT", limit=3000)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("wanted", "terminal"), [(True, True), (False, True), (True, False)])
def test_what_takes_long_shows_a_bar_in_a_terminal_and_takes_it_away(
    wanted: bool, terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with trading() as (exchange, venue):
        venue.instrument("BTC/USDT")
        exchange.takes = progress.PATIENCE
        before = threading.active_count()
        venue.candles("BTC/USDT", start="2026-01-01", end="2026-01-05", progress=wanted)
        assert threading.active_count() <= before + 1  # the server's; the bar brings no thread of its own
    shown = capsys.readouterr().err
    assert ("BTC/USDT 1m" in shown) is (wanted and terminal)
    assert shown.endswith("\r") is (wanted and terminal)


# -- connecting -------------------------------------------------------------------------------------------------------


@pytest.fixture
def connected() -> Iterator[None]:
    yield
    runtime.close()


def test_binance_is_the_data_host_without_a_key_until_asked_otherwise(connected: None) -> None:
    venue = connect("binance")
    assert (venue.environment, venue.rest.key, venue.sandbox) == ("DATA", None, None)
    assert not venue.hosts.real_money


def test_an_environment_brings_its_own_key(connected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", "CANARY" * 10)
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", "CANARYSECRET")
    venue = connect("binance", environment="testnet")
    assert venue.rest.key == Key("CANARY" * 10, "CANARYSECRET")
    assert "CANARY" not in repr(venue) + repr(vars(venue))
    assert connect("binance", environment="demo").rest.key is None


def test_half_a_key_is_told_when_connecting(connected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", "CANARY" * 10)
    with pytest.raises(MissingKey, match="PAPERTAPE_BINANCE_TESTNET_SECRET"):
        connect("binance", environment="testnet")


def test_connecting_again_gives_the_same_venue_until_it_is_closed_or_its_key_changes(
    connected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = connect("binance", environment="testnet")
    assert connect("binance", environment="testnet") is first
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", "k" * 64)
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", "s" * 64)
    second = connect("binance", environment="testnet")
    assert second is not first
    second.close()
    assert connect("binance", environment="testnet") is not second


@pytest.mark.parametrize("name", ["kraken", "coinbase"])
def test_kraken_and_coinbase_are_read_without_a_key(
    name: str, connected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PAPERTAPE_{name.upper()}_DATA_KEY", "CANARY" * 10)
    venue = connect(name)
    assert (venue.name, venue.environment, venue.rest.key) == (name, "DATA", None)
    assert repr(venue) == f"<venue {name} · DATA · {venue.hosts.rest}>"
    assert connect(name) is venue
    with pytest.raises(UnknownName, match="known: data"):
        connect(name, environment="live")


@pytest.mark.parametrize(("codec", "make"), [(KRAKEN, TinyKraken), (COINBASE, TinyCoinbase)])
def test_orders_there_are_refused_before_anything_is_sent(
    codec: MarketCodec, make: Callable[[], Loopback], connected: None
) -> None:
    tiny = make()
    venue = Venue(codec, "data", tiny.hosts)
    with pytest.raises(UsageError, match=r"nothing was sent\. Trade on paper there, with kit\.paper\(venue\)"):
        kit.live(venue)
    venue.close()
    tiny.close()
    assert tiny.asked == []


@pytest.mark.parametrize(("codec", "make"), [(KRAKEN, TinyKraken), (COINBASE, TinyCoinbase)])
def test_a_paper_account_trades_on_their_live_market(
    codec: MarketCodec, make: Callable[[], Loopback], connected: None
) -> None:
    tiny = make()
    native = next(iter(tiny.markets))
    tiny.trade(native, "100.00")
    venue = Venue(codec, "data", tiny.hosts)
    live = venue.live("BTC/USD")
    assert live.ready(10), live.reason
    broker = kit.paper(venue, latency=0.0)
    timer = threading.Timer(0.3, tiny.level, (native, "bids", "98.00", "7.00000000"))
    timer.start()  # proves that the market has not moved on
    order = broker.buy("BTC/USD", 0.5)
    timer.join()
    assert (str(order.status), broker.fills["price"].tolist()) == ("filled", [101.0])
    assert "101" in order.why()
    broker.close()
    venue.close()
    tiny.close()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "binanse"}, UnknownName, "did you mean 'binance'"),
        ({"name": "craken"}, UnknownName, "did you mean 'kraken'"),
        ({"name": "binance", "environment": "tesnet"}, UnknownName, "did you mean 'testnet'"),
        ({"name": "binance", "seed": 7}, UsageError, "only the sandbox takes seed="),
        ({"seed": "seven"}, UsageError, "seed='seven': a sandbox's seed is a whole number; nothing was started"),
        ({"seed": True}, UsageError, "seed=True"),
        ({"sandbox": "a/b"}, UsageError, "'a/b' can't name a sandbox"),
        ({"sandbox": 5}, UsageError, "sandbox=5: a sandbox is named in text; nothing was started"),
        ({"environment": "live"}, UsageError, "the sandbox has no environment"),
    ],
)
def test_what_can_not_be_connected_is_said_kindly(arguments: dict[str, Any], error: type[KitError], words: str) -> None:
    with pytest.raises(error, match=words):
        connect(**arguments)


@pytest.fixture
def sandbox(connected: None) -> Iterator[Venue]:
    venue = connect(sandbox="venue-test", seed=7)
    yield venue
    runtime.close()
    assert venue.sandbox is not None
    venue.sandbox.stop()


def test_the_sandbox_is_found_again_and_says_that_it_is_one(sandbox: Venue) -> None:
    assert connect(sandbox="venue-test") is sandbox
    assert sandbox.environment == sandbox.candles("BTC/USDT", limit=1).attrs["environment"] == "SANDBOX"
    assert "SANDBOX, simulated" in repr(sandbox)
    assert sandbox.rest.key is not None
    assert sandbox.rest.key.id not in repr(sandbox)


def test_a_live_frame_is_one_a_name_and_ends_with_its_venue(sandbox: Venue) -> None:
    live = sandbox.live("BTC/USDT", "1m")
    assert sandbox.live("btcusdt") is live
    assert live.ready(timeout=20)
    frame, history = live.frame, sandbox.candles("BTC/USDT", start=live.frame.index[0])
    assert history["close"][frame.index[:-1]].tolist() == frame["close"].tolist()[:-1]
    live.close()
    second = sandbox.live("BTC/USDT", "1m")
    assert second is not live
    sandbox.close()
    with pytest.raises(UsageError, match=r"closed; kit\.connect\(\) opens another"):
        sandbox.live("BTC/USDT", "1m")
    assert second.state is FeedState.CLOSED
    assert connect(sandbox="venue-test") is not sandbox


def test_a_closed_venue_says_so() -> None:
    with trading() as (_, venue):
        venue.close()
        with pytest.raises(UsageError, match=r"kit\.connect"):
            venue.time()
