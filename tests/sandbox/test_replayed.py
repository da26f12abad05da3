"""A recording of a real venue, served: trading on it, its end, and what is refused after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kit.sandbox import launcher
from kit.sandbox.home import Address, Terms
from kit.sandbox.launcher import Handle

NAME = "binance_spot_btcusdt_20240808.gz"


@pytest.fixture
def replayed(home: Path, recording: Any) -> Any:
    """``replayed(*options)`` is a running command and the handle of its sandbox."""
    commands: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], Handle]:
        command = [sys.executable, "-m", "kit.sandbox", "--name", "tape", "--replay", str(recording(NAME)), *options]
        environment = os.environ | {"PYTHONPATH": str(Path(launcher.__file__).parents[2])}
        commands.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        )
        said = json.loads(_line(commands[-1]))
        address = Address(name="tape", pid=commands[-1].pid, terms=Terms(), **said)
        return commands[-1], Handle(address, home / "sandbox" / "tape")

    yield start
    for command in commands:
        command.terminate()
        command.communicate()


def _line(command: subprocess.Popen[str]) -> str:
    assert command.stdout is not None
    return command.stdout.readline()


def test_a_tape_is_traded_on_until_it_ends_and_then_refuses(replayed: Any, call: Any) -> None:
    command, handle = replayed("--speed", "100")
    caller = call(handle)
    bought = caller.place(side="BUY", type="MARKET", quantity="0.00500")
    assert bought["status"] == "FILLED"
    assert 50_000 < float(bought["fills"][0]["price"]) < 70_000
    assert json.loads(_line(command))["ended"] is True
    assert caller.raw("GET", "/sandbox/health").json()["ended"] is True
    assert caller.get("/api/v3/exchangeInfo")["symbols"][0]["status"] == "BREAK"
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.00500"}
    refused = caller.signed("POST", "order", **order)
    assert (refused.status_code, refused.json()) == (400, {"code": -1013, "msg": "Market is closed."})
    assert caller.get("/api/v3/klines", symbol="BTCUSDT", interval="1m")
    assert caller.signed("GET", "myTrades", symbol="BTCUSDT").json()


def test_original_times_make_every_signed_call_fail_as_a_clock_of_2024_would(replayed: Any, call: Any) -> None:
    _, handle = replayed("--original-times")
    caller = call(handle)
    assert 1_723_000_000_000 < caller.get("/api/v3/time")["serverTime"] < 1_724_000_000_000
    refused = caller.signed("GET", "account")
    assert (refused.status_code, refused.json()["code"]) == (400, -1021)


def test_a_tape_that_is_not_there_is_said(home: Path) -> None:
    with pytest.raises(Exception, match="nowhere"):
        launcher.ensure("none", replay=home / "nowhere.gz")
