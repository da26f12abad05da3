"""Same intent, same client order id.

The id is a digest of what makes the intent the intent, so every retry, re-run and restart finds
the same one. It is spelled without vowels: Binance's firewall reads SQL words out of requests
(rest-api.md, "Avoid SQL keywords"), and no such word is spelled with consonants alone.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

ALPHABET = "0123456789bcdfghjklmnpqrstvwxz"
LENGTH = 18
"""90 bits and more in 18 characters: the shortest limit of any venue (Kraken's free-text cl_ord_id)."""


@dataclass(frozen=True)
class Intent:
    """What makes an order this order and no other.

    ``parts`` identify it (a key; a cell and its call; a strategy, a decision time and a leg).
    ``again`` counts the deliberate repeats. ``implicit`` marks an intent nobody named: a cell and
    its call, whose re-run is worth a word to the user.
    """

    parts: tuple[str, ...]
    again: int = 0
    implicit: bool = False

    @classmethod
    def keyed(cls, key: str) -> Intent:
        """An intent the user named."""
        return cls(("key", key))

    @classmethod
    def once(cls) -> Intent:
        """An intent that happens once: a plain script's unkeyed call."""
        return cls(("once", secrets.token_hex(16)))


def client_id(account: str, session: str, intent: Intent) -> str:
    """The client order id of ``intent`` in a session of an account: 18 characters, venue-safe everywhere."""
    digest = hashlib.sha256()
    for part in (account, session, *intent.parts, str(intent.again)):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    number = int.from_bytes(digest.digest(), "big")
    letters = []
    for _ in range(LENGTH):
        number, index = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[index])
    return "".join(letters)
