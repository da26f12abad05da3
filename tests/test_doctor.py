"""``kit doctor``: each finding, what it advises, and that nothing is shown that should not be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kit
from kit import cli
from kit.broker.accounts import path_of
from kit.clock import Offset, WallClock
from kit.doctor import Finding, Level, examine, machine
from kit.doctor import venue as venues
from kit.doctor.finding import survived
from kit.model import Instrument, OrderRequest, OrderType, Side
from kit.net.rest import Rest
from kit.store.entries import Doubted, Intended, Terms
from kit.store.journal import Journal
from kit.venue import Venue
from kit.venues.base import Hosts, Key
from kit.venues.binance import BINANCE
from kit.venues.kraken import KRAKEN
from kit.venues.permissions import Permissions

Capture = pytest.CaptureFixture[str]
OK, WARN, FAIL = Level


def one(look: Callable[[], Iterator[Finding]]) -> Finding:
    (finding,) = look()
    return finding


# -- this machine


def test_a_sound_machine_has_nothing_to_be_done() -> None:
    for look in (machine.python_fits, machine.packages_fit, machine.jupyter_is_there):
        finding = one(look)
        assert (finding.level, finding.next) == (OK, ""), finding


def test_a_python_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.doctor.machine.metadata.metadata", lambda name: {"Requires-Python": ">=3.99"})
    finding = one(machine.python_fits)
    assert finding.level is FAIL
    assert "needs >=3.99" in finding.words


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["nothing-of-this-name>=1", "pandas>=99", "requests", 'never>=1; extra == "test"']
    monkeypatch.setattr("kit.doctor.machine.metadata.requires", lambda name: needed)
    finding = one(machine.packages_fit)
    assert finding.level is FAIL
    assert "nothing-of-this-name is missing (needs >=1); pandas" in finding.words
    assert "never" not in finding.words
    assert "pip install" in finding.next


def test_jupyterlab_without_its_front_ends_shows_no_live_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kit.doctor.machine.sys.prefix", str(tmp_path))
    monkeypatch.setattr("kit.doctor.machine.sys.base_prefix", str(tmp_path))
    finding = one(machine.jupyter_is_there)
    assert finding.level is WARN
    assert "lacks the front end of jupyterlab-widgets, anywidget" in finding.words


@pytest.mark.parametrize(("free", "level"), [(50 << 20, FAIL), (500 << 20, WARN), (50 << 30, OK)])
def test_a_disk_that_fills_up_is_told_before_it_is_full(
    monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    monkeypatch.setattr("kit.doctor.machine.shutil.disk_usage", lambda place: SimpleNamespace(free=free))
    disk, sqlite = machine.disk_keeps()
    assert disk.level is level
    assert sqlite.level is OK


def test_a_data_folder_that_cannot_be_written_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAPERTAPE_HOME", str(tmp_path / "file" / "home"))
    (finding,) = survived("disk", machine.disk_keeps)
    assert finding.level is FAIL
    assert "PAPERTAPE_HOME" in finding.words


def test_nothing_is_left_in_the_data_folder(home: Path) -> None:
    list(machine.disk_keeps())
    assert list(home.iterdir()) == []


def test_a_look_that_breaks_is_a_finding_and_the_next_one_goes_on() -> None:
    def breaks() -> Iterator[Finding]:
        yield Finding("first", OK, "fine")
        raise ZeroDivisionError("by zero")

    first, second = survived("looking", breaks)
    assert first.level is OK
    assert (second.name, second.level) == ("looking", FAIL)
    assert "ZeroDivisionError: by zero" in second.words


# -- accounts


def accounts() -> list[Finding]:
    return list(machine.accounts_stand())


def journal(name: str) -> Journal:
    opened = Journal(path_of(name))
    opened.terms = Terms(
        kind="live", venue="binance", environment="TESTNET", quote="USDT", cash={"USDT": Decimal(1000)},
        fees=kit.Fees(), created=0,
    )  # fmt: skip
    return opened


def intend(opened: Journal, btc: Instrument, *, doubted: bool) -> None:
    request = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal(1), price=Decimal(90))
    opened.intend(Intended(client_id="a", session="s", parts=("key", "a"), request=request, time=1), btc)
    if doubted:
        opened.add(Doubted(client_id="a", reason="no answer", time=2))


@pytest.fixture
def btc() -> Instrument:
    return Instrument(
        symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
    )


def test_no_account_is_no_trouble() -> None:
    assert [(finding.level, finding.words) for finding in accounts()] == [(OK, "none yet: kit.paper(venue) opens one")]


def test_an_account_is_told_with_who_runs_it() -> None:
    with closing(journal("mine")):
        (owned,) = accounts()
        assert (owned.name, owned.level) == ("account mine", OK)
        assert f"live at binance TESTNET, in use by process {os.getpid()} (this one), 0 open of 0 orders" in owned.words
    (left,) = accounts()
    assert "nobody runs it" in left.words
    Journal(path_of("mine")).close()


def test_an_order_nobody_answered_for_is_told(btc: Instrument) -> None:
    with closing(journal("mine")) as opened:
        intend(opened, btc, doubted=True)
    (finding,) = accounts()
    assert finding.level is WARN
    assert "1 open of 1 orders, 1 not answered for" in finding.words


def test_an_intent_is_doubtful_once_the_process_that_was_sending_it_is_gone(btc: Instrument) -> None:
    with closing(journal("mine")) as opened:
        intend(opened, btc, doubted=False)
        assert accounts()[0].level is OK
    assert accounts()[0].level is WARN


def test_a_halted_account_says_how_to_go_on() -> None:
    with closing(journal("mine")) as opened:
        opened.halt("lunch")
    (finding,) = accounts()
    assert (finding.level, finding.next) == (WARN, "`kit resume mine` ends it")
    assert "HALTED (lunch)" in finding.words


def test_a_halted_account_with_orders_open_is_a_failure(btc: Instrument) -> None:
    with closing(journal("mine")) as opened:
        intend(opened, btc, doubted=False)
        opened.halt("lunch")
        (finding,) = accounts()
    assert finding.level is FAIL
    assert "HALTED (lunch) with orders open: nobody has come to cancel them" in finding.words


def test_a_damaged_journal_keeps_no_other_account_from_being_told() -> None:
    with closing(journal("mine")):
        path_of("broken").write_text("my shopping list " * 100)
        broken, mine = accounts()
    assert broken.level is FAIL
    assert "not a papertape journal" in broken.words
    assert mine.level is OK


# -- keys


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", "canary-key")
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", "canary-secret")
    return "canary"


def test_keys_are_told_by_where_they_are_and_never_shown(canary: str) -> None:
    finding = one(machine.keys_are_safe)
    assert finding.words == "binance testnet: found in the environment (not shown)"
    assert canary not in repr(finding)


def test_half_a_key_is_a_failure_that_does_not_show_the_other_half(
    canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAPERTAPE_BINANCE_TESTNET_KEY")
    finding = one(machine.keys_are_safe)
    assert finding.level is FAIL
    assert "the key for binance testnet is missing" in finding.words
    assert canary not in repr(finding)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_dotenv_that_git_add_would_take_in_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PAPERTAPE_BINANCE_DEMO_KEY=canary\nPAPERTAPE_BINANCE_DEMO_SECRET=canary\n")
    path.chmod(0o600)
    monkeypatch.setenv("PAPERTAPE_ENV_FILE", str(path))
    subprocess.run(["git", "init", str(tmp_path)], check=True, capture_output=True)
    found, exposed = machine.keys_are_safe()
    assert found.words == f"binance demo: found in {path} (not shown)"
    assert (exposed.level, exposed.next) == (WARN, "put .env into .gitignore")


# -- the venue


@pytest.fixture
def here(sandbox_venue: Venue, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """``connect`` gives a venue on the shared sandbox; this is what it was asked for."""
    asked: list[tuple[str, str | None]] = []

    def connect(name: str, *, environment: str | None) -> Venue:
        asked.append((name, environment))
        return Venue(BINANCE, "sandbox", sandbox_venue.hosts, key=sandbox_venue.rest.key)

    monkeypatch.setattr(venues, "connect", connect)
    return asked


def test_the_sandbox_is_in_order(here: list[tuple[str, str | None]]) -> None:
    found = list(examine())
    assert here == [("sandbox", None)]
    assert [finding for finding in found if finding.level is not OK] == []
    named = {finding.name: finding.words for finding in found}
    assert {*machine.LOOKS, "sqlite", *venues.LOOKS, "clock", "permissions", "limits"} <= named.keys()
    assert "known to ±0." in named["clock"]
    assert "is LIVE at ws://127.0.0.1" in named["streams"]
    assert any("X-MBX-USED-WEIGHT-1M: " in f.words and " of 6,000 in 60 s" in f.words for f in found)


def test_the_command_prints_a_line_each_and_ends_with_0(
    here: list[tuple[str, str | None]], capsys: Capture, sandbox_venue: Venue
) -> None:
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ok    python        3.")
    key = sandbox_venue.rest.key
    assert key is not None
    assert key.id not in printed
    assert key.secret not in printed


def test_a_failure_is_exit_code_1_and_is_there_in_json(
    capsys: Capture, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAPERTAPE_BINANCE_TESTNET_KEY")
    monkeypatch.setattr(venues, "at_venue", lambda name, environment: iter(()))
    assert cli.main(["doctor", "--json"]) == 1
    printed = capsys.readouterr().out
    told = json.loads(printed)
    assert told["ok"] is False
    (failed,) = [finding for finding in told["findings"] if finding["level"] == "FAIL"]
    assert failed["name"] == "keys"
    assert failed.keys() == {"name", "level", "words", "next"}
    assert canary not in printed


def test_a_mistyped_venue_is_a_finding_with_the_nearest(capsys: Capture) -> None:
    assert cli.main(["doctor", "--venue", "binanse"]) == 1
    assert "did you mean 'binance'" in capsys.readouterr().out


def test_a_venue_that_does_not_answer_fails_look_by_look(monkeypatch: pytest.MonkeyPatch, sandbox_venue: Venue) -> None:
    hosts = Hosts(rest="http://127.0.0.1:9", stream="ws://127.0.0.1:9")
    rest = Rest(BINANCE, hosts, clock=WallClock(), sleep=lambda seconds: None)
    monkeypatch.setattr(venues, "connect", lambda name, *, environment: Venue(BINANCE, "testnet", hosts, rest=rest))
    levels = {finding.name: finding.level for finding in venues.at_venue("binance", "testnet")}
    assert levels == {"rest": FAIL, "permissions": OK, "streams": FAIL, "limits": FAIL}


@pytest.mark.parametrize(
    ("told", "worst", "words"),
    [
        (Permissions(withdraw=True, trade=True, bound=True), FAIL, "can withdraw"),
        (Permissions(withdraw=False, trade=False, bound=True), WARN, "can't trade"),
        (Permissions(withdraw=False, trade=True, transfer=True, bound=True), WARN, "can move money to other accounts"),
        (Permissions(withdraw=False, trade=True), WARN, "works from any address"),
        (Permissions(withdraw=False, trade=True, bound=True), OK, "no withdrawals"),
        (None, WARN, "does not say"),
    ],
)
def test_what_a_key_may_do_is_judged_where_money_is_real(told: Permissions | None, worst: Level, words: str) -> None:
    codec = SimpleNamespace(
        environments=BINANCE.environments, balances=lambda: "balances", permissions=lambda: told and "permissions"
    )
    asked: dict[str, Any] = {"balances": [], "permissions": told}
    real: Any = SimpleNamespace(
        trading=codec, hosts=BINANCE.environments["live"],
        rest=SimpleNamespace(key=Key("k", "s"), do=asked.__getitem__),
    )  # fmt: skip
    _, *found = venues.key_is_fit(real)
    assert list(Level)[max(list(Level).index(finding.level) for finding in found)] is worst
    assert words in " ".join(finding.words for finding in found)


def test_a_limit_that_is_nearly_used_up_is_told(sandbox_venue: Venue) -> None:
    first, *_ = venues.limits_leave_room(sandbox_venue, {"X-MBX-USED-WEIGHT-1M": 5_000})
    assert first.level is WARN
    assert "5,000 of 6,000 in 60 s" in first.words


def test_a_clock_that_is_known_badly_is_told() -> None:
    slow: Any = SimpleNamespace(
        name="binance", environment="TESTNET", hosts=BINANCE.environments["testnet"], codec=BINANCE,
        rest=SimpleNamespace(sync=lambda: Offset(1_200_000, 400_000)),
    )  # fmt: skip
    _, clock = venues.rest_answers(slow)
    assert clock.level is WARN
    assert clock.words == "the venue's is +1.200 s from this machine's, known to ±0.400 s"


@pytest.mark.parametrize(("uncertainty", "level"), [(510_000, OK), (900_000, WARN)])
def test_a_clock_told_in_whole_seconds_is_known_badly_only_where_the_way_is_slow(
    uncertainty: int, level: Level
) -> None:
    kraken: Any = SimpleNamespace(
        name="kraken", environment="DATA", hosts=KRAKEN.environments["data"], codec=KRAKEN,
        rest=SimpleNamespace(sync=lambda: Offset(0, uncertainty)),
    )  # fmt: skip
    _, clock = venues.rest_answers(kraken)
    assert clock.level is level
