"""Found or started by name, one at a time, its own process; killed at any moment, it resumes what it answered."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from kit.errors import UsageError, VenueUnreachable
from kit.sandbox import launcher
from kit.sandbox.launcher import Handle
from kit.sandbox.server import _sockets, main


@pytest.fixture
def ensured(home: Path) -> Iterator[Any]:
    """``ensured(name, …)`` finds or starts a sandbox that is ended afterwards."""
    handles: list[Handle] = []

    def ensure(name: str = "mine", **options: Any) -> Handle:
        handles.append(launcher.ensure(name, **options))
        return handles[-1]

    yield ensure
    for handle in handles:
        handle.stop()


def test_two_kernels_that_ask_at_once_get_the_same_one(ensured: Any) -> None:
    found: list[Handle] = []
    threads = [threading.Thread(target=lambda: found.append(ensured()), name=f"kit-test-{n}") for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0].pid == found[1].pid
    assert found[0].pid != os.getpid()
    assert found[0].key.id == found[1].key.id


def test_another_market_under_the_same_name_is_refused_with_a_way_out(ensured: Any) -> None:
    ensured(seed=3)
    with pytest.raises(
        UsageError, match=r"has a synthetic market of seed 3, not .* seed 4.* take another sandbox= name"
    ):
        ensured(seed=4)
    assert ensured().terms.seed == 3


def test_a_stopped_sandbox_is_gone_and_its_files_are_its_user_s_only(ensured: Any) -> None:
    handle = ensured()
    running = handle.place / "running.json"
    if os.name == "posix":
        assert {path.stat().st_mode & 0o077 for path in (running, *handle.place.glob("sandbox.sqlite*"))} == {0}
        assert handle.place.stat().st_mode & 0o077 == 0
    handle.stop()
    assert not handle.running
    assert not running.exists()
    handle.stop()
    with pytest.raises(VenueUnreachable, match="connect again"):
        handle.fault("mute")


def test_no_secret_is_logged_or_shown(ensured: Any) -> None:
    handle = ensured()
    handle.stop()
    assert handle.key.secret not in (handle.place / "sandbox.log").read_text()
    assert handle.key.secret not in repr(handle) + repr(vars(handle))


def test_killed_after_its_answer_it_has_lost_nothing(ensured: Any, call: Any) -> None:
    handle = ensured()
    caller = call(handle)
    bid = Decimal(caller.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")["bidPrice"])
    usual = {"side": "BUY", "quantity": "0.01000"}
    filled = caller.place(type="MARKET", newClientOrderId="filled", **usual)
    resting = caller.place(type="LIMIT", timeInForce="GTC", price=f"{bid / 2:.2f}", newClientOrderId="resting", **usual)
    before = caller.signed("GET", "account").json()["balances"]
    handle.kill()
    assert not handle.running
    again = ensured()
    assert (again.key.id, again.terms) == (handle.key.id, handle.terms)
    assert again.pid != handle.pid
    caller = call(again)
    assert caller.signed("GET", "account").json()["balances"] == before
    orders = caller.signed("GET", "allOrders", symbol="BTCUSDT").json()
    assert [(o["orderId"], o["status"]) for o in orders] == [
        (filled["orderId"], "FILLED"),
        (resting["orderId"], "NEW"),
    ]
    fills = caller.signed("GET", "myTrades", symbol="BTCUSDT").json()
    assert [fill["id"] for fill in fills] == [fill["tradeId"] for fill in filled["fills"]]
    gone = caller.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId="resting").json()
    assert gone["status"] == "CANCELED"
    another = caller.place(type="MARKET", **usual)
    assert another["orderId"] > max(resting["orderId"], fills[-1]["id"])


def test_the_market_goes_on_where_it_was(ensured: Any, call: Any) -> None:
    handle = ensured(seed=11)
    ask = {"symbol": "ETHUSDT", "interval": "1m", "startTime": 1_790_000_000_000, "limit": 50}
    before = call(handle).get("/api/v3/klines", **ask)
    handle.kill()
    assert call(ensured()).get("/api/v3/klines", **ask) == before


def test_it_ends_some_time_after_its_last_client(ensured: Any) -> None:
    handle = ensured(idle=0.005)
    ends = time.monotonic() + 20
    while (handle.place / "running.json").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not handle.running


def test_a_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(UsageError, match="can't name a sandbox"):
        launcher.ensure("../elsewhere")


def test_the_command_prints_one_line_when_ready_and_ends_on_a_signal(home: Path) -> None:
    plan = home / "plan.json"
    plan.write_text('{"seed": 1, "faults": [{"kind": "429", "match": "GET /api/v3/ping"}]}')
    command = [sys.executable, "-m", "kit.sandbox", "--port", "0", "--name", "cli", "--faults", str(plan)]
    environment = os.environ | {"PYTHONPATH": str(Path(launcher.__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as it:
        assert it.stdout is not None
        ready = json.loads(it.stdout.readline())
        assert set(ready) == {"ready", "rest", "stream", "ws_api", "key", "secret"}
        assert ready["rest"].startswith("http://127.0.0.1:")
        second = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert (second.returncode, second.stdout) == (2, b"")
        assert b"is running already" in second.stderr
        it.terminate()
        assert it.stdout.read() == ""
    assert it.returncode == 0


def test_a_port_that_is_taken_is_said(home: Path, capsys: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    assert "choose another, or 0 for a free one" in capsys.readouterr().err


def test_a_plan_that_cannot_be_read_is_said_before_anything_begins(home: Path, capsys: Any) -> None:
    assert main(["--faults", str(home / "nowhere.json")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_a_sandbox_that_ends_says_so_on_its_streams(ensured: Any) -> None:
    handle = ensured()
    with connect(f"{handle.hosts.stream}/stream?streams=no@such", compression=None, proxy=None) as connection:
        handle.stop()
        said = json.loads(connection.recv(timeout=5))
        assert (said["stream"], said["data"]["e"]) == ("!serverShutdown", "serverShutdown")
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)


@pytest.mark.parametrize("port", ["65536", "-1", "any", "80.5"])
def test_what_is_no_port_is_told_so(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--port", port])
    assert "is no port: 0 to 65535" in capsys.readouterr().err


def test_the_last_port_has_neighbours_elsewhere() -> None:
    try:
        listening = _sockets(65_535)
    except UsageError:
        pytest.skip("port 65535 is taken on this machine")
    assert all(0 < taken.getsockname()[1] <= 65_535 for taken in listening)
    for taken in listening:
        taken.close()
