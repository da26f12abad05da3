"""Where sandboxes keep their files, and how a running one is found: ``home()/sandbox/<name>/``.

``sandbox.sqlite``  accounts, keys, orders, fills
``running.json``    where the running one listens and its key, only for the user's eyes; gone when it ends
``owner.lock``      held by the running process
``launch.lock``     held by whoever is starting it
``sandbox.log``     what it says
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import msgspec

from kit.errors import UsageError
from kit.runtime import home, made

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Terms(msgspec.Struct, frozen=True):
    """What market a sandbox has. ``None`` means: not said, whatever it has."""

    seed: int | None = None
    replay: str | None = None
    speed: float = 1.0
    original_times: bool = False

    def __str__(self) -> str:
        if self.replay is None:
            return f"a synthetic market of seed {self.seed}"
        return f"a replay of {self.replay} at {self.speed:g}x"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sandbox listens and with which key; or why it could not begin."""

    ready: bool
    rest: str = ""
    stream: str = ""
    ws_api: str = ""
    key: str = ""
    secret: str = ""
    name: str = ""
    pid: int = 0
    terms: Terms = Terms()
    error: str = ""

    def __repr__(self) -> str:
        return f"Address({self.name!r}, {self.rest!r})"

    @classmethod
    def failed(cls, error: str) -> Address:
        """What is left by one that could not begin."""
        return cls(ready=False, error=error)

    def ready_line(self) -> dict[str, object]:
        """The line printed when ready."""
        names = ("ready", "rest", "stream", "ws_api", "key", "secret")
        return {name: getattr(self, name) for name in names}

    def facts(self) -> dict[str, object]:
        """What anybody may know."""
        return {"name": self.name, "pid": self.pid, "terms": msgspec.to_builtins(self.terms)}


def folder(name: str) -> Path:
    """The sandbox's folder, made when it is not there, for its user only. UsageError for a name that can't be one."""
    if not NAME.fullmatch(str(name)):
        raise UsageError(f"{name!r} can't name a sandbox: letters, digits, '_', '-' and '.', at most 64")
    return made(home() / "sandbox" / str(name), mode=0o700)


def publish(place: Path, address: Address) -> None:
    """Write where the sandbox listens, in one step and readable by its user only."""
    draft = place / f"running.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(address))
    draft.replace(place / "running.json")


def withdraw(place: Path) -> None:
    """Take back what ``publish`` wrote."""
    (place / "running.json").unlink(missing_ok=True)


def published(place: Path) -> Address | None:
    """What ``publish`` wrote last, if it can be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((place / "running.json").read_bytes(), type=Address)
    return None


def agree(asked: Terms, has: Terms, name: str) -> None:
    """Raise UsageError when what is asked for is not what the sandbox has; what isn't said agrees."""
    synthetic = asked.replay is None
    same = has.seed == asked.seed if synthetic else has == asked
    unsaid = synthetic and asked.seed is None
    if not same and not unsaid:
        raise UsageError(
            f"the sandbox {name!r} has {has}, not {asked}, and keeps it: its accounts belong to that market. "
            f"Nothing was changed; take another sandbox= name for the new market"
        )
