"""Every REST call, played back from what the sandbox once answered: the codec and the client together, no network.

What is recorded and what must hold of it is one story per cassette, told below. Remake them all, against a sandbox
started for the purpose, with

    python -m tests.test_cassettes

Keys, signatures and timestamps are taken out before anything is written, the host becomes a stable one, and headers
that tell nothing (dates, server names) are left out, so that a remade cassette differs where the answers differ.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
import vcr
from vcr.request import Request

from kit.clock import SECOND, Clock, ManualClock, WallClock
from kit.errors import KeyRefused, OutcomeUnknown, RiskRefused, UnknownName, VenueRefused
from kit.model import Instrument, OrderRequest, OrderStatus, OrderType, ReportKind, Side
from kit.net.rest import Rest
from kit.sandbox import launcher
from kit.venue import Venue
from kit.venues.base import Call, Hosts, Key
from kit.venues.binance import BINANCE

FOLDER = Path(__file__).resolve().parent.parent / "cassettes" / "binance"
HOST = "sandbox.papertape.invalid"
SECRETS = ("signature", "timestamp")
KEPT = re.compile(r"content-type|retry-after|x-mbx-.*", re.IGNORECASE)
SYMBOL = "BTC/USDT"

Story = Callable[[Venue], None]
STORIES: dict[str, Story] = {}


def story(tell: Story) -> Story:
    STORIES[tell.__name__] = tell
    return tell


# -- what is asked, and what must hold of the answers -----------------------------------------------------------------


@story
def instruments(venue: Venue) -> None:
    table = venue.instruments()
    assert table.to_dict("index")[SYMBOL].items() >= {"native": "BTCUSDT", "base": "BTC", "status": "trading"}.items()
    instrument = venue.instrument("eth-usdt")
    assert (instrument.native, instrument.tick) == ("ETHUSDT", Decimal("0.01"))
    with pytest.raises(UnknownName, match="did you mean 'BTC/USDT'"):
        venue.instrument("BTC/USTD")
    budgets = {budget.name: budget for budget in venue.rest.do(BINANCE.budgets())}
    assert budgets["X-MBX-USED-WEIGHT-1M"].window == 60 * SECOND


@story
def clock(venue: Venue) -> None:
    now = venue.time()
    assert str(now.tz) == "UTC"
    assert abs(venue.rest.sync().uncertainty) < SECOND


def opens(frame: pd.DataFrame) -> list[str]:
    return [f"{opened:%Y-%m-%d %H:%M}" for opened in frame.index]


@story
def candles(venue: Venue) -> None:
    january = venue.candles(SYMBOL, "1h", start="2026-01-01", end="2026-01-01 04:00")
    assert opens(january) == ["2026-01-01 00:00", "2026-01-01 01:00", "2026-01-01 02:00", "2026-01-01 03:00"]
    assert january["closed"].all()
    assert (january["low"] <= january[["open", "close"]].min(axis=1)).all()
    minutes = venue.candles(SYMBOL, "1m", start="2026-01-01", end="2026-01-01 01:00")
    assert minutes["volume"].sum() == pytest.approx(january["volume"].iloc[0])
    newest = venue.candles(SYMBOL, "1m", limit=3)
    assert newest["closed"].tolist() == [True, True, False]
    months = venue.candles(SYMBOL, "1M", start="2026-01-01", limit=2)
    assert opens(months) == ["2026-01-01 00:00", "2026-02-01 00:00"]
    assert venue.candles(SYMBOL, "1d", end="2000-01-01").empty


@story
def trades(venue: Venue) -> None:
    newest = venue.trades(SYMBOL, limit=5)
    assert newest["id"].diff().dropna().eq(1).all()
    some = venue.trades(SYMBOL, start="2026-01-01", end="2026-01-01 00:05", limit=4)
    assert len(some) == 4
    assert some.index.min() >= pd.Timestamp("2026-01-01", tz="UTC")
    assert some.index.max() < pd.Timestamp("2026-01-01 00:05", tz="UTC")
    assert set(some["side"]) <= {"buy", "sell"}


@story
def book(venue: Venue) -> None:
    levels = venue.book(SYMBOL, limit=5)
    bids, asks = levels[levels["side"] == "bid"], levels[levels["side"] == "ask"]
    assert len(bids) == len(asks) == 5
    assert bids["price"].is_monotonic_decreasing
    assert asks["price"].is_monotonic_increasing
    assert bids["price"].iloc[0] < asks["price"].iloc[0]
    quote = venue.quote(SYMBOL)
    assert quote.bid < quote.ask


def request(venue: Venue, qty: str, share: str | None = None) -> tuple[Instrument, OrderRequest]:
    """A market order, or one limited to a share of the bid."""
    instrument = venue.instrument(SYMBOL)
    if share is None:
        market = OrderRequest(symbol=SYMBOL, side=Side.BUY, type=OrderType.MARKET, qty=Decimal(qty))
        return instrument, market
    price = instrument.price(Decimal(repr(venue.quote(SYMBOL).bid)) * Decimal(share))
    limit = OrderRequest(symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, qty=Decimal(qty), price=price)
    return instrument, limit


@story
def a_market_order(venue: Venue) -> None:
    instrument, buy = request(venue, "0.001")
    ask = venue.rest.do
    ask(BINANCE.order_test(instrument, buy, "market-1"))
    reports = ask(BINANCE.order(instrument, buy, "market-1"))
    bought = [report.fill for report in reports if report.fill]
    assert sum(fill.qty for fill in bought) == Decimal("0.001")
    state = ask(BINANCE.query(instrument, "market-1"))
    assert (state.status, state.filled) == (OrderStatus.FILLED, Decimal("0.001"))
    listed = ask(BINANCE.fills(instrument, venue_order_id=state.venue_id, from_id=None))
    assert [fill.id for fill in listed] == [fill.id for fill in bought]
    since = ask(BINANCE.fills(instrument, venue_order_id=None, from_id=int(listed[0].id)))
    assert [fill.id for fill in since][: len(listed)] == [fill.id for fill in listed]
    assert {balance.asset for balance in ask(BINANCE.balances())} >= {"BTC", "USDT"}


@story
def a_resting_order(venue: Venue) -> None:
    instrument, low = request(venue, "0.001", share="0.5")
    ask = venue.rest.do
    reports = ask(BINANCE.order(instrument, low, "limit-1"))
    assert [report.kind for report in reports] == [ReportKind.ACCEPTED]
    assert [state.client_id for state in ask(BINANCE.open_orders(instrument))] == ["limit-1"]
    assert [state.client_id for state in ask(BINANCE.open_orders(None))] == ["limit-1"]
    with pytest.raises(OutcomeUnknown, match="already has this client id"):
        ask(BINANCE.order(instrument, low, "limit-1"))
    assert [report.kind for report in ask(BINANCE.cancel(instrument, "limit-1"))] == [ReportKind.CANCELED]
    assert ask(BINANCE.query(instrument, "limit-1")).status is OrderStatus.CANCELED
    assert ask(BINANCE.open_orders(instrument)) == []
    with pytest.raises(VenueRefused) as caught:
        ask(BINANCE.cancel(instrument, "limit-1"))
    assert caught.value.code == -2011


@story
def refusals(venue: Venue) -> None:
    instrument, tiny = request(venue, "0.00001")
    ask: Callable[[Call[Any]], object] = venue.rest.do
    for refused, code in (
        (BINANCE.order(instrument, tiny, "tiny"), -1013),  # below the minimum notional
        (BINANCE.order(instrument, replace_qty(tiny, "0.000015"), "dust"), -1013),  # off the lot
        (BINANCE.query(instrument, "nobody"), -2013),
        (BINANCE.candles("NOPE", "1m", None, None, 1), -1121),
    ):
        with pytest.raises(VenueRefused) as caught:
            ask(refused)
        assert caught.value.code == code
    with pytest.raises(RiskRefused, match="insufficient balance"):
        ask(BINANCE.order(instrument, replace_qty(tiny, "90"), "too-much"))


def replace_qty(order: OrderRequest, qty: str) -> OrderRequest:
    return OrderRequest(symbol=order.symbol, side=order.side, type=order.type, qty=Decimal(qty))


@story
def a_wrong_key(venue: Venue) -> None:
    for wrong in (Key("x" * 64, "s" * 64), Key(venue.rest.key.id if venue.rest.key else "", "s" * 64)):
        venue.rest.key = wrong
        with pytest.raises(KeyRefused):
            venue.rest.do(BINANCE.balances())


@story
def faults(venue: Venue) -> None:
    instrument, buy = request(venue, "0.001")
    if venue.sandbox is not None:
        venue.sandbox.fault("429", match="GET /api/v3/klines", times=2, retry_after=1)
        venue.sandbox.fault("503", match="POST /api/v3/order", times=1)
        venue.sandbox.fault("504", match="GET /api/v3/order", times=1)
    assert len(venue.candles(SYMBOL, "1h", start="2026-01-01", limit=2)) == 2
    with pytest.raises(OutcomeUnknown, match="ask with the client id"):
        venue.rest.do(BINANCE.order(instrument, buy, "unanswered-1"))
    assert venue.rest.do(BINANCE.query(instrument, "unanswered-1")).status is OrderStatus.FILLED


# -- playing and recording --------------------------------------------------------------------------------------------


def stripped(request: Request) -> Request | None:
    """A request as it may be kept: our host, no key, no signature, no time. What starts a fault is no part of it."""
    url = urlsplit(request.uri)
    if url.path.startswith("/sandbox/"):
        return None
    request.uri = url._replace(scheme="http", netloc=HOST, query=without_secrets(url.query)).geturl()
    request.headers = {}
    if request.body:
        request.body = without_secrets(request.body.decode())
    return request


def without_secrets(text: str) -> str:
    return "&".join(part for part in text.split("&") if part.partition("=")[0] not in SECRETS)


def told(response: dict[str, Any]) -> dict[str, Any]:
    """An answer as it is kept: without the headers that tell nothing."""
    kept = {name: value for name, value in response["headers"].items() if KEPT.fullmatch(name)}
    return {**response, "headers": kept}


def cassette(name: str, *, recording: bool) -> Any:
    tapes = vcr.VCR(
        record_mode="all" if recording else "none",
        before_record_request=stripped,
        before_record_response=told,
        match_on=["method", "path", "query", "raw_body"],
        decode_compressed_response=True,
    )
    return tapes.use_cassette(str(FOLDER / f"{name}.yaml"), allow_playback_repeats=False)


@pytest.mark.parametrize("name", STORIES)
def test_what_the_sandbox_once_answered_is_still_understood(name: str) -> None:
    now = ManualClock(1_767_225_600_000_000)

    def sleep(seconds: float) -> None:
        now.advance(round(seconds * SECOND))

    with cassette(name, recording=False) as tape:
        play(name, Hosts(f"http://{HOST}", ""), Key("k" * 64, "s" * 64), now, sleep)
    assert tape.all_played


def play(
    name: str,
    hosts: Hosts,
    key: Key,
    now: Clock,
    sleep: Callable[[float], None],
    sandbox: launcher.Handle | None = None,
) -> None:
    rest = Rest(BINANCE, hosts, key=key, clock=now, sleep=sleep, seed=7)
    venue = Venue(BINANCE, "sandbox", hosts, clock=now, rest=rest, sandbox=sandbox)
    try:
        STORIES[name](venue)
    finally:
        venue.close()


def test_every_call_of_the_codec_is_on_a_cassette() -> None:
    recorded = set()
    for name in STORIES:
        with cassette(name, recording=False) as tape:
            recorded |= {(kept.method, urlsplit(kept.uri).path.removeprefix("/api/v3/")) for kept in tape.requests}
    assert recorded == {
        *(("GET", path) for path in ("exchangeInfo", "time", "klines", "trades", "historicalTrades", "aggTrades")),
        *(("GET", path) for path in ("depth", "ticker/bookTicker", "order", "openOrders", "account", "myTrades")),
        ("POST", "order/test"),
        ("POST", "order"),
        ("DELETE", "order"),
    }


def test_no_cassette_holds_a_secret_or_a_host() -> None:
    for path in FOLDER.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"signature=|timestamp=|apikey|127\.0\.0\.1|localhost", text, re.IGNORECASE), path
        assert not re.search(r"\b[A-Za-z0-9]{64}\b", text), path
        assert set(re.findall(r"uri: \w+://([^/]+)/", text)) == {HOST}, path


def test_every_cassette_has_its_story() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(STORIES)


def record() -> None:
    """Start a sandbox of its own and write every cassette anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.yaml"):
        old.unlink()
    with tempfile.TemporaryDirectory() as home:
        os.environ["PAPERTAPE_HOME"] = home
        sandbox = launcher.ensure("cassettes", seed=7)
        try:
            for name in STORIES:
                with cassette(name, recording=True):
                    play(name, sandbox.hosts, sandbox.key, WallClock(), time.sleep, sandbox)
                sys.stdout.write(f"{name}: {(FOLDER / f'{name}.yaml').stat().st_size} bytes\n")
        finally:
            sandbox.stop()


if __name__ == "__main__":
    record()
