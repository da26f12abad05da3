"""Faults as data, in virtual time; then felt by clients of a running sandbox."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kit.clock import SECOND
from kit.errors import UnknownName, UsageError
from kit.sandbox.faults import Fault, Faults, Plan, fault, plan
from kit.sandbox.launcher import Handle

ORDER = "POST /api/v3/order"


def faults(*given: dict[str, Any], seed: int = 7) -> Faults:
    return Faults(Plan(seed=seed, faults=tuple(fault(each) for each in given)), 0)


class TestPlan:
    def test_a_plan_is_read_from_json(self) -> None:
        read = plan(
            '{"seed": 7, "faults": [{"at": 5.0, "kind": "drop"}, {"at": 8, "kind": "mute", "for": 10},'
            ' {"kind": "delay", "ms": 300, "match": "POST /api/v3/order"},'
            ' {"kind": "429", "match": "GET /api/v3/klines", "times": 2, "retry_after": 1}]}'
        )
        assert read.seed == 7
        assert read.faults[1] == Fault(kind="mute", at=8.0, duration=10.0)

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ('{"faults": [{"kind": "dropp"}]}', "did you mean 'drop'"),
            ('{"faults": [{"kind": "delay", "ms": 1, "matches": "*"}]}', "did you mean 'match'"),
            ('{"fault": []}', "did you mean 'faults'"),
            ('{"faults": [{"kind": "mute", "match": "x"}]}', "unknown field of a mute fault"),
        ],
    )
    def test_a_misspelled_name_is_told_the_nearest(self, text: str, hint: str) -> None:
        with pytest.raises(UnknownName, match=hint):
            plan(text)

    @pytest.mark.parametrize(
        "text",
        [
            "nonsense",
            "[]",
            '{"faults": {}}',
            '{"seed": "x"}',
            '{"faults": [{"kind": "mute", "for": -1}]}',
            '{"faults": [{"kind": "mute", "at": "soon"}]}',
            '{"faults": [{"kind": "429", "times": 0}]}',
            '{"faults": [{"kind": "504", "chance": 2}]}',
            '{"faults": [{"kind": "delay"}]}',
        ],
    )
    def test_what_cannot_be_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            plan(text)


class TestInForce:
    def test_it_strikes_from_its_time_for_as_long_as_it_lasts(self) -> None:
        felt = faults({"kind": "mute", "at": 2, "for": 3})
        assert [felt.muted(second * SECOND) for second in range(7)] == [False, False, True, True, True, False, False]

    def test_it_strikes_so_many_times_and_only_what_matches(self) -> None:
        felt = faults({"kind": "429", "match": "GET /api/v3/klines", "times": 2})
        assert felt.before("GET /api/v3/depth", 0) is None
        assert [felt.before("GET /api/v3/klines", 0) is not None for _ in range(3)] == [True, True, False]

    def test_what_loses_an_order_s_answer_strikes_once_unless_told(self) -> None:
        felt = faults({"kind": "no_answer", "match": ORDER})
        assert felt.after(f"{ORDER}/test", 0) is None
        assert felt.after(ORDER, 0) == Fault(kind="no_answer", match=ORDER)
        assert felt.after(ORDER, 0) is None

    def test_a_drop_strikes_once_and_keeps_the_door_shut(self) -> None:
        felt = faults({"kind": "drop", "at": 1, "for": 2})
        assert [felt.drops(second * SECOND) for second in range(4)] == [False, True, False, False]
        assert [felt.refuses(second * SECOND) for second in range(4)] == [False, True, True, False]

    def test_requests_are_delayed_by_default_and_frames_by_name(self) -> None:
        felt = faults({"kind": "delay", "ms": 300})
        assert (felt.delay("GET /x", 0), felt.delay("STREAM btcusdt@trade", 0)) == (0.3, 0.0)
        felt = faults({"kind": "delay", "ms": 300, "match": "STREAM btcusdt@*"})
        assert (felt.delay("GET /x", 0), felt.delay("STREAM btcusdt@trade", 0)) == (0.0, 0.3)

    def test_chance_is_drawn_from_the_seed(self) -> None:
        def drawn(seed: int) -> list[bool]:
            felt = faults({"kind": "503", "chance": 0.5, "times": 1000}, seed=seed)
            return [felt.after("GET /x", 0) is not None for _ in range(50)]

        assert drawn(1) == drawn(1) != drawn(2)
        assert 10 < sum(drawn(1)) < 40

    def test_cleared_is_cleared(self) -> None:
        felt = faults({"kind": "mute"}, {"kind": "gap"})
        felt.clear()
        assert not felt.muted(0)
        assert not felt.skips("btcusdt@depth", 0)


class TestFelt:
    @pytest.fixture
    def caller(self, sandbox: Handle, call: Any) -> Any:
        sandbox.clear_faults()
        yield call(sandbox)
        sandbox.clear_faults()

    @pytest.fixture
    def stream(self, sandbox: Handle, caller: Any) -> Any:
        with ExitStack() as opened:

            def open_one(path: str = "/ws/btcusdt@depth@100ms") -> ClientConnection:
                return opened.enter_context(connect(sandbox.hosts.stream + path, compression=None, proxy=None))

            yield open_one

    def buy(self, caller: Any, client_id: str) -> requests.Response:
        params = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.00100"}
        return caller.signed("POST", "order", newClientOrderId=client_id, **params)  # type: ignore[no-any-return]

    def found(self, caller: Any, client_id: str) -> int:
        answer = caller.signed("GET", "order", symbol="BTCUSDT", origClientOrderId=client_id)
        return answer.status_code  # type: ignore[no-any-return]

    @pytest.mark.parametrize("kind", ["500", "502", "503", "504"])
    def test_after_a_5xx_the_order_is_there(self, sandbox: Handle, caller: Any, kind: str) -> None:
        sandbox.fault(kind, match=ORDER)
        assert self.buy(caller, f"lost-{kind}").status_code == int(kind)
        assert self.found(caller, f"lost-{kind}") == 200

    def test_after_no_answer_the_order_is_there(self, sandbox: Handle, caller: Any) -> None:
        sandbox.fault("no_answer", match=ORDER)
        with pytest.raises(requests.ConnectionError):
            self.buy(caller, "silent")
        assert self.found(caller, "silent") == 200

    def test_a_hanging_answer_can_be_given_up_on(self, sandbox: Handle, caller: Any) -> None:
        sandbox.fault("no_answer", match=ORDER, hang=0.4)
        began = time.monotonic()
        with pytest.raises(requests.ConnectionError):
            self.buy(caller, "hung")
        assert time.monotonic() - began >= 0.4
        assert self.found(caller, "hung") == 200

    def test_after_a_429_it_is_not(self, sandbox: Handle, caller: Any) -> None:
        sandbox.fault("429", match=ORDER, retry_after=3)
        answer = self.buy(caller, "turned-away")
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (429, "3", -1003)
        assert self.found(caller, "turned-away") == 400

    def test_a_delay_holds_the_answer_back(self, sandbox: Handle, caller: Any) -> None:
        sandbox.fault("delay", ms=300, match="GET /api/v3/time", times=1)
        began = time.monotonic()
        caller.get("/api/v3/time")
        assert time.monotonic() - began >= 0.3

    def test_a_drop_ends_every_socket_and_refuses_new_ones(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        connection.recv(timeout=5)
        sandbox.fault("drop", for_=0.5)
        with pytest.raises(ConnectionClosed):
            _read_on(connection, timeout=5)
        with pytest.raises(InvalidStatus):
            stream()
        time.sleep(0.5)
        assert stream().recv(timeout=5)

    def test_a_mute_socket_answers_pings_and_says_nothing(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        connection.recv(timeout=5)
        sandbox.fault("mute")
        with pytest.raises(TimeoutError):
            _read_on(connection, timeout=0.4)
        assert connection.ping().wait(5)
        sandbox.clear_faults()
        assert connection.recv(timeout=5)

    def test_a_gap_breaks_the_chain_of_diffs(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        last = _update(connection)["u"]
        sandbox.fault("gap", times=2)
        for _ in range(30):
            update = _update(connection)
            if update["U"] != last + 1:
                break
            last = update["u"]
        assert update["U"] > last + 1

    def test_frames_can_come_late_and_stay_in_order(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        sandbox.fault("delay", ms=400, match="STREAM btcusdt@depth*", for_=1)
        ends, last, latest = time.monotonic() + 2, 0, 0.0
        while time.monotonic() < ends:
            update = _update(connection)
            latest = max(latest, time.time() - update["E"] / 1000)
            assert update["U"] > last
            last = update["u"]
        assert latest >= 0.4

    def test_a_misspelled_fault_is_told_the_nearest(self, sandbox: Handle) -> None:
        with pytest.raises(UsageError, match="did you mean 'mute'"):
            sandbox.fault("mutes")

    def test_faults_need_the_secret(self, sandbox: Handle, caller: Any) -> None:
        answer = caller.raw("POST", "/sandbox/faults", json={"kind": "mute"}, headers={"X-Sandbox-Token": "guess"})
        assert answer.status_code == 401


def _update(connection: ClientConnection) -> Any:
    return json.loads(connection.recv(timeout=5))


def _read_on(connection: ClientConnection, timeout: float) -> None:
    """Read until that fails."""
    while True:
        connection.recv(timeout=timeout)
