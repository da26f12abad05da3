"""Who is asking: API keys, signatures and timestamps, checked as Binance checks them. Pure.

Sources: rest-api.md "Request Security" (payload = query string and body without a separator,
percent-encoded before it is signed), web-socket-api.md "Request security" (parameters sorted).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

from kit.clock import SECOND
from kit.sandbox.params import Args
from kit.sandbox.refusals import Refusal

KEY_FORMAT = re.compile(r"[A-Za-z0-9]{64}")
_SIGNATURE = re.compile(r"(?:^|&)signature=([^&]*)")


class KeyKind(StrEnum):
    """How a key signs."""

    HMAC = "hmac"
    ED25519 = "ed25519"


@dataclass(frozen=True, repr=False)
class Credential:
    """A registered API key. ``material`` is the HMAC secret, or the Ed25519 public key in PEM."""

    key: str
    account: str
    kind: KeyKind
    material: str = field(compare=False)

    def __repr__(self) -> str:
        return f"Credential({self.account!r}, {self.kind.value})"


def payload(query: str, body: str) -> tuple[str, str]:
    """The text a request's signature covers and the signature itself, still percent-encoded.

    Whoever sends the signature may put it anywhere, in the query string or the body.
    """
    found = _SIGNATURE.search(query) or _SIGNATURE.search(body)
    if found is None:
        raise Refusal("MANDATORY", "signature")
    return _SIGNATURE.sub("", query) + _SIGNATURE.sub("", body), found.group(1)


def sorted_payload(params: Mapping[str, object]) -> str:
    """The text a WebSocket API signature covers: every other parameter, in alphabetical order."""
    return "&".join(f"{name}={spelled(params[name])}" for name in sorted(params) if name != "signature")


def spelled(value: object) -> str:
    """A JSON value as request text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)


def identify(keys: Mapping[str, Credential], key: str | None) -> Credential:
    """The credential of an ``X-MBX-APIKEY`` header."""
    if key is None or not KEY_FORMAT.fullmatch(key):
        raise Refusal("BAD_API_KEY_FORMAT")
    if key not in keys:
        raise Refusal("REJECTED_KEY")
    return keys[key]


def verify(credential: Credential, signed: str, signature: str) -> None:
    """Refuse a signature that was not made over ``signed`` by the credential's owner."""
    good = _hmac_matches if credential.kind is KeyKind.HMAC else _ed25519_matches
    if not good(credential.material, signed, unquote(signature)):
        raise Refusal("INVALID_SIGNATURE")


def _hmac_matches(secret: str, signed: str, signature: str) -> bool:
    """Hexadecimal in either case."""
    expected = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.lower().encode())


def _ed25519_matches(public_key: str, signed: str, signature: str) -> bool:
    """Base64, case-sensitive."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(public_key.encode())
    if not isinstance(public, Ed25519PublicKey):
        return False
    try:
        public.verify(base64.b64decode(signature, validate=True), signed.encode())
    except (InvalidSignature, binascii.Error):
        return False
    return True


def check_time(args: Args, now: int) -> None:
    """Refuse a timestamp more than 1 s ahead of the venue's clock or older than recvWindow (all µs)."""
    timestamp: int = args["timestamp"]
    if timestamp >= now + SECOND:
        raise Refusal("TIMESTAMP_AHEAD")
    if now - timestamp > args["recvWindow"]:
        raise Refusal("INVALID_TIMESTAMP")
