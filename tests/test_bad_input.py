"""Bad input, end to end: one clear error before anything is sent, or an honest *unknown* after, and nothing lost.

Every order goes to the sandbox exchange through a middleman that counts what is sent and can spoil the answers.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kit
from kit.broker.accounts import path_of
from kit.clock import WallClock
from kit.errors import (
    AccountMismatch,
    BadAnswer,
    BadOrder,
    BadRange,
    Halted,
    JournalUnwritable,
    KeyRefused,
    KitError,
    LiveForbidden,
    MissingKey,
    RiskRefused,
    StoreError,
    UnknownName,
    Unreached,
    UsageError,
    VenueUnreachable,
)
from kit.model import OrderStatus
from kit.net.rest import Rest
from kit.sandbox.launcher import Handle
from kit.store.schema import number
from kit.venue import Venue
from kit.venues.base import Hosts, Key
from kit.venues.binance import BINANCE
from kit.venues.contract import IN_PROCESS

SYMBOL = "BTC/USDT"
NAMES = (f"bad-input-{number}" for number in count())
"""Account names: the exchange's ids outlive a test."""


@dataclass(frozen=True)
class Spoilt:
    """An answer in place of the exchange's; ``reaches``: the exchange has the request all the same."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    reaches: bool = False


class Middleman:
    """Hands requests on to the exchange; ``spoilt`` answers in its place, ``writes`` counts what may take effect."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.spoilt: Spoilt | None = None
        self.seen: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="test-middleman")
        self._thread.start()

    @property
    def writes(self) -> int:
        return sum(method != "GET" for method, _ in self.seen)

    @contextmanager
    def spoiling(self, spoilt: Spoilt) -> Iterator[None]:
        self.spoilt = spoilt
        try:
            yield
        finally:
            self.spoilt = None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        middleman = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                middleman.seen.append((self.command, self.path.partition("?")[0]))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                spoilt = middleman.spoilt
                answer = middleman.ask(self, body) if spoilt is None or spoilt.reaches else spoilt
                self.say(spoilt or answer)

            def say(self, answer: Spoilt) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server looks for these names

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def ask(self, request: BaseHTTPRequestHandler, body: bytes) -> Spoilt:
        """The exchange's own answer."""
        headers = {n: v for n, v in request.headers.items() if n.lower() in ("x-mbx-apikey", "content-type")}
        asked = urllib.request.Request(self.upstream + request.path, body or None, headers, method=request.command)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - the same
                return Spoilt(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Spoilt(error.code, error.read())


def through(rest: str, like: Venue, *, key: Key | None = None) -> Venue:
    """The sandbox ``like`` with its REST at another address, which is asked again without a pause."""
    hosts = Hosts(rest=rest, stream=like.hosts.stream, ws_api=like.hosts.ws_api)
    client = Rest(BINANCE, hosts, clock=WallClock(), key=key or like.rest.key, sleep=lambda seconds: None)
    return Venue(BINANCE, "sandbox", hosts, rest=client)


@pytest.fixture(scope="module")
def sandbox_venue(own_sandbox: Handle) -> Iterator[Venue]:
    """Of a sandbox that nobody else needs: much is asked here, and its answers lack what tells how much."""
    venue = Venue(BINANCE, "sandbox", own_sandbox.hosts, key=own_sandbox.key, sandbox=own_sandbox)
    yield venue
    venue.close()


@pytest.fixture(scope="module")
def middleman(sandbox_venue: Venue) -> Iterator[Middleman]:
    middleman = Middleman(sandbox_venue.hosts.rest)
    yield middleman
    middleman.close()


@pytest.fixture(scope="module")
def venue(sandbox_venue: Venue, middleman: Middleman) -> Iterator[Venue]:
    """The sandbox behind the middleman, followed."""
    venue = through(middleman.url, sandbox_venue)
    assert venue.live(SYMBOL).ready(timeout=30)
    yield venue
    venue.close()


def opened(kind: str, venue: Venue, account: str) -> kit.Broker:
    return kit.live(venue, account=account) if kind == "live" else kit.paper(venue, account=account, latency=0)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def paper(venue: Venue) -> Iterator[kit.Broker]:
    broker = opened("paper", venue, next(NAMES))
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def live(venue: Venue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Broker]:
    """One for all tests: opening one uses much of what the exchange lets an address ask in a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(tmp_path_factory.mktemp("live")))
        broker = opened("live", venue, next(NAMES))
    yield broker
    broker.cancel_all()
    broker.close()


@pytest.fixture(params=["paper", "live"])
def broker(request: pytest.FixtureRequest) -> kit.Broker:
    """Both kinds of account: the one order path."""
    broker: kit.Broker = request.getfixturevalue(request.param)
    return broker


@pytest.fixture(params=["paper", "live"])
def fresh(request: pytest.FixtureRequest, venue: Venue) -> Iterator[kit.Broker]:
    """Both kinds, for tests that leave nothing as it was."""
    broker = opened(request.param, venue, next(NAMES))
    yield broker
    broker.close()


@pytest.fixture
def nowhere(venue: Venue) -> Iterator[Venue]:
    """A venue at a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    dead = through(f"http://127.0.0.1:{port}", venue)
    yield dead
    dead.close()


@contextmanager
def nothing_sent(broker: kit.Broker, middleman: Middleman) -> Iterator[None]:
    """Neither the journal nor the exchange nor the money is other than before."""

    def facts() -> tuple[object, ...]:
        return len(list(broker.desk.journal.entries())), middleman.writes, broker.balances.to_dict()

    before = facts()
    yield
    assert facts() == before


def mid(venue: Venue) -> float:
    quote = venue.live(SYMBOL).quote
    assert quote is not None
    return quote.mid


def far_below(venue: Venue) -> float:
    """A limit price that no market here comes near."""
    return round(mid(venue) * 0.9)


# -- names and times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["candles", "trades", "book", "quote", "live", "instrument"])
@pytest.mark.parametrize(
    ("symbol", "nearest"), [("BTC/USD", "'BTC/USDT'"), ("ETHUSD", "'ETHUSDT'"), ("BTC/UDST", "'BTC/USDT'")]
)
def test_a_mistyped_symbol_is_told_the_nearest(venue: Venue, verb: str, symbol: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=rf"unknown symbol '{symbol}'; did you mean {nearest}.*instruments\(\) lists"):
        getattr(venue, verb)(symbol)


@pytest.mark.parametrize("interval", ["1min", "1H", "60s", "2m", "", None, 1, ["1m"], pd.Timedelta("1h")])
def test_an_unknown_interval_is_told_which_there_are(venue: Venue, middleman: Middleman, interval: Any) -> None:
    asked = len(middleman.seen)
    for verb in (venue.candles, venue.live):
        with pytest.raises(UnknownName, match=r"(did you mean|known: ).*1m is a minute, 1M a month"):
            verb(SYMBOL, interval)
    assert len(middleman.seen) == asked


@pytest.mark.parametrize(
    ("range_", "words"),
    [
        ({"start": "2026-02-01", "end": "2026-01-01"}, "end=2026-01-01 is before start=2026-02-01"),
        ({"start": "2126-01-01"}, "start=2126-01-01 lies in the future: the venue's clock says"),
        ({"start": "1969-01-01"}, "lies before 1970"),
        ({"start": "01/02/2026"}, "write it year first"),
        ({"start": "2026-02-30"}, "no point in time"),
        ({"start": pd.NaT}, "no point in time"),
        ({"start": 1_767_225_600}, "write it year first"),
        ({"limit": 0}, "from 1 on"),
        ({"limit": float("nan")}, "whole number"),
    ],
)
def test_a_range_that_can_not_be_is_told_why(venue: Venue, range_: dict[str, Any], words: str) -> None:
    for verb in (venue.candles, venue.trades):
        with pytest.raises(BadRange, match=rf"{words}.*nothing was asked"):
            verb(SYMBOL, **range_)


def test_an_empty_range_is_no_error_but_an_empty_frame(venue: Venue) -> None:
    frame = venue.candles(SYMBOL, start="2026-01-01", end="2026-01-01")
    assert frame.empty
    assert list(frame.columns) == list(venue.candles(SYMBOL, limit=1).columns)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "binace"}, UnknownName, "did you mean 'binance'"),
        ({"name": "binance", "environment": "testnt"}, UnknownName, "did you mean 'testnet'"),
        ({"environment": "live"}, UsageError, 'connect\\("binance", environment=…\\) has'),
        ({"sandbox": "../mine"}, UsageError, "can't name a sandbox"),
        ({"seed": 1.5}, UsageError, "whole number; nothing was started"),
        ({"replay": "/no/such/tape.gz", "sandbox": "no-tape"}, UsageError, "can't begin: .*No such file.*nothing was"),
    ],
)
def test_what_can_not_be_connected_is_told_why(arguments: dict[str, Any], error: type[KitError], words: str) -> None:
    with pytest.raises(error, match=words):
        kit.connect(**arguments)


# -- orders that can't be ---------------------------------------------------------------------------------------------

NO_AMOUNT = {
    "negative": (-0.01, "must be above 0"),
    "zero": (0, "must be above 0"),
    "not a number": (float("nan"), "give a finite number"),
    "numpy's not a number": (np.float64("nan"), "give a finite number"),
    "infinite": (float("inf"), "give a finite number"),
    "Decimal's signal": (Decimal("sNaN"), "give a finite number"),
    "absurd": (1e300, "larger than any venue trades"),
    "words": ("a lot", "not a number"),
    "a comma": ("0,01", "not a number"),
    "empty": ("", "not a number"),
    "truth": (True, "not a number"),
    "a column": (pd.Series([0.01]), "give an int, float, str or Decimal"),
    "missing": (pd.NA, "give an int, float, str or Decimal"),
}


@pytest.mark.parametrize("amount", list(NO_AMOUNT))
@pytest.mark.parametrize("name", ["qty", "price", "stop"])
def test_what_is_no_amount_is_told_so(paper: kit.Broker, middleman: Middleman, name: str, amount: str) -> None:
    given, words = NO_AMOUNT[amount]
    order: dict[str, Any] = {"qty": 0.001, name: given}
    with nothing_sent(paper, middleman), pytest.raises(BadOrder, match=rf"(?s)^{name}=.*{words}") as told:
        paper.buy(SYMBOL, **order)
    assert "nothing was sent" in str(told.value)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"qty": "0.000015"}, "LOT_SIZE: .* not a multiple of the lot 0.00001; nearest: 0.00001 or 0.00002"),
        ({"qty": "1e-9"}, "LOT_SIZE: .* below the minimum 0.00001; nearest: 0.00001"),
        ({"qty": 5000}, "MARKET_LOT_SIZE: .* above the maximum 100; nearest: 100"),
        ({"qty": 0.001, "price": "45000.001"}, "PRICE_FILTER: .* the tick 0.01; nearest: 45000 or 45000.01"),
        ({"qty": 0.001, "price": 1e9}, "PRICE_FILTER: .* above the maximum"),
        ({"qty": 0.001, "stop": "45000.001"}, "PRICE_FILTER: stop price"),
        ({"qty": "0.00001"}, "NOTIONAL: .* below the minimum notional 5; nearest quantity: 0.00"),
        ({"qty": 0.001, "price": 1}, "NOTIONAL: .* below the minimum notional 5; nearest quantity: 5"),
        ({"qty": 0.001, "type": "limit"}, "a limit order takes a price="),
        ({"qty": 0.001, "type": "market", "price": 45000}, "a market order takes no price="),
        ({"qty": 0.001, "post_only": True}, "post_only goes with a GTC limit order only"),
        ({"qty": 0.001, "price": 45000, "post_only": "yes"}, "post_only is True or False"),
    ],
)
def test_an_order_the_venue_would_not_take_is_told_the_nearest_it_would(
    broker: kit.Broker, middleman: Middleman, side: str, order: dict[str, Any], words: str
) -> None:
    with nothing_sent(broker, middleman), pytest.raises(BadOrder, match=rf"{words}.*; nothing was sent"):
        getattr(broker, side)(SYMBOL, **order)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"symbol": "BTC/USD"}, "symbol 'BTC/USD'; did you mean 'BTC/USDT'"),
        ({"tif": "gtd"}, "time in force 'gtd'; did you mean 'gtc'"),
        ({"type": "markt"}, "order type 'markt'; did you mean 'market'"),
    ],
)
def test_a_mistyped_word_of_an_order_is_told_the_nearest(
    paper: kit.Broker, middleman: Middleman, order: dict[str, Any], words: str
) -> None:
    wrong: dict[str, Any] = {"symbol": SYMBOL, "qty": 0.001, **order}
    with nothing_sent(paper, middleman), pytest.raises(UnknownName, match=rf"unknown {words}.*; nothing was sent"):
        paper.buy(**wrong)


@pytest.mark.parametrize(
    ("side", "order", "words"),
    [
        ("buy", {"qty": 90}, r"needs up to \d.* USDT and \d.* is free; buy at most \d"),
        ("sell", {"symbol": "SOL/USDT", "qty": 9_000}, "needs 9000 SOL and .* is free; "),
        ("buy", {"qty": 0.001, "price": 900_000}, r"more than 10% through the market at .*; the collar ends at"),
    ],
)
def test_an_order_beyond_the_account_or_far_through_the_market_is_refused(
    broker: kit.Broker, middleman: Middleman, side: str, order: dict[str, Any], words: str
) -> None:
    wrong: dict[str, Any] = {"symbol": SYMBOL, **order}
    with nothing_sent(broker, middleman), pytest.raises(RiskRefused, match=rf"was not sent: .*{words}"):
        getattr(broker, side)(**wrong)


def test_numbers_of_every_library_are_amounts(paper: kit.Broker) -> None:
    typed: list[Any] = [np.float64(0.001), np.float32(0.001), Decimal("0.001"), "0.001", pd.Series([0.001]).iloc[0]]
    assert {paper.buy(SYMBOL, qty).request.qty for qty in typed} == {Decimal("0.001")}


def test_a_key_means_one_order_and_no_other(paper: kit.Broker, middleman: Middleman) -> None:
    paper.buy(SYMBOL, 0.001, key="mine")
    with nothing_sent(paper, middleman):
        for side, qty in (("sell", 0.001), ("buy", 0.002)):
            with pytest.raises(BadOrder, match=r"key='mine' has placed.*nothing was sent.*Another key= is another"):
                getattr(paper, side)(SYMBOL, qty, key="mine")
        for key in ("", 5):
            with pytest.raises(UsageError, match=r"a key is a text.*nothing was sent"):
                paper.buy(SYMBOL, 0.001, key=key)  # type: ignore[arg-type]  # that is the test


# -- orders that are there, and accounts ------------------------------------------------------------------------------


def test_an_order_that_is_over_can_be_cancelled_and_amended_without_effect(
    broker: kit.Broker, venue: Venue, middleman: Middleman
) -> None:
    filled = broker.buy(SYMBOL, 0.001).wait(timeout=10)
    with nothing_sent(broker, middleman):
        assert broker.cancel(filled).status is OrderStatus.FILLED
        assert "it was filled already: nothing to amend" in broker.amend(filled, qty=0.002).note
    resting = broker.buy(SYMBOL, 0.001, price=far_below(venue))
    assert resting.cancel().status is OrderStatus.CANCELED
    with nothing_sent(broker, middleman):
        assert resting.cancel().status is OrderStatus.CANCELED
        assert broker.cancel(resting.id).status is OrderStatus.CANCELED


def test_an_order_nobody_knows_is_told_the_nearest(paper: kit.Broker, venue: Venue, middleman: Middleman) -> None:
    order = paper.buy(SYMBOL, 0.001, price=far_below(venue))
    with nothing_sent(paper, middleman):
        for verb in (paper.order, paper.cancel, paper.amend):
            with pytest.raises(UnknownName, match=rf"did you mean '{order.id}'"):
                verb(order.id[:-1])
            with pytest.raises(UnknownName, match=r"unknown order 'nobody'.*broker\.orders lists"):
                verb("nobody")
            with pytest.raises(UsageError, match="neither an order nor the id of one"):
                verb([order.id])  # type: ignore[arg-type]  # that is the test
    assert order.status is OrderStatus.OPEN


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"qty": 900}, BadOrder),
        ({"qty": 90}, RiskRefused),
        ({"price": 900_000}, RiskRefused),
        ({"price": -1}, BadOrder),
    ],
)
def test_an_amendment_that_can_not_be_leaves_the_order_standing(
    broker: kit.Broker, venue: Venue, middleman: Middleman, change: dict[str, Any], error: type[KitError]
) -> None:
    order = broker.buy(SYMBOL, 0.001, price=far_below(venue))
    with nothing_sent(broker, middleman), pytest.raises(error, match=r"(not|nothing was) sent"):
        broker.amend(order, **change)
    assert order.status is OrderStatus.OPEN


def test_a_halted_account_says_how_to_go_on(broker: kit.Broker, middleman: Middleman) -> None:
    broker.halt("too many mistakes")
    with nothing_sent(broker, middleman), pytest.raises(Halted, match=r"too many mistakes.*broker\.resume\(\) ends it"):
        broker.buy(SYMBOL, 0.001)
    broker.resume()
    assert broker.buy(SYMBOL, 0.001).wait(timeout=10).status is OrderStatus.FILLED


def test_a_closed_account_says_how_to_open_it_again(fresh: kit.Broker) -> None:
    order, again = fresh.buy(SYMBOL, 0.001), rf"kit\.{fresh.terms.kind}\(…\) opens it again"
    fresh.close()
    for act in (lambda: fresh.buy(SYMBOL, 0.001), lambda: fresh.cancel(order), fresh.halt, fresh.reconcile):
        with pytest.raises(UsageError, match=rf"closed: nothing was sent; {again}"):
            act()
    assert len(fresh.orders) == 1


def test_an_account_with_other_money_is_not_opened_as_if_it_were_this_one(paper: kit.Broker, venue: Venue) -> None:
    with pytest.raises(AccountMismatch, match=r"opened with cash 10000 USDT, not 20000.*reset=True.*account='…'"):
        kit.paper(venue, account=paper.account, cash=20_000)
    assert paper.cash == 10_000


@pytest.mark.parametrize("cash", [0, -1, "lots", float("nan"), {}, {"USDT": 0}, {5: 1}, [1]])
def test_money_that_can_not_be_opens_no_account(venue: Venue, cash: Any) -> None:
    name = next(NAMES)
    with pytest.raises(UsageError, match="cash"):
        kit.paper(venue, account=name, cash=cash)
    assert not path_of(name).exists()


def test_a_closed_venue_says_how_to_connect_again(sandbox_venue: Venue, middleman: Middleman) -> None:
    closed = through(middleman.url + "/", sandbox_venue)
    closed.close()
    for ask in (closed.instruments, closed.time, lambda: closed.live(SYMBOL), lambda: kit.live(closed)):
        with pytest.raises(UsageError, match=r"closed.*kit\.connect"):
            ask()


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_missing_key_is_told_where_it_is_looked_for() -> None:
    testnet = kit.connect("binance", environment="testnet")
    for asking in (lambda: kit.live(testnet), lambda: testnet.rest.do(BINANCE.balances())):
        with pytest.raises(
            MissingKey, match=r"nothing was.*PAPERTAPE_BINANCE_TESTNET_KEY.*SECRET.*keyring set papertape"
        ):
            asking()
    assert not path_of("testnet").exists()
    testnet.close()


def test_real_money_takes_a_deliberate_act_before_anything_is_asked() -> None:
    with pytest.raises(LiveForbidden, match=r"nothing was opened or sent.*PAPERTAPE_LIVE_ACCOUNT.*kit\.paper"):
        kit.live(kit.connect("binance", environment="live"))


@pytest.mark.parametrize("half", ["id", "secret"])
def test_a_wrong_key_is_refused_and_never_shown(venue: Venue, middleman: Middleman, half: str) -> None:
    right = venue.rest.key
    assert right is not None
    wrong = Key(right.id[::-1], right.secret) if half == "id" else Key(right.id, right.secret[::-1])
    stranger = through(middleman.url, venue, key=wrong)
    with pytest.raises(KeyRefused, match=r"Nothing happened; check key and secret") as told:
        kit.live(stranger, account=next(NAMES))
    assert wrong.secret not in str(told.value)
    assert wrong.id not in str(told.value)
    stranger.close()


def test_an_order_signed_with_a_wrong_secret_is_rejected_and_the_right_one_works_again(
    live: kit.Broker, venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, locked = venue.rest.key, live.balances["locked"].sum()
    assert right is not None
    with monkeypatch.context() as patch:
        patch.setattr(venue.rest, "key", Key(right.id, right.secret[::-1]))
        order = live.buy(SYMBOL, 0.001, key="signed")
        assert order.status is OrderStatus.REJECTED
        assert "check key and secret" in order.why()
        assert live.balances["locked"].sum() == locked
    assert live.buy(SYMBOL, 0.001, key="signed again").wait(timeout=10).status is OrderStatus.FILLED


# -- venues that are not there, or answer rubbish ---------------------------------------------------------------------

RUBBISH = {
    "a login page": Spoilt(200, b"<html>Welcome to our hotel!</html>", {"Content-Type": "text/html"}),
    "nothing": Spoilt(200),
    "half an answer": Spoilt(200, b'{"symbol":"BTCUSDT","orderId":12'),
    "another question's answer": Spoilt(200, b'{"serverTime": "noon", "weather": []}'),
    "no gzip": Spoilt(200, b"not gzip", {"Content-Encoding": "gzip"}),
    "a redirect": Spoilt(302, headers={"Location": "/elsewhere"}),
    "a gateway's error": Spoilt(502, b"<html>Bad gateway</html>"),
}


def test_a_closed_port_is_said_and_nothing_was_sent(nowhere: Venue) -> None:
    name = next(NAMES)
    openings = (lambda: kit.paper(nowhere, account=name), lambda: kit.live(nowhere, account=name))
    for ask in (lambda: nowhere.candles(SYMBOL), nowhere.time, lambda: nowhere.live(SYMBOL), *openings):
        with pytest.raises(VenueUnreachable, match=r"takes no connection.*Nothing was sent; it may be tried again"):
            ask()


def test_an_order_to_a_closed_port_is_rejected_and_locks_nothing(
    live: kit.Broker, venue: Venue, nowhere: Venue, middleman: Middleman, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = live.buy(SYMBOL, 0.001, price=far_below(venue))
    locked, sent = live.balances["locked"].sum(), middleman.writes
    with monkeypatch.context() as patch:
        patch.setattr(venue.rest, "hosts", nowhere.hosts)
        order = live.buy(SYMBOL, 0.001, key="unsent")
        assert order.status is OrderStatus.REJECTED
        assert "it did not reach the venue" in order.why()
        with pytest.raises(Unreached, match=r"took no effect.*may still fill"):
            resting.cancel()
        with pytest.raises(Unreached):
            live.reconcile()
    assert resting.status is OrderStatus.OPEN
    assert (live.balances["locked"].sum(), middleman.writes) == (locked, sent)
    assert resting.cancel().status is OrderStatus.CANCELED


@pytest.mark.parametrize("kind", list(RUBBISH))
def test_a_server_that_answers_rubbish_is_not_believed(venue: Venue, middleman: Middleman, kind: str) -> None:
    with middleman.spoiling(RUBBISH[kind]):
        for ask in (lambda: venue.candles(SYMBOL, limit=5), venue.time, venue.instruments, lambda: venue.book(SYMBOL)):
            with pytest.raises((BadAnswer, VenueUnreachable), match=r"check|may be asked again|Check"):
                ask()
        name = next(NAMES)
        with pytest.raises((BadAnswer, VenueUnreachable)):
            kit.live(venue, account=name)
    assert ("GET", "/elsewhere") not in middleman.seen
    assert len(venue.candles(SYMBOL, limit=5)) == 5
    kit.paper(venue, account=name).close()  # the name is not spoilt


@pytest.mark.parametrize("reaches", [True, False], ids=["it was there", "it was not"])
@pytest.mark.parametrize("kind", list(RUBBISH))
def test_an_order_answered_with_rubbish_is_unknown_keeps_its_money_and_is_never_sent_again(
    live: kit.Broker, middleman: Middleman, monkeypatch: pytest.MonkeyPatch, kind: str, reaches: bool
) -> None:
    sent, locked, rubbish = middleman.writes, live.balances["locked"].sum(), RUBBISH[kind]
    key = f"{kind} {reaches}"
    with middleman.spoiling(Spoilt(rubbish.status, rubbish.body, rubbish.headers, reaches)):
        order = live.buy(SYMBOL, 0.001, key=key)
        assert live.buy(SYMBOL, 0.001, key=key).id == order.id
        if not reaches:  # else the account's own stream may have told of it already
            assert order.status is OrderStatus.UNKNOWN
            assert "the venue is asked with its id, it is not sent again" in order.why()
            assert live.balances["locked"].sum() > locked
    monkeypatch.setattr(live.desk, "contract", IN_PROCESS)
    live.desk.ask(order.id)
    assert order.status == ("filled" if reaches else "rejected")
    assert order.filled == (Decimal("0.001") if reaches else 0)
    assert live.balances["locked"].sum() == locked
    assert middleman.writes == sent + 1
    until(lambda: not live.desk.unreconciled)  # nothing more leaves before that


# -- the disk ---------------------------------------------------------------------------------------------------------


def fill_disk(broker: kit.Broker) -> None:
    """No page more for the journal, as on a full disk."""
    database = broker.desk.journal._db
    database.execute("VACUUM")
    pages = number(database, "PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count={pages}")


def buy_without_end(broker: kit.Broker) -> None:
    for attempt in count():
        broker.buy(SYMBOL, "0.0002", key=f"until the disk is full {attempt}")


def make_room(broker: kit.Broker) -> None:
    broker.desk.journal._db.execute("PRAGMA max_page_count=1000000")


def test_a_full_disk_is_said_before_anything_is_sent_and_nothing_is_lost(
    fresh: kit.Broker, venue: Venue, middleman: Middleman
) -> None:
    long = "an intent that needs a page of its own " * 30
    resting = fresh.buy(SYMBOL, 0.001, price=far_below(venue), key="rests")
    fill_disk(fresh)
    with pytest.raises(JournalUnwritable, match=r"full.*was not sent\. Make room on the disk.*then try again"):
        buy_without_end(fresh)
    with nothing_sent(fresh, middleman), pytest.raises(JournalUnwritable, match=r"was not sent\. Make room"):
        fresh.buy(SYMBOL, 0.001, key=long)
    assert resting.cancel().status is OrderStatus.CANCELED  # no intent: it needs no room to be asked for
    make_room(fresh)
    assert fresh.buy(SYMBOL, 0.001, key=long).wait(timeout=10).status is OrderStatus.FILLED
    again = reopened(fresh, venue)
    assert again.order(resting.id).status is OrderStatus.CANCELED
    again.close()


def reopened(broker: kit.Broker, venue: Venue) -> kit.Broker:
    """The same account from its journal; every order and all the money are as they were."""
    orders, balances, name = broker.orders, broker.balances, broker.account
    broker.close()
    again = opened(broker.terms.kind, venue, name)
    shown = ["id", "status", "filled", "average_price"]
    pd.testing.assert_frame_equal(again.orders[shown], orders[shown])
    pd.testing.assert_frame_equal(again.balances, balances)
    return again


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_a_home_that_can_not_be_is_told_how_to_name_another(
    venue: Venue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PAPERTAPE_HOME", str(tmp_path / "file" / ("" if place == "a file" else "home")))
    for opening in (lambda: kit.paper(venue), lambda: kit.live(venue), lambda: kit.connect("sandbox", sandbox="x")):
        with pytest.raises(StoreError, match=r"nothing was opened or sent.*PAPERTAPE_HOME"):
            opening()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder this user may not write")
def test_a_home_that_is_read_only_is_told_so(venue: Venue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv("PAPERTAPE_HOME", str(tmp_path / "locked"))
    with pytest.raises(StoreError, match="write permission"):
        kit.paper(venue)


@pytest.mark.parametrize("damage", [b"my shopping list " * 100, b"SQLite format 3\0" + b"\xff" * 5000, b""])
def test_a_file_that_is_no_journal_is_left_as_it_is(venue: Venue, damage: bytes) -> None:
    path = path_of("damaged")
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    if not damage:
        kit.paper(venue, account="damaged").close()
        return
    with pytest.raises(StoreError, match=r"(Choose another account=|reset=True)"):
        kit.paper(venue, account="damaged")
    assert path.read_bytes() == damage
    kit.paper(venue, account="damaged", reset=True).close()
    assert next(path.parent.glob("damaged.until-*.sqlite")).read_bytes() == damage


# -- strategies -------------------------------------------------------------------------------------------------------


class Idle(kit.Strategy):
    fast: int = 3

    def next(self) -> None:
        pass


def test_a_strategy_that_can_not_be_run_is_told_why(venue: Venue, paper: kit.Broker) -> None:
    candles, live = venue.candles(SYMBOL, limit=20), venue.live(SYMBOL)
    wrong: list[tuple[Any, str]] = [
        (lambda: Idle(fst=5), "did you mean 'fast'"),
        (lambda: Idle(fast="5"), "Idle.fast is int"),
        (lambda: kit.backtest(Idle, candles), r"Idle is a class: .* Idle\(\)"),  # type: ignore[arg-type]  # that is the test
        (lambda: kit.backtest(Idle(), live), "pass a DataFrame of candles"),  # type: ignore[arg-type]  # the same
        (lambda: kit.backtest(Idle(), candles, fees=0.001), "pass kit.Fees"),  # type: ignore[arg-type]  # the same
        (lambda: kit.backtest(Idle(), candles.iloc[:1]), "at least 2 closed candles"),
        (lambda: kit.run(Idle, paper, live), r"Idle is a class: .* Idle\(\)"),  # type: ignore[arg-type]  # the same
        (lambda: kit.run(Idle(), live, paper), "pass kit.paper"),  # type: ignore[arg-type]  # the same
        (lambda: kit.chart(live), "live.frame"),  # type: ignore[arg-type]  # the same
    ]
    for act, words in wrong:
        with pytest.raises(UsageError, match=words):
            act()
    assert paper.orders.empty
