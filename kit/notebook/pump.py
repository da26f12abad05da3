"""The one thread that feeds every view of this process, at the pace of an eye, not of a market."""

from __future__ import annotations

import threading
import time
from typing import Protocol

TICK = 1 / 8
"""Seconds between two looks."""


class View(Protocol):
    """Something on screen that follows something running."""

    @property
    def ended(self) -> bool:
        """True when there is nothing more to follow."""
        ...

    def tick(self, now: float) -> None:
        """Send what is new as of ``now`` (seconds, monotonic)."""
        ...

    def failed(self, error: Exception) -> None:
        """Show that a tick raised ``error``."""
        ...

    def close(self, reason: str = "") -> None:
        """Follow no longer and leave the last picture, marked with ``reason``."""
        ...


class Pump:
    """Ticks its views from the thread ``kit-views`` until it is closed. A view that raises is told so and stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: list[View] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def views(self) -> list[View]:
        """The views being fed now."""
        with self._lock:
            return list(self._views)

    def add(self, view: View) -> None:
        """Feed ``view`` from now on."""
        with self._lock:
            self._views.append(view)
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._work, name="kit-views", daemon=True)
                self._thread.start()

    def remove(self, view: View) -> None:
        """Feed ``view`` no longer; one it does not know is no matter."""
        with self._lock:
            self._views = [other for other in self._views if other is not view]

    def tick(self, now: float) -> None:
        """One round over all views."""
        for view in self.views:
            try:
                view.tick(now)
            except Exception as error:  # one broken view must not blind the others: it says so itself
                view.failed(error)
            if view.ended:
                self.remove(view)

    def close(self) -> None:
        """Stop the thread, wait for it, and mark every view as ended."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        for view in self.views:
            view.close("the kernel stopped following")
            self.remove(view)

    def _work(self) -> None:
        while not self._stop.wait(TICK):
            self.tick(time.monotonic())
