"""Faults as data, in virtual time; then felt by clients of a running sandbox."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kit.clock import SECOND
from kit.errors import UnknownName, UsageError
from kit.sandbox import faults as faults_module
from kit.sandbox.faults import KINDS, Fault, Faults, Plan, fault, plan
from kit.sandbox.launcher import Handle
from kit.venues.binance import BINANCE

ORDER = "POST /api/v3/order"
PATIENT = 40.0
"""Seconds within which a market of one trade every two seconds makes three."""


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

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_can_be_planned_and_is_explained(self, kind: str) -> None:
        held = {"ms": 5} if "ms" in KINDS[kind] else {}
        [read] = plan(json.dumps({"faults": [{"kind": kind, "for": 2, **held}]})).faults
        assert (read.kind, read.duration) == (kind, 2)
        explained = (faults_module.__doc__ or "").partition("Fields of a fault")
        assert re.search(rf"\b{kind}\b", explained[0])
        assert all(f"``{field}``" in explained[2] for field in KINDS[kind] if field != "kind")

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ('{"faults": [{"kind": "dropp"}]}', "did you mean 'drop'"),
            ('{"faults": [{"kind": "delay", "ms": 1, "matches": "*"}]}', "did you mean 'match'"),
            ('{"fault": []}', "did you mean 'faults'"),
            ('{"faults": [{"kind": "mute", "times": 2}]}', "unknown field of a mute fault"),
            ('{"faults": [{"kind": "shutdwn"}]}', "did you mean 'shutdown'"),
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
            '{"faults": [{"kind": "lag"}]}',
            '{"faults": [{"kind": "drop", "retry_after": -1}]}',
            '{"faults": [{"kind": "mute", "match": "GET /api/v3/depth"}]}',
            '{"faults": [{"kind": "gap", "match": "btcusdt@depth"}]}',
            '{"faults": [{"kind": "refuse", "match": "USER executionReport"}]}',
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
        assert [felt.refuses(second * SECOND) is not None for second in range(4)] == [False, True, True, False]

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

    def test_each_kind_strikes_the_streams_it_means(self) -> None:
        kinds = ("mute", "gap", "duplicate", "tear", "refuse")
        everything = faults(*({"kind": kind} for kind in kinds))
        struck = {
            kind: [everything.strikes(kind, f"STREAM {stream}", 0) for stream in ("a@trade", "a@depth@100ms")]
            for kind in kinds
        }
        assert struck == {
            "mute": [True, True],
            "gap": [False, True],
            "duplicate": [True, True],
            "tear": [True, False],
            "refuse": [True, False],
        }
        one = faults(*({"kind": kind, "match": "STREAM a@trade"} for kind in kinds))
        for kind in kinds:
            assert not one.strikes(kind, "STREAM b@trade", 0)
            assert one.strikes(kind, "STREAM a@trade", 0)

    def test_an_account_s_own_stream_is_struck_by_what_names_it_only(self) -> None:
        kinds = ("mute", "gap", "duplicate", "tear", "delay")
        held = {"ms": 300, "times": 9}
        report, position = "USER executionReport", "USER outboundAccountPosition"
        for match in ("*", "STREAM *", "GET *"):
            given = [{"kind": kind, "match": match} for kind in kinds if kind == "delay" or match != "GET *"]
            unnamed = faults(*(each | (held if each["kind"] == "delay" else {}) for each in given))
            assert (unnamed.copies(report, 0), unnamed.torn(report, 0), unnamed.delay(report, 0)) == (1, None, 0)
        assert [faults({"kind": kind, "match": report}).copies(report, 0) for kind in kinds[:3]] == [0, 0, 2]
        assert faults({"kind": "tear", "match": report}).torn(report, 0) is not None
        assert faults({"kind": "delay", "match": "USER *", **held}).delay(position, 0) == 0.3
        felt = faults({"kind": "gap", "match": report, "times": 2})
        assert [felt.copies(target, 0) for target in (position, report, report, report)] == [1, 0, 0, 1]

    def test_no_request_is_struck_by_what_befalls_streams(self) -> None:
        felt = faults({"kind": "mute"}, {"kind": "duplicate"}, {"kind": "tear"})
        assert felt.before("GET /x", 0) is felt.after("GET /x", 0) is None
        assert felt.delay("GET /x", 0) == 0

    def test_a_mute_with_a_match_leaves_the_sockets_alone(self) -> None:
        felt = faults({"kind": "mute", "match": "STREAM a@*", "for": 2})
        assert not felt.muted(0)
        assert [felt.strikes("mute", "STREAM a@trade", second * SECOND) for second in (0, 1, 2)] == [True, True, False]

    def test_what_befalls_open_connections_begins_once(self) -> None:
        felt = faults({"kind": "shutdown", "at": 1}, {"kind": "freeze", "at": 1})
        assert [len(felt.begun("shutdown", second * SECOND)) for second in range(4)] == [0, 1, 0, 0]
        [frozen] = felt.begun("freeze", 5 * SECOND)
        assert (frozen.begins, frozen.ends) == (SECOND, None)

    def test_a_shutdown_takes_as_long_as_the_venues_unless_told(self) -> None:
        felt = faults({"kind": "shutdown"}, {"kind": "shutdown", "at": 1, "for": 3})
        assert [each.ends for each in felt.begun("shutdown", SECOND)] == [600 * SECOND, 4 * SECOND]

    def test_a_torn_frame_s_share_is_drawn_from_the_seed(self) -> None:
        def shares(seed: int) -> list[float | None]:
            felt = faults({"kind": "tear", "times": 5}, seed=seed)
            return [felt.torn("STREAM a@trade", 0) for _ in range(6)]

        assert shares(1) == shares(1) != shares(2)
        assert all(share is not None and 0 <= share < 1 for share in shares(1)[:5])
        assert shares(1)[5] is None

    def test_a_429_asks_for_a_second_and_a_drop_for_nothing_unless_told(self) -> None:
        felt = faults(
            {"kind": "429"}, {"kind": "drop", "for": 1}, {"kind": "drop", "at": 1, "for": 1, "retry_after": 9}
        )
        struck = felt.before("GET /x", 0)
        assert struck is not None
        assert struck.retry_after == 1
        refusals = [felt.refuses(second * SECOND) for second in (0, 1)]
        assert [refusal and refusal.retry_after for refusal in refusals] == [None, 9]

    def test_cleared_is_cleared(self) -> None:
        felt = faults({"kind": "mute"}, {"kind": "gap"}, {"kind": "shutdown"})
        [announced] = felt.begun("shutdown", 0)
        felt.clear()
        assert announced.cleared
        assert not felt.muted(0)
        assert not felt.strikes("gap", "STREAM btcusdt@depth", 0)


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
                return opened.enter_context(
                    connect(sandbox.hosts.stream + path, compression=None, proxy=None, close_timeout=0.5)
                )

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

    def test_a_mute_stream_is_silent_beside_lively_ones(self, sandbox: Handle, stream: Any) -> None:
        connection = stream("/ws")
        sandbox.fault("mute", match="STREAM btcusdt@depth*")
        _subscribe(connection, "btcusdt@depth@100ms", "btcusdt@bookTicker")
        heard = [_update(connection) for _ in range(20)]
        assert {"result": None, "id": 1} in heard
        assert not any("U" in update for update in heard)
        sandbox.clear_faults()
        assert _until(connection, lambda update: "U" in update)

    def test_frames_can_come_twice(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        sandbox.fault("duplicate", match="STREAM btcusdt@depth@100ms", times=3)
        updates = [_update(connection) for _ in range(12)]
        twice = [one for one, other in itertools.pairwise(updates) if one == other]
        assert len(twice) == 3

    def test_frames_of_any_stream_can_be_lost(self, sandbox: Handle, stream: Any) -> None:
        connection = stream("/ws/btcusdt@trade")  # one trade every two seconds or so, and two are to be lost
        last = _update(connection, PATIENT)["t"]
        sandbox.fault("gap", match="STREAM btcusdt@trade", times=2)
        while (trade := _update(connection, PATIENT)["t"]) == last + 1:
            last = trade
        assert trade == last + 3

    def test_a_frame_can_break_off_in_the_middle(self, sandbox: Handle, stream: Any) -> None:
        connection, other = stream(), stream("/ws/btcusdt@bookTicker")
        _update(connection)
        sandbox.fault("tear", match="STREAM btcusdt@depth*")
        with pytest.raises(ConnectionClosed) as ended:
            _read_on(connection, timeout=5)
        assert ended.value.rcvd is None
        assert _update(other)
        assert _update(stream())

    @pytest.fixture
    def told(self, sandbox: Handle, caller: Any) -> Any:
        """Opens connections that listen to the account, and places orders that they hear of."""
        with ExitStack() as opened:

            def listen() -> ClientConnection:
                connection = opened.enter_context(
                    connect(str(sandbox.hosts.ws_api), compression=None, proxy=None, close_timeout=0.5)
                )
                connection.send(BINANCE.user_subscribe(sandbox.key, time.time_ns() // 1_000, 1))
                assert _update(connection)["status"] == 200
                return connection

            yield listen

    def heard(self, connection: ClientConnection, seconds: float = 0.7) -> list[tuple[str, str]]:
        """The kinds of events until nothing more comes, and what each says of an order."""
        events = []
        with suppress(TimeoutError):
            while event := _update(connection, seconds)["event"]:
                events.append((event["e"], event.get("x", "")))
        return events

    def test_events_of_an_account_can_be_lost_and_doubled(self, sandbox: Handle, caller: Any, told: Any) -> None:
        connection = told()
        position = ("outboundAccountPosition", "")
        sandbox.fault("gap", match="USER executionReport")
        self.buy(caller, "untold")
        assert self.heard(connection) == [position, ("executionReport", "TRADE"), position]
        sandbox.fault("duplicate", match="USER *", times=2)
        self.buy(caller, "told-twice")
        new, trade = ("executionReport", "NEW"), ("executionReport", "TRADE")
        assert self.heard(connection) == [new, new, position, position, trade, position]

    def test_an_event_of_an_account_can_break_off_in_the_middle(self, sandbox: Handle, caller: Any, told: Any) -> None:
        connection, other = told(), told()
        sandbox.fault("tear", match="USER executionReport")
        self.buy(caller, "torn")
        with pytest.raises(ConnectionClosed) as ended:
            connection.recv(timeout=5)
        assert ended.value.rcvd is None
        assert len(self.heard(other)) == 4

    def test_an_event_of_an_account_can_come_late_and_holds_up_what_follows(
        self, sandbox: Handle, caller: Any, told: Any
    ) -> None:
        connection = told()
        sandbox.fault("delay", ms=500, match="USER executionReport", times=1)
        began = time.monotonic()
        self.buy(caller, "told-late")
        assert [kind for kind, _ in self.heard(connection, 2)] == 2 * ["executionReport", "outboundAccountPosition"]
        assert time.monotonic() - began >= 0.5

    def test_a_mute_account_stream_is_silent_beside_lively_ones(
        self, sandbox: Handle, caller: Any, stream: Any, told: Any
    ) -> None:
        connection, market = told(), stream()
        sandbox.fault("mute", match="USER *")
        self.buy(caller, "muted")
        assert self.heard(connection) == []
        assert _update(market)
        sandbox.clear_faults()
        self.buy(caller, "unmuted")
        assert len(self.heard(connection)) == 4

    def test_a_shutdown_is_announced_before_the_cut_and_spares_who_comes_after(
        self, sandbox: Handle, stream: Any
    ) -> None:
        raw, combined = stream(), stream("/stream?streams=btcusdt@depth@100ms")
        _update(raw), _update(combined)
        before = time.time() * 1000
        sandbox.fault("shutdown", for_=1.0)
        told = _until(raw, lambda update: update["e"] == "serverShutdown")
        wrapped = _until(combined, lambda update: update["stream"] == "!serverShutdown")
        assert set(told) == {"e", "E"}
        assert set(wrapped["data"]) == {"e", "E"}
        assert abs(told["E"] - before) < 5_000
        fresh = stream()
        assert _update(raw)["e"] == "depthUpdate"  # until the cut everything comes
        began = time.monotonic()
        for connection in (raw, combined):
            with pytest.raises(ConnectionClosed):
                _read_on(connection, timeout=5)
        assert 0.3 < time.monotonic() - began < 4
        for _ in range(15):
            assert _update(fresh)["e"] == "depthUpdate"

    def test_a_cleared_shutdown_cuts_nobody(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        sandbox.fault("shutdown", for_=0.5)
        _until(connection, lambda update: update["e"] == "serverShutdown")
        sandbox.clear_faults()
        for _ in range(10):
            assert _update(connection)

    def test_a_half_open_connection_is_silent_and_deaf_and_others_are_not(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        _update(connection)
        sandbox.fault("freeze", for_=1.5)
        with pytest.raises(TimeoutError):
            _read_on(connection, timeout=0.6)
        assert not connection.ping().wait(0.3)
        assert _update(stream())
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)

    def test_a_half_open_connection_stays_so_when_the_fault_is_cleared(self, sandbox: Handle, stream: Any) -> None:
        connection = stream()
        sandbox.fault("freeze")
        with pytest.raises(TimeoutError):
            _read_on(connection, timeout=0.6)
        sandbox.clear_faults()
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)

    def test_one_connection_can_lag_behind_another(self, sandbox: Handle, stream: Any) -> None:
        slow = stream()
        _update(slow)
        sandbox.fault("lag", ms=600, for_=2)
        time.sleep(0.15)
        quick = stream()
        _update(quick)
        behind, last = 0, 0
        while not behind and (late := _update(slow)):
            assert late["U"] > last
            last, behind = late["u"], _update(quick)["u"] > late["u"]
        ends = time.monotonic() + 3.5
        while time.monotonic() < ends:
            late = _update(slow)
            assert late["U"] == last + 1
            last = late["u"]
        assert abs(time.time() * 1000 - late["E"]) < 500  # it has caught up, and nothing was lost

    def test_a_subscription_can_be_refused(self, sandbox: Handle, stream: Any) -> None:
        connection = stream("/ws")
        sandbox.fault("refuse", match="STREAM btcusdt@trade")
        _subscribe(connection, "btcusdt@depth@100ms", "btcusdt@trade")
        assert _update(connection)["error"]["code"] == 2
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.4)
        _subscribe(connection, "btcusdt@depth@100ms", "btcusdt@trade")
        assert _update(connection) == {"result": None, "id": 1}

    def test_a_refused_handshake_can_name_a_time(self, sandbox: Handle, stream: Any) -> None:
        sandbox.fault("drop", for_=0.5, retry_after=7)
        with pytest.raises(InvalidStatus) as refused:
            stream()
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "7"

    def test_a_misspelled_fault_is_told_the_nearest(self, sandbox: Handle) -> None:
        with pytest.raises(UsageError, match="did you mean 'mute'"):
            sandbox.fault("mutes")

    def test_faults_need_the_secret(self, sandbox: Handle, caller: Any) -> None:
        answer = caller.raw("POST", "/sandbox/faults", json={"kind": "mute"}, headers={"X-Sandbox-Token": "guess"})
        assert answer.status_code == 401


def _update(connection: ClientConnection, timeout: float = 5) -> Any:
    return json.loads(connection.recv(timeout=timeout))


def _until(connection: ClientConnection, wanted: Callable[[Any], bool]) -> Any:
    """The first message that is wanted."""
    ends = time.monotonic() + 15
    while not wanted(message := _update(connection)):
        assert time.monotonic() < ends, "it never came"
    return message


def _subscribe(connection: ClientConnection, *names: str) -> None:
    connection.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}))


def _read_on(connection: ClientConnection, timeout: float) -> None:
    """Read until that fails."""
    while True:
        connection.recv(timeout=timeout)
