"""Secrets are not data: a canary key goes through every path, failures too, and is looked for in all that was said."""

from __future__ import annotations

import copy
import gzip
import logging
import pickle
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.ultratb import VerboseTB

import kit
from kit.clock import WallClock
from kit.doctor import machine
from kit.doctor import venue as doctor
from kit.errors import KitError
from kit.net import keys
from kit.net.rest import Rest
from kit.notebook.panel import account_html
from kit.venue import Venue
from kit.venues.base import Hosts, Key
from kit.venues.binance import BINANCE

ROOT = Path(__file__).resolve().parent.parent


class Witness:
    """Collects everything that a person, a log or a file could get to see."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def look(self, *things: object) -> None:
        for thing in things:
            self.seen += [repr(thing), str(thing), f"{thing}"]
            markup = getattr(thing, "_repr_html_", None)
            self.seen.append(markup() if callable(markup) else "")

    def fails(self, what: Callable[[], object]) -> None:
        """``what`` must fail; its traceback is kept with every local variable of every frame."""
        try:
            what()
        except KitError as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            self.seen += ["".join(shown.format()), repr(error), str(error.__dict__)]
            self.look(error.__cause__, error.__context__)
        else:
            raise AssertionError("this was meant to fail")


@pytest.fixture
def canary(sandbox_venue: kit.Venue, monkeypatch: pytest.MonkeyPatch) -> Key:
    """A working key of the sandbox that is found as a user's would be."""
    assert sandbox_venue.sandbox is not None
    key = sandbox_venue.sandbox.new_key("canary")
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", key.id)
    monkeypatch.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", key.secret)
    found = keys.find("binance", "testnet")
    assert found is not None
    assert found.secret == key.secret
    return found


@pytest.fixture
def venue(sandbox_venue: kit.Venue, canary: Key) -> Iterator[Venue]:
    opened = Venue(BINANCE, "testnet", sandbox_venue.hosts, key=canary)
    yield opened
    opened.close()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def hasty(hosts: Hosts, key: Key) -> Rest:
    """A client that does not wait between its attempts."""
    return Rest(BINANCE, hosts, key=key, clock=WallClock(), sleep=lambda seconds: None, timeout=(1.0, 0.5))


def test_a_canary_key_is_nowhere_in_what_is_said_or_written(
    sandbox_venue: kit.Venue,
    venue: Venue,
    canary: Key,
    home: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sandbox, witness = sandbox_venue.sandbox, Witness()
    assert sandbox is not None
    with caplog.at_level(logging.DEBUG):
        with venue.record(home / "tape.jsonl.gz"):
            exercise(venue, sandbox_venue, canary, witness)
        for kind in ("503", "429", "no_answer"):
            sandbox.fault(kind, match="GET /api/v3/account", times=50)
            witness.fails(lambda: hasty(venue.hosts, canary).do(BINANCE.balances()))
            sandbox.clear_faults()
        for hosts in (Hosts(closed_port(), "ws://127.0.0.1:9"), Hosts("http://not a host", "ws://127.0.0.1:9")):
            nowhere = Venue(BINANCE, "testnet", hosts, rest=hasty(hosts, canary))
            witness.look(nowhere, nowhere.rest)
            witness.fails(lambda: nowhere.rest.do(BINANCE.balances()))  # noqa: B023 - called at once
            nowhere.close()
        wrong = Venue(BINANCE, "testnet", venue.hosts, key=Key(canary.id, canary.secret[::-1]))
        witness.fails(lambda: wrong.rest.do(BINANCE.balances()))
        wrong.close()
    for leak in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="secrets stay"):
            leak(canary)
    written = [contents(path) for path in home.rglob("*") if path.is_file()]
    assert any(b"canary-1" in content for content in written), "the journal was not written where it was looked for"
    assert any(b"BTCUSDT" in content and b'"recv"' in content for content in written), "the tape was not written"
    printed = capsys.readouterr()
    everything = "\n".join([*witness.seen, caplog.text, printed.out, printed.err]).encode() + b"\n".join(written)
    assert caplog.records, "nothing was logged, so the log proves nothing"
    for name, secret in (("secret", canary.secret), ("reversed secret", canary.secret[::-1]), ("key id", canary.id)):
        assert secret.encode() not in everything, f"the {name} leaked"
    assert not re.search(rb"signature=[0-9a-z%]", everything, re.IGNORECASE), "a signature leaked"


def contents(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def exercise(venue: Venue, market: kit.Venue, canary: Key, witness: Witness) -> None:
    """What a person does in a session with a live account: look at things, trade, be refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(venue, "environment", "SANDBOX")
        broker = kit.live(venue, account="canary")
    live = venue.live("BTC/USDT", "1m")
    assert live.ready(timeout=30)
    order = broker.buy("BTC/USDT", 0.001, key="canary-1")
    resting = broker.buy("BTC/USDT", 0.001, price=20_000, key="canary-2")
    witness.look(canary, venue, venue.rest, venue.hosts, live, broker, order, resting, order.why(), broker.orders)
    witness.look(broker.fills, broker.balances, broker.equity, live.frame.attrs, vars(order))
    witness.seen += [account_html(broker), *map(str, machine.keys_are_safe()), *map(str, doctor.key_is_fit(venue))]
    broker.cancel(resting)
    witness.look(broker.halt("canary"))
    broker.resume()
    witness.fails(lambda: broker.buy("BTC/USDT", 9_000, key="canary-3"))
    witness.fails(lambda: broker.buy("BTC/USTD", 1, key="canary-4"))
    assert market.sandbox is not None
    market.sandbox.fault("no_answer", match="POST /api/v3/order", times=1)
    lost = broker.buy("BTC/USDT", 0.001, key="canary-5")
    witness.look(lost, lost.why())
    lost.wait(timeout=20)
    assert lost.status == "filled"
    broker.close()
    live.close()


NAME = "PAPERTAPE_BINANCE_TESTNET"
SPOILED = {
    "half of it is missing": {"SECRET": "canary-4711"},
    "the other half is missing": {"KEY": "canary-4711"},
    "it is no key": {"KEY": "canary 4711", "SECRET": "canary-4712"},
    "its file is not there": {"KEY": "canary-4711", "SECRET_FILE": "/nowhere"},
}


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED.keys())
@pytest.mark.parametrize("place", ["environment", "dotenv", "open dotenv", "keyring"])
def test_a_key_that_cannot_be_used_is_in_no_traceback(
    place: str, spoiled: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor is it with the local variables of every frame, which IPython shows on request."""
    if place == "environment":
        for half, value in spoiled.items():
            monkeypatch.setenv(f"{NAME}_{half}", value)
    elif place == "keyring":
        entries = {f"binance:testnet:{half.lower()}": value for half, value in spoiled.items()}
        monkeypatch.setattr(keys, "_keyring", lambda entry: entries.get(entry, ""))
    else:
        path = tmp_path / ".env"
        path.write_text("".join(f"{NAME}_{half}='{value}'\n" for half, value in spoiled.items()))
        path.chmod(0o644 if place == "open dotenv" else 0o600)
        monkeypatch.setenv("PAPERTAPE_ENV_FILE", str(path))
    with pytest.raises(KitError) as caught:
        keys.find("binance", "testnet")
    assert "canary" not in everything_said(caught.value)


def test_a_secret_that_signs_nothing_is_in_no_traceback(venue: Venue) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\ncanary4711canary4711\n-----END PRIVATE KEY-----"
    unfit = Venue(BINANCE, "testnet", venue.hosts, key=Key("canary-key-id-4711", pem))
    with pytest.raises(KitError) as caught:
        unfit.rest.do(BINANCE.balances())
    unfit.close()
    said = everything_said(caught.value)
    assert "Ed25519" in said
    assert "canary" not in said


def everything_said(error: KitError) -> str:
    """The traceback from below the test on, with the locals of every frame, as Python and as IPython show them."""
    assert error.__traceback__ is not None
    below = error.__traceback__.tb_next
    assert below is not None
    shown = traceback.TracebackException(type(error), error, below, capture_locals=True)
    return "\n".join([*shown.format(), VerboseTB().text(type(error), error, below), repr(error)])


def test_no_notebook_and_no_cassette_holds_a_signature_or_a_key() -> None:
    files = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("cassettes/**/*.yaml"), *ROOT.glob("cassettes/**/*.jsonl")]
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        for mark in ("PRIVATE KEY", "X-Sandbox-Token"):
            assert mark not in text, f"{path} holds {mark}"
        for line in text.splitlines():
            assert not re.search(r"signature=[0-9a-z%]|x-mbx-apikey", line, re.IGNORECASE), f"{path}: {line[:80]}"
