"""What an examination finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from kit.errors import KitError


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``next`` says what to do; empty where nothing is to be done."""

    name: str
    level: Level
    words: str
    next: str = ""

    def __str__(self) -> str:
        return f"{self.level:4}  {self.name:12}  {self.words}{f' -> {self.next}' if self.next else ''}"


def survived(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a look; what it raises is one more, and the next look goes on."""
    try:
        yield from look()
    except KitError as error:
        yield Finding(name, Level.FAIL, str(error))
    except Exception as error:  # whatever breaks a look is what the doctor was called for
        yield Finding(name, Level.FAIL, f"it could not be looked at ({type(error).__name__}: {error})")
