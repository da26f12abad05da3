"""Bugs that are planted on purpose, to see that a simulation catches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
Bugs = dict[str, tuple[Plant, str]]
"""By what is wrong: how to make it so, and which kind of trouble is likely to show it."""


def noting(bugs: Bugs) -> Callable[..., Callable[[Plant], Plant]]:
    """A decorator that notes a bug in ``bugs``; ``show`` is the kind of trouble."""

    def bug(*, show: str = "storm") -> Callable[[Plant], Plant]:
        def note(plant: Plant) -> Plant:
            bugs[plant.__name__] = plant, show
            return plant

        return note

    return bug


def wrap(patch: Patch, owner: Any, name: str, made: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put ``made(original)`` in the place of a method."""
    patch.setattr(owner, name, made(getattr(owner, name)))
