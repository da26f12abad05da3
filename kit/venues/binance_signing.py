"""Binance's request signatures: percent-encode first, then sign (rest-api.md, "Request Security")."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote, urlencode

from kit.errors import KeyRefused
from kit.venues.base import Auth, Call, Key, Params

T = TypeVar("T")


def encode(params: Iterable[tuple[str, str]]) -> str:
    """The query string or form body of ``params``, percent-encoded in UTF-8. What is signed is what must be sent."""
    return urlencode(list(params), quote_via=quote, safe="")


def signature(key: Key, payload: str) -> str:
    """The signature of ``payload``: HMAC-SHA256 in hex, or Ed25519 in base64 where the secret is a private key in PEM.

    It is not yet percent-encoded: ``encode`` does that when it is sent. Raises KeyRefused when the secret is no key.
    """
    if key.secret.lstrip().startswith("-----BEGIN"):
        return _ed25519(key, payload)
    return hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def _ed25519(key: Key, payload: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.secret.strip().encode(), password=None)
    except Exception:  # the library has many; none of them may carry the secret into a traceback
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyRefused(
            "the secret looks like PEM but is no unencrypted Ed25519 private key, so nothing was sent; "
            "give the file that was made when the key was created, or an HMAC secret"
        )
    return base64.b64encode(private.sign(payload.encode())).decode()


def sign(call: Call[T], key: Key, now: int, window: int) -> Call[T]:
    """``call`` with recvWindow (``window``), timestamp (``now``, by the venue's clock) and, last, its signature.

    Both are given in µs.
    """
    if call.auth is not Auth.SIGNED:
        return call
    params: Params = (*call.params, ("recvWindow", str(window // 1_000)), ("timestamp", str(now // 1_000)))
    return replace(call, params=(*params, ("signature", signature(key, encode(params)))))


def sign_sorted(params: dict[str, str | int], key: Key) -> dict[str, str | int]:
    """WebSocket API parameters with their signature: there the payload is sorted by name (web-socket-api.md)."""
    payload = encode((name, str(value)) for name, value in sorted(params.items()))
    return {**params, "signature": signature(key, payload)}
