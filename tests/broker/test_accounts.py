"""Opening accounts: one owner, the terms they were opened with, and a name that finds them again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import kit
from kit.broker.accounts import path_of
from kit.clock import SECOND, Offset, VenueClock, WallClock
from kit.errors import (
    AccountBusy,
    AccountMismatch,
    BadOrder,
    LiveForbidden,
    MissingKey,
    RiskRefused,
    StoreError,
    UnknownName,
    UsageError,
    VenueUnreachable,
)
from kit.model import Fees
from kit.net.rest import Rest
from kit.runtime import runtime
from kit.store.journal import Journal
from kit.venue import Venue
from kit.venues.base import Hosts, Key
from kit.venues.binance import BINANCE
from kit.venues.coinbase import COINBASE
from kit.venues.kraken import KRAKEN
from tests.net.loopback import Loopback
from tests.net.tiny_coinbase import TinyCoinbase
from tests.net.tiny_kraken import TinyKraken


@pytest.fixture(autouse=True)
def close_brokers() -> Iterator[None]:
    yield
    for kind, name in list(runtime._running):
        if kind == "Broker":
            runtime.find(kit.Broker, name).close()  # type: ignore[union-attr]  # it is there: its name was just read


def test_a_cell_that_opens_the_account_again_finds_it(sandbox_venue: Venue) -> None:
    broker = kit.paper(sandbox_venue, cash=5_000)
    assert kit.paper(sandbox_venue, cash=5_000) is broker
    assert kit.paper(sandbox_venue) is broker
    assert broker.account == "paper"
    assert broker.cash == 5_000


@pytest.fixture(params=[(KRAKEN, TinyKraken), (COINBASE, TinyCoinbase)], ids=["kraken", "coinbase"])
def dollars(request: pytest.FixtureRequest) -> Iterator[Venue]:
    """A venue where most is quoted in USD."""
    codec, make = request.param
    tiny: Loopback = make()
    venue = Venue(codec, "data", tiny.hosts)
    yield venue
    venue.close()
    tiny.close()


def test_paper_money_is_what_most_is_quoted_in(sandbox_venue: Venue, dollars: Venue) -> None:
    for venue, money in ((sandbox_venue, "USDT"), (dollars, "USD")):
        terms = kit.paper(venue, account=money).terms
        assert (terms.cash, terms.quote) == ({money: Decimal(10_000)}, money)
        assert kit.paper(venue, account=f"{money}-said", cash=10_000).terms.cash == terms.cash
    with pytest.raises(BadOrder, match="cash of USD=0"):
        kit.paper(dollars, cash=0)


def test_an_account_in_other_money_keeps_it(dollars: Venue) -> None:
    opened = kit.paper(dollars, cash={"USDT": 5_000})
    opened.close()
    again = kit.paper(dollars)
    assert again.terms == opened.terms
    assert (again.terms.quote, again.cash) == ("USDT", Decimal(5_000))
    with pytest.raises(AccountMismatch, match="opened with cash 5000 USDT, not 5000 USD"):
        kit.paper(dollars, cash=5_000)


def test_another_latency_is_the_same_account_opened_anew(sandbox_venue: Venue) -> None:
    broker = kit.paper(sandbox_venue, cash=5_000)
    slower = kit.paper(sandbox_venue, latency=0.2)
    assert broker.closed
    assert slower.cash == 5_000


@pytest.mark.parametrize("again", [{"cash": 6_000}, {"cash": {"USDT": 5_000, "BTC": 1}}, {"fees": Fees(Decimal(0))}])
def test_other_terms_for_an_account_that_exists_are_refused(sandbox_venue: Venue, again: dict[str, object]) -> None:
    broker = kit.paper(sandbox_venue, cash=5_000)
    with pytest.raises(AccountMismatch, match=r"nothing was changed.*reset=True.*account="):
        kit.paper(sandbox_venue, **again)  # type: ignore[arg-type]  # the cases are valid arguments
    broker.close()
    with pytest.raises(AccountMismatch, match="'paper' was opened with"):
        kit.paper(sandbox_venue, **again)  # type: ignore[arg-type]  # the same
    assert kit.paper(sandbox_venue).cash == 5_000


def test_reset_begins_anew_and_keeps_the_old_journal(sandbox_venue: Venue) -> None:
    first = kit.paper(sandbox_venue, cash=5_000)
    second = kit.paper(sandbox_venue, cash=6_000, reset=True)
    assert (first.closed, second.cash) == (True, Decimal(6_000))
    (kept,) = path_of("paper").parent.glob("paper.until-*.sqlite")
    old = Journal(kept, readonly=True)
    assert old.terms is not None
    assert old.terms.cash == {"USDT": Decimal(5_000)}
    old.close()


def test_a_paper_account_is_no_live_account(sandbox_venue: Venue) -> None:
    kit.paper(sandbox_venue, account="mine")
    with pytest.raises(AccountMismatch, match="opened with kind paper, not live"):
        kit.live(sandbox_venue, account="mine")


def test_an_account_stays_at_its_venue(sandbox_venue: Venue) -> None:
    kit.paper(sandbox_venue, account="mine").close()
    elsewhere = Venue(BINANCE, "testnet", sandbox_venue.hosts)
    with pytest.raises(AccountMismatch, match="binance SANDBOX, not binance TESTNET"):
        kit.paper(elsewhere, account="mine")
    elsewhere.close()


def test_the_notebook_names_the_account(sandbox_venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/my work/04 paper: trade.ipynb")
    assert kit.paper(sandbox_venue).account == "04-paper-trade"
    assert kit.live(sandbox_venue).account == "04-paper-trade-sandbox"
    monkeypatch.setenv("JPY_SESSION_NAME", "C:\\Users\\me\\idea.ipynb")
    assert kit.paper(sandbox_venue).account == "idea"


@pytest.mark.parametrize("name", ["../other", "a/b", "a b", "x" * 81, "con:1"])
def test_a_name_that_names_no_file_is_refused(sandbox_venue: Venue, name: str) -> None:
    with pytest.raises(UsageError, match="account="):
        kit.paper(sandbox_venue, account=name)


def test_money_and_latency_must_make_sense(sandbox_venue: Venue) -> None:
    for cash in (0, -5, float("nan"), "much", True):
        with pytest.raises(BadOrder, match="cash of USDT"):
            kit.paper(sandbox_venue, cash=cash)
    with pytest.raises(UsageError, match="give an amount"):
        kit.paper(sandbox_venue, cash={})
    for latency in (-1, float("nan"), 61):
        with pytest.raises(UsageError, match="seconds each way"):
            kit.paper(sandbox_venue, latency=latency)
    assert not path_of("paper").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fees": 0.001}, r"fees=0\.001: fees are kit\.Fees"),
        ({"limits": 5}, r"limits=5: limits are kit\.Limits"),
        ({"freshness": 5}, r"freshness=5: freshness is kit\.Freshness\(quote=10, clock=1\), in seconds"),
        ({"latency": "fast"}, "latency='fast': seconds each way"),
        ({"seed": 1.5}, r"seed=1\.5: a seed is a whole number"),
        ({"seed": True}, "seed=True: a seed is a whole number"),
        ({"session": 5}, "session=5: a session is a label"),
        ({"session": ""}, "session='': a session is a label"),
        ({"reset": "yes"}, "reset='yes': True puts"),
        ({"account": 5}, "account=5: an account's name"),
        ({"account": ""}, "account='': an account's name"),
        ({"cash": {5: 1}}, "cash of 5: an asset is named"),
        ({"cash": {" ": 1}}, "cash of ' ': an asset is named"),
    ],
)
def test_what_could_not_be_read_back_is_not_written_down(
    sandbox_venue: Venue, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        kit.paper(sandbox_venue, **arguments)
    assert not path_of("paper").exists()


@pytest.mark.parametrize("given", [None, "sandbox", 5])
def test_what_is_no_venue_opens_no_account(given: Any) -> None:
    for opening in (kit.paper, kit.live):
        with pytest.raises(UsageError, match=r"kit\.connect\(\) gives; nothing was opened"):
            opening(given)


def test_fees_typed_as_floats_are_the_same_fees_when_the_account_is_opened_again(sandbox_venue: Venue) -> None:
    fees = Fees(0.001, 0.0005)  # type: ignore[arg-type]  # that is the test
    kit.paper(sandbox_venue, fees=fees).close()
    assert kit.paper(sandbox_venue, fees=fees).terms.fees == Fees(Decimal("0.001"), Decimal("0.0005"))


def test_the_instruments_of_a_limit_may_be_spelled_as_the_venue_does(sandbox_venue: Venue) -> None:
    broker = kit.paper(sandbox_venue, limits=kit.Limits(symbols=["BTCUSDT", "eth/usdt"]))
    assert broker.desk.gate.limits.symbols == {"BTC/USDT", "ETH/USDT"}
    assert kit.paper(sandbox_venue, limits=kit.Limits(symbols=["ETH/USDT", "BTC/USDT"])) is broker
    with pytest.raises(RiskRefused, match="allows BTC/USDT, ETH/USDT and not SOL/USDT"):
        broker.buy("SOL/USDT", 1, key="a")


def test_a_slip_in_the_instruments_of_a_limit_opens_nothing(sandbox_venue: Venue) -> None:
    with pytest.raises(UnknownName, match="did you mean 'BTC/USDT'"):
        kit.paper(sandbox_venue, limits=kit.Limits(symbols=["BTC/USTD"]))
    assert not path_of("paper").exists()


def test_so_many_orders_a_minute_hold_for_an_account(sandbox_venue: Venue) -> None:
    broker = kit.paper(sandbox_venue, limits=kit.Limits(orders_per_minute=2))
    for number in range(2):
        broker.buy("BTC/USDT", 0.001, key=f"order {number}")
    with pytest.raises(RiskRefused, match="2 orders were meant within the last minute, the limit is 2"):
        broker.buy("BTC/USDT", 0.001, key="one more")
    assert broker.buy("BTC/USDT", 0.001, key="order 1").rerun, "the same order again is none more"


def test_a_session_is_a_label_that_only_the_user_changes(sandbox_venue: Venue) -> None:
    assert kit.paper(sandbox_venue).session == "default"
    broker = kit.paper(sandbox_venue, session="tuesday")
    assert broker.session == "tuesday"
    broker.close()
    assert kit.paper(sandbox_venue).session == "tuesday"


def test_an_order_leaves_by_a_clock_that_was_measured_lately(
    sandbox_venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, clock = kit.paper(sandbox_venue), sandbox_venue.rest.clock
    broker.buy("BTC/USDT", 0.01, key="a")
    clock.offset = Offset(-3600 * SECOND, 0)
    monkeypatch.setattr(VenueClock, "GOOD_FOR", 0)
    broker.buy("BTC/USDT", 0.01, key="b")
    assert clock.offset is not None
    assert abs(clock.offset.offset) < SECOND


def test_another_process_owns_the_account(sandbox_venue: Venue) -> None:
    code = "import sys; from kit.store.journal import Journal; j = Journal(sys.argv[1]); print('open'); "
    code += "sys.stdout.flush(); sys.stdin.read()"
    path = path_of("shared")
    path.parent.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(AccountBusy, match=rf"process {owner.pid}:.*another account="):
            kit.paper(sandbox_venue, account="shared")
        owner.kill()
    assert kit.paper(sandbox_venue, account="shared").account == "shared"


def test_a_file_that_is_no_journal_is_a_clear_no_and_reset_puts_it_aside(sandbox_venue: Venue) -> None:
    path = path_of("paper")
    path.parent.mkdir(parents=True)
    path.write_text("my shopping list " * 100)
    with pytest.raises(StoreError, match="not a papertape journal"):
        kit.paper(sandbox_venue)
    kit.paper(sandbox_venue, reset=True)
    assert next(path.parent.glob("paper.until-*.sqlite")).read_text().startswith("my shopping list")


def test_closing_ends_every_thread_and_frees_the_account(sandbox_venue: Venue) -> None:
    paper, live = kit.paper(sandbox_venue, account="a"), kit.live(sandbox_venue, account="b")
    names = {thread.name for thread in threading.enumerate()}
    assert {"kit-paper-a", "kit-orders-b"} <= names
    paper.close()
    live.close()
    assert not {"kit-paper-a", "kit-orders-b"} & {thread.name for thread in threading.enumerate()}
    for name in "ab":
        Journal(path_of(name)).close()


def test_an_account_that_could_not_be_opened_holds_nothing(sandbox_venue: Venue) -> None:
    hosts = Hosts(rest="http://127.0.0.1:9", stream="ws://127.0.0.1:9")
    rest = Rest(BINANCE, hosts, clock=WallClock(), sleep=lambda seconds: None)
    dead = Venue(BINANCE, "sandbox", hosts, rest=rest)
    with pytest.raises(VenueUnreachable):
        kit.paper(dead, account="later")
    dead.close()
    assert not [t for t in threading.enumerate() if t.name == "kit-paper-later"]
    kit.paper(sandbox_venue, account="later")


def test_live_is_closed_to_real_money_whatever_the_key() -> None:
    venue = Venue(BINANCE, "live", BINANCE.environments["live"], key=Key("k" * 64, "s" * 64))
    with pytest.raises(LiveForbidden):
        kit.live(venue)
    named_otherwise = Venue(BINANCE, "sandbox", BINANCE.environments["live"], key=Key("k" * 64, "s" * 64))
    with pytest.raises(LiveForbidden):
        kit.live(named_otherwise)
    venue.close()
    named_otherwise.close()


def test_live_without_a_key_says_how_to_give_one(sandbox_venue: Venue) -> None:
    venue = Venue(BINANCE, "testnet", sandbox_venue.hosts)
    with pytest.raises(MissingKey, match=r"PAPERTAPE_BINANCE_TESTNET_KEY.*keyring"):
        kit.live(venue)
    venue.close()


def test_nothing_of_a_key_is_written_down(sandbox_venue: Venue, home: Path) -> None:
    broker = kit.live(sandbox_venue, account="canary")
    broker.buy("BTC/USDT", "0.001", key="a")
    key = sandbox_venue.rest.key
    assert key is not None
    shown = repr(broker) + broker.orders.to_string() + str(broker.desk) + str(vars(broker))
    broker.close()
    written = b"".join(part.read_bytes() for part in (home / "accounts").iterdir())
    for secret in (key.id, key.secret):
        assert secret.encode() not in written
        assert secret not in shown
    assert os.environ.get("PAPERTAPE_HOME") == str(home)
