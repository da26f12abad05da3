"""Where API keys come from: the environment, or the operating system's keyring. Never a file of the kit's own.

For the testnet of Binance: ``PAPERTAPE_BINANCE_TESTNET_KEY`` with ``PAPERTAPE_BINANCE_TESTNET_SECRET`` (an HMAC
secret, or an Ed25519 private key in PEM) or ``…_SECRET_FILE`` (a path to it); else the keyring's service ``papertape``
with the entries ``binance:testnet:key`` and ``binance:testnet:secret``.
"""

from __future__ import annotations

import os
from pathlib import Path

from kit.errors import KeyRefused, MissingKey
from kit.venues.base import Key

SERVICE = "papertape"


def find(venue: str, environment: str) -> Key | None:
    """The key of a venue's environment, None when there is none.

    MissingKey when only half of it is there or its file can't be read; KeyRefused when it can't be a key.
    """
    name = f"PAPERTAPE_{venue}_{environment}".upper()
    ident, secret = os.environ.get(f"{name}_KEY", ""), os.environ.get(f"{name}_SECRET", "")
    path = os.environ.get(f"{name}_SECRET_FILE", "")
    if not secret and path:
        secret = _file(f"{name}_SECRET_FILE", path)
    if not (ident or secret):
        entry = f"{venue}:{environment}".lower()
        ident, secret = _keyring(f"{entry}:key"), _keyring(f"{entry}:secret")
    if not (ident or secret):
        return None
    return _key(ident.strip(), secret.strip(), venue, environment)


def advice(venue: str, environment: str) -> str:
    """How to give the kit a key for a venue's environment, as the end of an error."""
    name, entry = f"PAPERTAPE_{venue}_{environment}".upper(), f"{venue}:{environment}".lower()
    return (
        f"set {name}_KEY and {name}_SECRET (or {name}_SECRET_FILE), or store both in the keyring: "
        f"`keyring set {SERVICE} {entry}:key` and `keyring set {SERVICE} {entry}:secret`"
    )


def _key(ident: str, secret: str, venue: str, environment: str) -> Key:
    if not ident or not secret:
        half = "secret" if ident else "key"
        raise MissingKey(
            f"the {half} for {venue} {environment} is missing, its other half is there; {advice(venue, environment)}"
        )
    if not (ident.isascii() and ident.isprintable()) or any(letter.isspace() for letter in ident):
        raise KeyRefused(
            f"what stands where the key for {venue} {environment} should be is no API key (not shown here): it holds "
            "spaces or letters that no key has, so nothing was sent; copy it again from the venue's page"
        )
    return Key(ident, secret.replace("\\n", "\n"))


def _file(variable: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError):
        pass
    raise MissingKey(f"the file that {variable} names can't be read as text: {path}; nothing was sent")


def _keyring(entry: str) -> str:
    """An entry of the operating system's keyring; '' where there is none, or no keyring (a server, a container)."""
    try:
        import keyring
        from keyring.errors import KeyringError

        try:
            return keyring.get_password(SERVICE, entry) or ""
        except KeyringError:
            return ""
    except (ImportError, RuntimeError):  # a backend that is configured but not there fails while keyring is imported
        return ""
