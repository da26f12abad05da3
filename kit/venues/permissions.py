"""What a venue says that an API key may do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Permissions:
    """What a key may do besides asking questions."""

    withdraw: bool
    """Take money out of the venue."""
    trade: bool
    transfer: bool = False
    """Move money to other accounts at the same venue."""
    bound: bool = False
    """It works from named addresses only."""
