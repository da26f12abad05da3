"""The guard in front of real money: addresses decide, a live account is meant three times, and paper has no way there.

No real host is asked: a server on loopback plays the live one, with the sandbox behind it.
"""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import requests

import kit
from kit.broker import guard
from kit.broker.accounts import path_of
from kit.errors import LiveForbidden, MissingKey, UsageError
from kit.model import Instrument, OrderRequest, OrderType, Side
from kit.notebook import display
from kit.notebook.chart import equity_figure
from kit.notebook.panel import account_html
from kit.venue import Venue
from kit.venues.base import Auth, Call, Effect, Hosts, Key
from kit.venues.binance import BINANCE
from kit.venues.permissions import Permissions

HARMLESS = {"enableWithdrawals": False, "enableSpotAndMarginTrading": True, "ipRestrict": True}
NAME = "my-real-one"


def at(rest: str, *, real_money: bool = False) -> Hosts:
    return Hosts(rest=rest, stream="ws://127.0.0.1:1", real_money=real_money)


# -- addresses


@pytest.mark.parametrize("environment", ["testnet", "demo"])
def test_what_moves_at_a_testnet_and_in_demo_mode_is_play_money(environment: str) -> None:
    assert guard.is_play_money(BINANCE.environments[environment], BINANCE)


@pytest.mark.parametrize("rest", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9"])
def test_what_moves_at_the_sandbox_is_play_money(rest: str) -> None:
    assert guard.is_play_money(at(rest), BINANCE)


@pytest.mark.parametrize(
    "hosts",
    [
        BINANCE.environments["live"],
        BINANCE.environments["data"],
        at("https://api.binance.com"),
        at("https://api1.binance.com/testnet.binance.vision"),
        at("https://testnet.binance.vision@api.binance.com"),
        at("https://testnet.binance.vision.example.org"),
        at("https://localhost.example.org"),
        at("http://127.0.0.1.example.org"),
        at("http://127.0.0.1:8080", real_money=True),
        at("https://testnet.binance.vision", real_money=True),
        at("https://10.0.0.7"),
        at(""),
    ],
)
def test_everything_else_is_real_however_harmless_it_looks(hosts: Hosts) -> None:
    assert not guard.is_play_money(hosts, BINANCE)


# -- what is meant


def refused(**given: Any) -> str:
    names: dict[str, Any] = {"account": NAME, "real_money": NAME, "named": NAME}
    with pytest.raises(LiveForbidden) as caught:
        guard.refuse_unmeant(at("https://api.binance.com"), "LIVE", **names | given)
    return str(caught.value)


def test_three_equal_names_are_meant() -> None:
    guard.refuse_unmeant(at("https://api.binance.com"), "live", account=NAME, real_money=NAME, named=NAME)


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ({"account": None}, "Lacking: account='my-real-one'."),
        ({"real_money": None}, "Lacking: real_money='my-real-one' (now not set)."),
        ({"real_money": "other"}, "Lacking: real_money='my-real-one' (now 'other')."),
        ({"named": ""}, "Lacking: PAPERTAPE_LIVE_ACCOUNT=my-real-one in the environment (now not set)."),
        ({"named": "MY-REAL-ONE"}, "PAPERTAPE_LIVE_ACCOUNT=my-real-one in the environment (now 'MY-REAL-ONE')."),
        ({"account": None, "real_money": None, "named": ""}, "account='…', real_money='…'"),
        ({"real_money": True}, "Lacking: real_money='my-real-one' (now True)."),
    ],
)
def test_a_name_that_is_missing_or_another_is_not_meant_and_it_is_said_which(
    given: dict[str, Any], lacking: str
) -> None:
    said = refused(**given)
    assert lacking in said
    assert "nothing was opened or sent" in said
    assert "kit.paper(venue)" in said


def test_a_real_address_under_another_name_would_not_show_itself() -> None:
    with pytest.raises(LiveForbidden, match=r"api\.binance\.com would move.*this venue is called SANDBOX"):
        guard.refuse_unmeant(at("https://api.binance.com"), "sandbox", account=NAME, real_money=NAME, named=NAME)


def test_a_key_that_can_withdraw_is_refused_whoever_vouches_for_it() -> None:
    for vouched in (True, False):
        with pytest.raises(LiveForbidden, match="this API key can withdraw"):
            guard.refuse_dangerous_key(Permissions(withdraw=True, trade=True), vouched=vouched)
    guard.refuse_dangerous_key(Permissions(withdraw=False, trade=True), vouched=False)


def test_where_the_venue_cannot_say_somebody_must() -> None:
    with pytest.raises(LiveForbidden, match="key_cannot_withdraw=True says that you have"):
        guard.refuse_dangerous_key(None, vouched=False)
    guard.refuse_dangerous_key(None, vouched=True)


# -- end to end, on a server that plays the live host


class LiveHost:
    """Plays the live host on loopback: hands everything on to a sandbox, says what keys may do, and remembers."""

    def __init__(self, behind: Hosts) -> None:
        self.told: dict[str, Any] = dict(HARMLESS)
        self.asked: list[tuple[str, str]] = []
        """Method and path of every request."""
        self.keyed: list[str] = []
        """The paths of those that carried a key or a signature."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(behind))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="kit-test-live-host")
        self._thread.start()
        self.hosts = Hosts(
            f"http://127.0.0.1:{self._server.server_address[1]}", behind.stream, behind.ws_api, real_money=True
        )

    def venue(self, key: Key | None, environment: str = "live") -> Venue:
        return Venue(BINANCE, environment, self.hosts, key=key)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self, behind: Hosts) -> type[BaseHTTPRequestHandler]:
        played = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                path, _, query = self.path.partition("?")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                played.asked.append((self.command, path))
                if "X-MBX-APIKEY" in self.headers or b"signature=" in body or "signature=" in query:
                    played.keyed.append(path)
                status, text = 200, json.dumps(played.told).encode()
                if not path.startswith("/sapi"):
                    passed = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                    got = requests.request(self.command, behind.rest + self.path, data=body, headers=passed, timeout=20)
                    status, text = got.status_code, got.content
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                """The test looks at ``asked``."""

        return Handler


@pytest.fixture
def live_host(sandbox_venue: Venue) -> Iterator[LiveHost]:
    played = LiveHost(sandbox_venue.hosts)
    yield played
    played.close()


@pytest.fixture
def key(sandbox_venue: Venue) -> Key:
    assert sandbox_venue.sandbox is not None
    return sandbox_venue.sandbox.new_key("real-money", cash=None)


@pytest.fixture
def venue(live_host: LiveHost, key: Key) -> Iterator[Venue]:
    opened = live_host.venue(key)
    yield opened
    opened.close()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv(guard.LIVE_ACCOUNT, NAME)
    return monkeypatch


def test_real_money_that_is_not_meant_is_not_even_asked_for(live_host: LiveHost, venue: Venue) -> None:
    for given in ({}, {"account": NAME}, {"account": NAME, "real_money": NAME}):
        with pytest.raises(LiveForbidden, match=r"Lacking: .*PAPERTAPE_LIVE_ACCOUNT"):
            kit.live(venue, **given)  # type: ignore[arg-type]  # the cases are valid arguments
    assert live_host.asked == []
    assert not path_of(NAME).exists()


def test_a_live_account_shows_itself_everywhere(live_host: LiveHost, venue: Venue, named: pytest.MonkeyPatch) -> None:
    broker = kit.live(venue, account=NAME, real_money=NAME)
    assert ("GET", "/sapi/v1/account/apiRestrictions") in live_host.asked
    order = broker.buy("BTC/USDT", "0.001", price=20_000, key="a")
    assert ("POST", "/api/v3/order") in live_host.asked
    assert repr(broker).startswith(f"<live account '{NAME}' on binance · LIVE")
    assert "REAL MONEY" in repr(broker)
    assert "· live on LIVE, REAL MONEY ·" in repr(order)
    assert "live on LIVE, REAL MONEY" in display.order_html(order)
    assert "REAL MONEY" in account_html(broker)
    for name in ("orders", "fills", "positions", "balances", "equity"):
        attrs = getattr(broker, name).attrs
        assert (attrs["environment"], attrs["kind"]) == ("LIVE", "live"), name
    assert (order.fills.attrs["environment"], order.fills.attrs["kind"]) == ("LIVE", "live")
    live = venue.live("BTC/USDT", "1m")
    assert live.frame.attrs["environment"] == "LIVE"
    assert ">LIVE</span>" in kit.chart(live.frame).layout.title.text
    assert ">LIVE</span>" in equity_figure(broker.equity).layout.title.text
    assert "1m · LIVE ·" in repr(live)
    assert "binance · LIVE ·" in repr(venue)
    assert broker.halt("done").proven
    broker.close()


def test_the_account_may_be_named_in_dotenv(venue: Venue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "mine.env"
    path.write_text(f"{guard.LIVE_ACCOUNT}={NAME}\n")
    monkeypatch.setenv("PAPERTAPE_ENV_FILE", str(path))
    kit.live(venue, account=NAME, real_money=NAME).close()


def test_a_key_that_can_withdraw_opens_nothing(live_host: LiveHost, venue: Venue, named: pytest.MonkeyPatch) -> None:
    live_host.told["enableWithdrawals"] = True
    with pytest.raises(LiveForbidden, match="can withdraw"):
        kit.live(venue, account=NAME, real_money=NAME, key_cannot_withdraw=True)
    assert not path_of(NAME).exists()


def test_a_venue_that_does_not_say_wants_somebodys_word(venue: Venue, named: pytest.MonkeyPatch) -> None:
    named.setattr(type(BINANCE), "permissions", lambda self: None)
    with pytest.raises(LiveForbidden, match="does not say what an API key may do"):
        kit.live(venue, account=NAME, real_money=NAME)
    kit.live(venue, account=NAME, real_money=NAME, key_cannot_withdraw=True).close()


def test_a_real_host_under_the_sandboxs_name_is_refused(
    live_host: LiveHost, key: Key, named: pytest.MonkeyPatch
) -> None:
    disguised = live_host.venue(key, "sandbox")
    with pytest.raises(LiveForbidden, match="is called SANDBOX"):
        kit.live(disguised, account=NAME, real_money=NAME)
    disguised.close()
    assert live_host.asked == []


def test_without_a_key_it_is_said_how_to_give_one(live_host: LiveHost, named: pytest.MonkeyPatch) -> None:
    keyless = live_host.venue(None)
    with pytest.raises(MissingKey, match="PAPERTAPE_BINANCE_LIVE_KEY"):
        kit.live(keyless, account=NAME, real_money=NAME)
    keyless.close()


def test_play_money_takes_no_ceremony_and_does_not_pretend_to_be_real(sandbox_venue: Venue) -> None:
    kit.live(sandbox_venue, account="play").close()
    with pytest.raises(UsageError, match="has play money only"):
        kit.live(sandbox_venue, account="play", real_money="play")


# -- paper


def reachable(root: object) -> Iterator[object]:
    """Everything that can be reached from ``root`` through what objects hold; modules and classes are not gone into."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        thing = waiting.pop()
        yield thing
        held = list(thing.__closure__ or ()) if isinstance(thing, FunctionType) else gc.get_referents(thing)
        for each in held:
            if id(each) not in seen and not isinstance(each, ModuleType | type | threading.Thread):
                seen.add(id(each))
                waiting.append(each)


def test_nothing_of_a_paper_account_at_a_real_host_holds_a_key_or_can_send_an_order(live_host: LiveHost) -> None:
    keyless = live_host.venue(None)
    broker = kit.paper(keyless, account="dry")
    order = broker.buy("BTC/USDT", "0.01", key="a")
    broker.cancel(broker.buy("BTC/USDT", "0.01", price=20_000, key="b"))
    assert order.wait(20).status == "filled"
    held = list(reachable(broker))
    assert any(thing is keyless.rest for thing in held), "the walk did not come as far as the connection"
    assert not [thing for thing in held if isinstance(thing, Key)]
    instrument = keyless.instrument("BTC/USDT")
    request = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=instrument.min_qty)
    calls: list[Call[Any]] = [BINANCE.order(instrument, request, "a"), BINANCE.cancel(instrument, "a")]
    for call in [*calls, BINANCE.balances(), BINANCE.open_orders(instrument)]:
        with pytest.raises(MissingKey, match="nothing was sent"):
            keyless.rest.do(call)
    broker.close()
    keyless.close()
    assert {method for method, _ in live_host.asked} == {"GET"}
    assert live_host.keyed == []


def test_the_walk_would_find_a_key(venue: Venue, named: pytest.MonkeyPatch) -> None:
    broker = kit.live(venue, account=NAME, real_money=NAME)
    assert [thing for thing in reachable(broker) if isinstance(thing, Key)]
    broker.close()


def test_a_paper_account_takes_no_venue_that_holds_a_key_for_real_money(live_host: LiveHost, venue: Venue) -> None:
    with pytest.raises(LiveForbidden, match="a paper account needs no API key, and this venue holds one"):
        kit.paper(venue, account="dry")
    assert live_host.asked == []
    assert not path_of("dry").exists()


def test_every_request_that_changes_anything_takes_a_key(btc: Instrument) -> None:
    """What makes the walk a proof: of all calls, those that write are signed."""
    request = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=btc.min_qty)
    for call in (BINANCE.order(btc, request, "a"), BINANCE.cancel(btc, "a")):
        assert (call.effect, call.auth) == (Effect.WRITE, Auth.SIGNED)


def test_a_run_on_a_real_account_shows_it_whatever_its_market_data_is_called(
    venue: Venue, sandbox_venue: Venue, named: pytest.MonkeyPatch
) -> None:
    broker = kit.live(venue, account=NAME, real_money=NAME)
    session = kit.run(Idle(), broker, sandbox_venue.live("BTC/USDT", "1m"))
    assert "· live on LIVE, REAL MONEY:" in repr(session)
    session.stop()
    broker.close()


class Idle(kit.Strategy):
    """Does nothing."""

    def next(self) -> None:
        pass
