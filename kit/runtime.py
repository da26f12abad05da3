"""The one owned object per process: what is running, by name, so that a re-run cell finds it again."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import platformdirs

from kit.errors import StoreError
from kit.orders.ids import Intent


class Closable(Protocol):
    """Anything that runs until it is closed. ``close`` may be called twice."""

    def close(self) -> None: ...


class Asked(Protocol):
    """Who knows the intent of the order call being made now; None where nobody does."""

    def __call__(self, subject: str, terms: str = "") -> Intent | None: ...


C = TypeVar("C", bound=Closable)


def home() -> Path:
    """Where the kit keeps accounts and sandboxes: ``PAPERTAPE_HOME``, else the user's data folder."""
    chosen = os.environ.get("PAPERTAPE_HOME")
    return made(Path(chosen) if chosen else Path(platformdirs.user_data_dir("papertape")))


def made(path: Path, mode: int = 0o777) -> Path:
    """The folder, made when it is not there. Raises StoreError where nothing can be written."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        why = "" if os.access(path, os.W_OK) else "no permission to write"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise StoreError(
            f"nothing can be kept in {path} ({why}), so nothing was opened or sent; give the folder back its write "
            "permission, or name another in PAPERTAPE_HOME"
        )
    return path


class Runtime:
    """Running things by kind and name, closed in reverse order when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._running: dict[tuple[str, str], Closable] = {}
        self.cell_intent: Asked = lambda subject, terms="": None
        """Set by the notebook room: the intent of the order call being made now, None where there is no notebook.

        It is told what the order is about (side and symbol), because calls about something else don't shift the count,
        and all that is asked for, because a call that asks for something else is no other try of a refused one."""
        self.intent_refused: Callable[[Intent], None] = lambda intent: None
        """Set by the notebook room, told by a broker: the order of an intent was turned away before it was written."""

    def find(self, kind: type[C], name: str) -> C | None:
        """The running thing of that name, if any."""
        with self._lock:
            found = self._running.get((kind.__name__, name))
            return found if isinstance(found, kind) else None

    def get(self, kind: type[C], name: str, make: Callable[[], C]) -> C:
        """The running thing of that name, made when there is none."""
        with self._lock:
            found = self.find(kind, name)
            if found is None:
                found = make()
                self._running[kind.__name__, name] = found
            return found

    def replace(self, name: str, thing: Closable) -> None:
        """Keep ``thing`` under its name and close what stood there before."""
        with self._lock:
            old = self._running.pop((type(thing).__name__, name), None)
            self._running[type(thing).__name__, name] = thing
        if old is not None and old is not thing:
            old.close()

    def forget(self, thing: Closable) -> None:
        """Drop a thing that has closed itself."""
        with self._lock:
            self._running = {key: value for key, value in self._running.items() if value is not thing}

    def close(self) -> None:
        """Close everything, newest first."""
        while True:
            with self._lock:
                if not self._running:
                    return
                _, thing = self._running.popitem()
            thing.close()


runtime = Runtime()
"""The process's one runtime."""

atexit.register(runtime.close)
