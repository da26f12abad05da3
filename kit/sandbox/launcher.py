"""Find the sandbox of a name, or start it: its own process, which outlives the kernel that asked for it.

It ends some minutes after its last client, and resumes its accounts, orders and market when asked for again.
Two kernels that ask at once get the same one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock, Timeout

from kit.errors import UsageError, VenueUnreachable
from kit.sandbox.home import Address, Terms, agree, folder, published, withdraw
from kit.venues.base import Hosts, Key

PATIENCE = 60.0
"""Seconds a sandbox may take to begin or end: imports on a loaded machine take many."""
IDLE = 10.0
"""Minutes without a client after which a sandbox started from here ends."""

# Starts the sandbox and waits until it has said where it is, or is gone. Being its parent in the kernel's place,
# it leaves no zombie there and nothing of the kernel's (pipes, console, process group) with the sandbox.
_STARTER = """
import os, subprocess, sys, time
log, said, *command = sys.argv[1:]
apart = {"creationflags": 0x208} if os.name == "nt" else {"start_new_session": True}
with open(log, "ab") as errors:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, **apart)
while child.poll() is None and not os.path.exists(said):
    time.sleep(0.02)
"""


class Handle:
    """A running sandbox: where it is, its key, and what can be done to it."""

    def __init__(self, address: Address, place: Path) -> None:
        self.name = address.name
        self.place = place
        """The folder with its files."""
        self.pid = address.pid
        self.hosts = Hosts(rest=address.rest, stream=address.stream, ws_api=address.ws_api)
        self.key = Key(address.key, address.secret)
        self.terms = address.terms

    def __repr__(self) -> str:
        return f"<sandbox {self.name!r} at {self.hosts.rest}>"

    @property
    def running(self) -> bool:
        """True while it answers."""
        return _answers(self.name, self.hosts.rest, self.pid)

    def fault(self, kind: str, **fields: object) -> None:
        """Put a fault in force, as in a plan: ``fault("mute", for_=10)``. Raises UsageError for one that can't be."""
        self._ask("POST", "faults", {"kind": kind} | {name.rstrip("_"): value for name, value in fields.items()})

    def clear_faults(self) -> None:
        """Put every fault out of force."""
        self._ask("DELETE", "faults")

    def new_key(self, account: str, *, public_key: str | None = None, cash: Mapping[str, Decimal] | None = None) -> Key:
        """A key for an account, which is opened when it is new (``cash``: asset -> amount).

        With ``public_key`` (Ed25519, PEM) the key's secret is the private key you have: the answer's is empty.
        """
        holdings = None if cash is None else {asset: str(amount) for asset, amount in cash.items()}
        made = self._ask("POST", "keys", {"account": account, "public_key": public_key, "cash": holdings})
        return Key(made["key"], made["secret"])

    def stop(self) -> None:
        """End it in good order, and wait until it has. Nothing happens when it has ended already."""
        with contextlib.suppress(VenueUnreachable):
            self._ask("POST", "stop")
        _wait_for_end(self.place, self.pid)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait until it is gone."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        _wait_for_end(self.place, self.pid)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        headers = {"X-Sandbox-Token": self.key.secret}
        try:
            with _session() as session:
                url = f"{self.hosts.rest}/sandbox/{path}"
                answer = session.request(method, url, json=body, headers=headers, timeout=10, allow_redirects=False)
        except requests.RequestException:
            raise VenueUnreachable(
                f"the sandbox {self.name!r} does not answer at {self.hosts.rest}; connect again to start it"
            ) from None
        if answer.status_code != 200:
            raise UsageError(f"the sandbox {self.name!r} says no: {answer.json()['error']}")
        return answer.json()


def ensure(
    name: str = "default",
    *,
    seed: int | None = None,
    replay: str | Path | None = None,
    speed: float = 1.0,
    original_times: bool = False,
    idle: float = IDLE,
) -> Handle:
    """The running sandbox of that name, started when there is none.

    Raises UsageError when it has another market than the one asked for, or can't begin; VenueUnreachable when
    it does not come up.
    """
    asked = Terms(seed, None if replay is None else str(Path(replay).resolve()), speed, original_times)
    place = folder(name)
    try:
        with FileLock(place / "launch.lock", timeout=PATIENCE):
            address = _running(place) or _start(name, place, asked, idle)
    except Timeout:
        raise VenueUnreachable(
            f"another program has been starting the sandbox {name!r} for {PATIENCE:g} s; try again when it is done"
        ) from None
    agree(asked, address.terms, name)
    return Handle(address, place)


def _running(place: Path) -> Address | None:
    """The sandbox that has published itself here, if it answers by its name."""
    address = published(place)
    if address is None or not address.ready:
        return None
    return address if _answers(address.name, address.rest, address.pid) else None


def _answers(name: str, rest: str, pid: int) -> bool:
    try:
        with _session() as session:
            facts = session.get(f"{rest}/sandbox/health", timeout=5).json()
    except (requests.RequestException, ValueError):
        return False
    return isinstance(facts, dict) and (facts.get("name"), facts.get("pid")) == (name, pid)


def _start(name: str, place: Path, asked: Terms, idle: float) -> Address:
    withdraw(place)
    command = [sys.executable, "-m", "kit.sandbox", "--name", name, "--idle", str(idle), *_arguments(asked)]
    starter = [sys.executable, "-I", "-S", "-c", _STARTER, str(place / "sandbox.log"), str(place / "running.json")]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
            [*starter, *command],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    address = published(place)
    if address is not None and address.ready:
        return address
    if address is not None:
        raise UsageError(f"the sandbox {name!r} can't begin: {address.error}")
    raise VenueUnreachable(f"the sandbox {name!r} did not begin; {place / 'sandbox.log'} says why")


def _arguments(asked: Terms) -> list[str]:
    given: list[str] = []
    if asked.seed is not None:
        given += ["--seed", str(asked.seed)]
    if asked.replay is not None:
        given += ["--replay", asked.replay, "--speed", str(asked.speed)]
    return [*given, "--original-times"] if asked.original_times else given


def _environment() -> dict[str, str]:
    """This process's, with the kit that runs here found there too (a checkout need not be installed)."""
    root = Path(__file__).resolve().parents[2]
    known = os.environ.get("PYTHONPATH")
    if root.name == "site-packages":
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *([known] if known else [])])}


def _wait_for_end(place: Path, pid: int) -> None:
    """Wait until nobody holds the sandbox's lock, or a successor does: then its process is gone, however it ended."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        address = published(place)
        if address is not None and address.ready and address.pid != pid:
            return
        with contextlib.suppress(Timeout), FileLock(place / "owner.lock", timeout=0.05):
            return
    raise VenueUnreachable(f"the sandbox {place.name!r} is still there after {PATIENCE:g} s; end process {pid} by hand")


def _session() -> requests.Session:
    """A session for loopback: no proxy of the environment has a say in it."""
    session = requests.Session()
    session.trust_env = False
    return session
