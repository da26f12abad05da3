"""The stop button of a notebook (SIGINT), kept waiting while something may not be done by half.

Python raises KeyboardInterrupt in the main thread between any two steps: a fill could be counted and the money for it
not. What is ``whole`` is done to its end first; where it waits for a network it is ``interruptible`` all the same.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the functions of signal look names up: ten times slower
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from signal import SIGINT
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Handler = Callable[[int, FrameType | None], object]


class _Waiting:
    """The handler of the signal meanwhile."""

    def __init__(self, handler: Handler) -> None:
        self.open = False
        self._handler, self._come = handler, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._come = True
        if self.open:
            self.let_through()

    def let_through(self) -> None:
        """Hand on what has come, as a rule by raising KeyboardInterrupt."""
        if self._come:
            self._come = False
            self._handler(SIGINT, None)


def whole(function: Callable[P, T]) -> Callable[P, T]:
    """``function``, which no interrupt cuts short: it comes when the call is over."""

    @wraps(function)
    def uncut(*args: P.args, **kwargs: P.kwargs) -> T:
        handler = _handler()
        if handler is None or (isinstance(handler, _Waiting) and not handler.open):
            return function(*args, **kwargs)
        waiting = _Waiting(handler)
        _signal.signal(SIGINT, waiting)
        try:
            return function(*args, **kwargs)
        finally:
            _signal.signal(SIGINT, handler)
            waiting.let_through()

    return uncut


@contextmanager
def interruptible() -> Iterator[None]:
    """A part of a whole that may be interrupted: it waits for something that may never come."""
    waiting = _handler()
    if not isinstance(waiting, _Waiting):
        yield
        return
    waiting.open = True
    try:
        waiting.let_through()
        yield
    finally:
        waiting.open = False


def interrupt_now() -> None:
    """Where a whole can be left without harm: raise what has come meanwhile."""
    waiting = _handler()
    if isinstance(waiting, _Waiting):
        waiting.let_through()


def _handler() -> Handler | None:
    """Python's handler of the signal, where this thread is the one it is raised in."""
    if threading.get_ident() != threading.main_thread().ident:
        return None
    handler: Handler | int | None = _signal.getsignal(SIGINT)
    return handler if callable(handler) else None
