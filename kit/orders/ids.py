"""Same intent, same client order id.

The id is a digest of what makes the intent the intent, so every retry, re-run and restart finds the same one, on any
machine and in any Python.

One spelling suits every venue, so an id needs no translation, and no state, between the desk and a codec:

- Kraken's ``cl_ord_id`` is a UUID or free text of at most 18 ASCII characters (guides/general/clordid): hence the
  length.
- Binance's ``newClientOrderId`` matches ``^[a-zA-Z0-9-_]{1,36}$`` (fix-api.md), and its firewall reads SQL words out
  of requests (rest-api.md, "Avoid SQL keywords"): hence no vowels, without which no such word is spelled.
- Coinbase's ``client_order_id`` is any text (coinbase-advanced-py issue #49), Alpaca's any of at most 128 characters.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache

import msgspec

from kit.errors import UsageError

ALPHABET = "0123456789bcdfghjklmnpqrstvwxz"
LENGTH = 18
IDS = len(ALPHABET) ** LENGTH
"""88 bits: among a thousand million ids two are the same once in 800 million times."""
_PAIRS = [low + high for high in ALPHABET for low in ALPHABET]
"""Two letters at a time, the lower first."""


class Intent(msgspec.Struct, frozen=True):
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
        """An intent the user named; UsageError for a name that can't be written down."""
        try:
            key.encode()
        except UnicodeEncodeError:
            raise UsageError(f"key={key!r} holds half a character, so it can't be kept; nothing was sent") from None
        return cls(("key", key))

    @classmethod
    def once(cls) -> Intent:
        """An intent that happens once: a plain script's unkeyed call."""
        return cls(("once", secrets.token_hex(16)))


@lru_cache(maxsize=1024)  # one order asks for its id several times on its way
def client_id(account: str, session: str, intent: Intent) -> str:
    """The client order id of ``intent`` in a session of an account: the same text at every venue."""
    digest = hashlib.sha256()
    for part in (account, session, *intent.parts, str(intent.again)):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    number = int.from_bytes(digest.digest(), "big") % IDS
    pairs = []
    for _ in range(LENGTH // 2):
        number, index = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[index])
    return "".join(pairs)
