"""``kit doctor``: is everything there, does it work, and what is to be done where it does not? One finding a line.

Nothing is changed, no order is sent, and no key is shown. Without a venue's name the embedded sandbox is examined, so
the doctor works offline. For a process of its own, as the command's: the venue's connections are closed at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from kit.doctor import machine, venue
from kit.doctor.finding import Finding, Level, survived

__all__ = ["Finding", "Level", "examine"]


def examine(name: str = "sandbox", environment: str | None = None) -> Iterator[Finding]:
    """Every finding as it comes: this machine first, then the venue."""
    for title, look in machine.LOOKS.items():
        yield from survived(title, look)
    yield from survived("venue", lambda: venue.at_venue(name, environment))
