"""A progress bar for what takes long and is watched; nothing at all for what is quick, or goes to a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, TypeVar

from kit.clock import SECOND, Clock

P = TypeVar("P")

PATIENCE = SECOND
"""µs before a bar is worth looking at."""


def shown(
    pages: Iterator[P], rows: Callable[[P], int], what: str, total: int | None, clock: Clock, *, wanted: bool
) -> Iterator[P]:
    """The pages as they come, with a bar once a second has passed and more is to come.

    ``total`` is how many rows all pages have, None where nobody knows.
    """
    began, done, bar = clock.now(), 0, None
    try:
        for page in pages:
            yield page
            done += rows(page)
            if bar is not None:
                bar.update(rows(page))
            elif wanted and clock.now() - began > PATIENCE and done != total:
                bar = _bar(what, total, done)
    finally:
        if bar is not None:
            bar.close()


def _bar(what: str, total: int | None, done: int) -> Any:
    tqdm = import_module("tqdm.auto").tqdm  # it loads ipywidgets in a notebook
    in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
    shown = in_notebook or (sys.stderr is not None and sys.stderr.isatty())
    unwatched = type("Bar", (tqdm,), {"monitor_interval": 0})  # tqdm's watching thread would have no owner
    return unwatched(desc=what, total=total, initial=done, unit=" rows", leave=False, disable=not shown)
