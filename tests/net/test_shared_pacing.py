"""One count for all processes of a machine: shared, whole after a kill, and never in the way."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kit.clock import HOUR, MINUTE, SECOND, Offset
from kit.errors import StoreError
from kit.net import shared_pacing
from kit.net.pacing import ALL
from kit.net.shared_pacing import FILE, SharedPacing
from kit.venues.base import Budget

T0 = 1_767_225_600_000_000 + SECOND
TOLD = Budget("X-MBX-USED-WEIGHT-1M", 100, MINUTE)
UNTOLD = Budget("REQUESTS", 100, MINUTE, sliding=True)


@contextmanager
def shared(home: Path | Callable[[], Path], *budgets: Budget, scope: str = "venue.example") -> Iterator[SharedPacing]:
    made = SharedPacing(lambda: scope, home if callable(home) else lambda: home, budgets)
    yield made
    made.close()


def spend(pacing: SharedPacing, weight: int) -> None:
    with pacing.open() as pacer:
        pacer.send(weight, T0)


def free(pacing: SharedPacing, weight: int = 50) -> bool:
    with pacing.open() as pacer:
        return pacer.wait(weight, T0, share=ALL) == 0


@pytest.mark.parametrize("budget", [TOLD, UNTOLD])
def test_what_one_sends_counts_for_the_other(home: Path, budget: Budget) -> None:
    with shared(home, budget) as one, shared(home, budget) as two, shared(home, budget, scope="other.example") as third:
        spend(one, 80)
        assert not free(two)
        assert free(two, 20)
        assert free(third)


def test_what_one_has_learned_the_other_knows(home: Path) -> None:
    with shared(home) as one, shared(home) as two:
        with one.open() as pacer:
            pacer.learn([TOLD], T0)
        spend(one, 80)
        assert not free(two)


def test_each_process_sees_the_venues_windows_by_its_own_clock(home: Path) -> None:
    with shared(home, TOLD) as one, shared(home, TOLD) as two:
        one.measured, two.measured = Offset(0, 0), Offset(-MINUTE, 7)
        spend(one, 80)
        assert not free(one)
        with two.open() as pacer:
            assert (pacer.skew, pacer.blur) == (-MINUTE, 7)
            assert pacer.wait(50, T0 + MINUTE) > 0
        with one.open() as pacer:
            assert (pacer.skew, pacer.blur) == (0, 0)


@pytest.mark.parametrize("apart", [HOUR, -HOUR])
def test_what_the_venue_holds_is_held_by_all_though_their_clocks_are_hours_apart(home: Path, apart: int) -> None:
    """One began before the machine was put to sleep, the other after it was set right."""
    with shared(home, TOLD) as one, shared(home, TOLD) as two:
        one.measured, two.measured = Offset(0, 0), Offset(-apart, 0)
        with one.open() as pacer:
            pacer.hold(T0 + MINUTE, order=False)
        with two.open() as pacer:
            assert pacer.wait(1, T0 + apart) == MINUTE
            assert pacer.wait(1, T0 + apart + MINUTE) == 0


def test_without_a_home_a_process_counts_alone_and_writes_nothing(home: Path) -> None:
    pacing = SharedPacing(lambda: "venue.example", None, [TOLD])
    spend(pacing, 80)
    assert not free(pacing)
    assert pacing.path is None
    assert not list(home.iterdir())


def test_after_it_was_closed_it_counts_alone(home: Path) -> None:
    with shared(home, TOLD) as one, shared(home, TOLD) as two:
        spend(one, 80)
        one.close()
        one.close()
        spend(one, 15)
        assert not free(one, 10)
        assert free(two, 10)


def no_home() -> Path:
    raise StoreError("nothing can be kept here")


def test_where_nothing_can_be_kept_a_process_counts_alone_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with shared(no_home, TOLD) as pacing:
        spend(pacing, 80)
        assert not free(pacing)
        pacing._alone_until = time.monotonic()
        assert not free(pacing)
    assert len(caplog.records) == 1
    assert "venue.example can't be counted together with other programs (nothing can be kept here)" in caplog.text


def test_a_file_that_can_be_shared_again_is_shared_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / FILE).mkdir()
    with shared(home, TOLD) as one, shared(home, TOLD) as two:
        spend(one, 80)
        (home / FILE).rmdir()
        assert free(two)
        monkeypatch.setattr(shared_pacing, "AGAIN", -1e9)
        one._alone_until = two._alone_until = time.monotonic()
        spend(one, 80)
        assert not free(two)


def test_a_program_that_holds_the_file_for_long_holds_up_nobody_for_long(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_pacing, "BUSY", 0.1)
    with shared(home, TOLD) as pacing:
        spend(pacing, 80)
        stuck = sqlite3.connect(home / FILE, isolation_level=None)
        stuck.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for _ in range(20):
            assert not free(pacing)
        assert time.monotonic() - began < 1.0  # 20 times would be two seconds
        stuck.close()
    assert "database is locked" in caplog.text


def test_a_spoiled_file_is_made_anew(home: Path) -> None:
    (home / FILE).write_bytes(b"no database at all" * 1000)
    with shared(home, TOLD) as one, shared(home, TOLD) as two:
        spend(one, 80)
        assert not free(two)


@pytest.mark.parametrize("state", [b"", b"{", b'{"budgets": 7}', "text"])
def test_a_row_that_is_not_ours_is_replaced(home: Path, state: bytes | str) -> None:
    with shared(home, TOLD) as one:
        spend(one, 80)
        with sqlite3.connect(home / FILE) as db:
            db.execute("UPDATE pacing SET state = ?", (state,))
        db.close()
        assert not free(one)
        with shared(home, TOLD) as two:
            assert not free(two)


def test_what_nobody_has_asked_for_days_is_forgotten(home: Path) -> None:
    with shared(home, TOLD) as old:
        spend(old, 80)
        with sqlite3.connect(home / FILE) as db:
            db.execute("UPDATE pacing SET at = at - ?", (shared_pacing.FORGET + SECOND,))
        db.close()
    with shared(home, TOLD) as new:
        assert free(new)


def test_programs_that_begin_at_the_same_moment_share_from_the_beginning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(40):
        folder = home / str(n)
        folder.mkdir()
        together = threading.Barrier(6)

        def begin(folder: Path = folder, together: threading.Barrier = together) -> None:
            with shared(folder, TOLD) as pacing:
                together.wait()
                spend(pacing, 1)

        threads = [threading.Thread(target=begin) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not caplog.records


class Interrupted(BaseException):
    """As the stop button of a notebook."""


def test_an_interrupted_cell_leaves_the_count_whole_and_free(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise Interrupted

    with shared(home, TOLD) as one, shared(home, TOLD) as two:
        spend(one, 80)
        with pytest.raises(Interrupted), one.open():
            raise Interrupted
        assert not free(two)
        with monkeypatch.context() as patch:
            patch.setattr(SharedPacing, "_give_back", interrupted)
            with pytest.raises(Interrupted):
                free(one)
        assert not free(one)
        assert not free(two)
        assert one.path == two.path == home / FILE


def test_threads_and_files_lose_nothing(home: Path) -> None:
    budget = Budget("REQUESTS", 10_000, MINUTE, sliding=True)
    clients = [SharedPacing(lambda: "venue.example", lambda: home, [budget]) for _ in range(4)]

    def spend_often(client: SharedPacing) -> None:
        for _ in range(50):
            spend(client, 1)

    threads = [threading.Thread(target=spend_often, args=(client,)) for client in clients * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with clients[0].open() as pacer:
        assert len(pacer.flying) == 400
    for client in clients:
        client.close()


# -- real processes ---------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from kit.net.shared_pacing import SharedPacing
pacing = SharedPacing(lambda: "venue.example", lambda: Path(sys.argv[1]))
with pacing.open() as pacer:
    pacer.send(15, int(sys.argv[2]))
with pacing.open() as pacer:
    pacer.send(70, int(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
"""

FORKED = """
import os, sys
from pathlib import Path
from kit.net.shared_pacing import SharedPacing
pacing, at = SharedPacing(lambda: "venue.example", lambda: Path(sys.argv[1])), int(sys.argv[2])
def spend(weight):
    with pacing.open() as pacer:
        pacer.send(weight, at)
spend(10)
parents, child = pacing._db, os.fork()
spend(20)
if child:
    assert os.waitpid(child, 0)[1] == 0
    spend(30)
else:
    assert pacing._db is not parents
"""


def run(script: str, *arguments: object) -> int:
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=False).returncode


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_killed_while_it_holds_the_count_leaves_it_as_it_was(home: Path) -> None:
    with shared(home, TOLD) as pacing:
        spend(pacing, 1)
        assert run(KILLED, home, T0) == -signal.SIGKILL
        began = time.monotonic()
        with pacing.open() as pacer:
            assert sum(ticket.weight for ticket in pacer.flying) == 16
        assert time.monotonic() - began < shared_pacing.BUSY


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_shares_by_a_connection_of_its_own(home: Path) -> None:
    with shared(home, TOLD) as pacing:
        spend(pacing, 1)
        assert run(FORKED, home, T0) == 0
        with pacing.open() as pacer:
            assert sorted(ticket.weight for ticket in pacer.flying) == [1, 10, 20, 20, 30]


class Keeper(ThreadingHTTPServer):
    """Counts weight per window as Binance does, and turns away what is too much."""

    daemon_threads = True
    LIMIT, WINDOW = 2_000, 2 * SECOND

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Counting)
        self.lock = threading.Lock()
        self.windows, self.statuses = Counter[int](), Counter[int]()

    def count(self, weight: int) -> tuple[int, int]:
        with self.lock:
            began = time.time_ns() // 1000 // self.WINDOW
            self.windows[began] += weight
            status = 429 if self.windows[began] > self.LIMIT else 200
            self.statuses[status] += 1
            return status, self.windows[began]


COSTS = {"depth": 50, "exchangeInfo": 20}
LIMITS = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "SECOND", "intervalNum": 2, "limit": Keeper.LIMIT}]


class Counting(BaseHTTPRequestHandler):
    """Answers what the processes ask: the time, the limits and an empty book."""

    protocol_version = "HTTP/1.1"
    server: Keeper

    def do_GET(self) -> None:
        what = urlsplit(self.path).path.rpartition("/")[2]
        status, used = self.server.count(COSTS.get(what, 1))
        bodies = {"time": {"serverTime": time.time_ns() // 1_000_000}, "exchangeInfo": {"rateLimits": LIMITS}}
        body = json.dumps(bodies.get(what, {"lastUpdateId": 1, "bids": [], "asks": []})).encode()
        self.send_response(status)
        self.send_header("X-MBX-USED-WEIGHT-2S", str(used))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


ASKING = """
import sys, threading, time
from pathlib import Path
from kit.clock import WallClock
from kit.net.rest import Rest
from kit.venues.base import Hosts
from kit.venues.binance import BINANCE
rest = Rest(BINANCE, Hosts(sys.argv[1], ""), clock=WallClock(), home=lambda: Path(sys.argv[2]))
def ask():
    while True:
        rest.do(BINANCE.book("BTCUSDT", 1000))
for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
sys.stdin.read()
"""


def test_processes_that_ask_for_all_they_can_get_use_nearly_all_of_it_and_are_never_turned_away(home: Path) -> None:
    keeper = Keeper()
    serving = threading.Thread(target=keeper.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    url = f"http://127.0.0.1:{keeper.server_port}"
    asking = [subprocess.Popen([sys.executable, "-c", ASKING, url, str(home)], stdin=subprocess.PIPE) for _ in range(3)]
    try:
        wait_for(lambda: len(keeper.windows) >= 2)
        asking[0].kill()
        wait_for(lambda: len(keeper.windows) >= 4)
    finally:
        for process in asking:
            process.kill()
            process.communicate()
        keeper.shutdown()
        keeper.server_close()
        serving.join()
    assert keeper.statuses.keys() == {200}
    whole = sorted(keeper.windows)[1:-1]
    assert max(keeper.windows[began] for began in whole) >= 0.75 * Keeper.LIMIT  # beside other tests; in the soak 0.9


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.02)
