"""What a journal's entries add up to at some point, so that opening an account reads only what came after.

A checkpoint is a shortcut and never the truth: it can always be made again from the entries. One that does not fit them
exactly (another version's, a damaged one, another file's) is passed over.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

import msgspec

from kit.orders.account import AccountState
from kit.store.journal import Journal

FOLD = 1
"""The version of what folding means. It is raised with every change of what entries add up to."""
EVERY = 1_000
"""Entries after which another checkpoint is worth its writing: so many are folded in a hundredth of a second."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account as the entries up to ``seq`` leave it. Orders that are over are not in it: entries tell of them."""

    fold: int = FOLD
    seq: int
    entry: str
    """The digest of that entry: a checkpoint of another file does not fit."""
    account: AccountState
    orders: int
    """How many orders there were."""
    working: tuple[str, ...]
    """Client ids of the orders that may still fill, oldest first."""
    prices: dict[str, tuple[int, Decimal]]
    """The last fill of each instrument: time and price."""
    replaced: dict[str, str]
    """What was amended, and by what."""
    meant: tuple[int, ...]
    """When the orders of the last minute were meant."""
    unkeyed: int
    highest: int
    """The highest whole number that a venue has used for an id."""


_read = msgspec.json.Decoder(Checkpoint).decode
_write = msgspec.json.Encoder(order="sorted").encode


def latest(journal: Journal) -> Checkpoint | None:
    """The journal's checkpoint, None when there is none that fits its entries to the letter."""
    row = journal.checkpoint()
    if row is None:
        return None
    body, digest = row
    try:
        found = _read(body) if _digest(body) == digest else None
    except msgspec.DecodeError:
        return None
    if found is None or found.fold != FOLD or found.entry != fingerprint(journal, found.seq):
        return None
    return found


def keep(journal: Journal, checkpoint: Checkpoint) -> None:
    """Write a checkpoint down in place of the one before."""
    body = _write(checkpoint).decode()
    journal.keep_checkpoint(checkpoint.seq, body, _digest(body))


def fingerprint(journal: Journal, seq: int) -> str:
    """The digest of entry ``seq``; empty when there is no such entry."""
    row = journal.row(seq)
    return "" if row is None else _digest(f"{seq} {row}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
