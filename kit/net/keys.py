"""Where API keys come from: the environment, a ``.env`` file, or the operating system's keyring. None is ever written.

For the testnet of Binance: ``PAPERTAPE_BINANCE_TESTNET_KEY`` with ``PAPERTAPE_BINANCE_TESTNET_SECRET`` (an HMAC
secret, or an Ed25519 private key in PEM) or ``…_SECRET_FILE`` (a path to it), in the environment or in the file
``.env`` of the working directory (``PAPERTAPE_ENV_FILE`` names another); else the keyring's service ``papertape`` with
the entries ``binance:testnet:key`` and ``binance:testnet:secret``.

What is read from ``.env`` goes into no environment, so no child process inherits it. A file with a secret that others
can read, or that git tracks, is refused.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kit.errors import KeyRefused, MissingKey
from kit.venues.base import Key

T = TypeVar("T")

SERVICE = "papertape"
ENV_FILE = "PAPERTAPE_ENV_FILE"


def find(venue: str, environment: str) -> Key | None:
    """The key of a venue's environment, None when there is none.

    MissingKey when only half of it is there or its file can't be read; KeyRefused when it can't be a key, or lies where
    others can read it.
    """
    found = _found(venue, environment)
    return None if found is None else _key(found, venue, environment)


def whence(venue: str, environment: str) -> str:
    """Where ``find`` would take the key from, in words; empty when there is none. Raises as ``find`` does."""
    found = _found(venue, environment)
    return found.where if found else ""


def setting(name: str) -> str:
    """A variable of the environment, else of ``.env``; empty when neither has it."""
    return os.environ.get(name) or _dotenv(env_file()).get(name, "")


def advice(venue: str, environment: str) -> str:
    """How to give the kit a key for a venue's environment, as the end of an error."""
    name, entry = f"PAPERTAPE_{venue}_{environment}".upper(), f"{venue}:{environment}".lower()
    return (
        f"set {name}_KEY and {name}_SECRET (or {name}_SECRET_FILE) in the environment or in .env, or store both in the "
        f"keyring: `keyring set {SERVICE} {entry}:key` and `keyring set {SERVICE} {entry}:secret`"
    )


def env_file() -> Path:
    """The ``.env`` that is read: the one ``PAPERTAPE_ENV_FILE`` names, else that of the working directory."""
    return Path(os.environ.get(ENV_FILE) or ".env").expanduser()


def exposure(path: Path) -> str:
    """Why a file is no place for a secret, in words; empty when it is one.

    On POSIX nobody but its owner may read it (on Windows a user's files are the user's); git must not track it.
    """
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"others on this machine can read {path}: `chmod 600 {path}`"
    if _git(path, "ls-files", "--error-unmatch", "--", path.name):
        return (
            f"git tracks {path}, so whoever gets the repository gets the key: `git rm --cached {path}`, put .env into "
            ".gitignore, and make a new key"
        )
    return ""


def committable(path: Path) -> bool:
    """True when the next ``git add .`` would take a file in: it lies in a repository that does not ignore it."""
    return _git(path, "rev-parse", "--is-inside-work-tree") and not _git(path, "check-ignore", "-q", "--", path.name)


class _Variables:
    """Variables by name. Tracebacks show what locals hold, so this shows nothing."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values.get(name, "").strip()


@dataclass(frozen=True)
class _Found:
    """Both halves of a key as they stand somewhere, one of them perhaps empty; never shown."""

    where: str
    ident: str = field(repr=False)
    secret: str = field(repr=False)


def _found(venue: str, environment: str) -> _Found | None:
    """What the first place holds that holds anything."""
    return next((found for found in _places(venue, environment) if found.ident or found.secret), None)


def _places(venue: str, environment: str) -> Iterator[_Found]:
    name, entry = f"PAPERTAPE_{venue}_{environment}".upper(), f"{venue}:{environment}".lower()
    yield _listed(_environment(), name, "the environment")
    path = env_file()
    in_file = _listed(_Variables(_dotenv(path)), name, str(path))
    if (in_file.ident or in_file.secret) and (why := exposure(path)):
        raise KeyRefused(f"the key for {venue} {environment} is not taken from there, nothing was sent: {why}")
    yield in_file
    yield _Found("the keyring", _keyring(f"{entry}:key"), _keyring(f"{entry}:secret"))


def _environment() -> _Variables:
    """On its own: IPython's verbose tracebacks show what stands in the statement that raised, ``os.environ`` too."""
    return _Variables(os.environ)


def _listed(variables: _Variables, name: str, where: str) -> _Found:
    secret = f"{name}_SECRET"
    if not variables[secret] and variables[f"{secret}_FILE"]:
        return _Found(where, variables[f"{name}_KEY"], _file(f"{secret}_FILE", variables[f"{secret}_FILE"]).strip())
    return _Found(where, variables[f"{name}_KEY"], variables[secret])


def _key(found: _Found, venue: str, environment: str) -> Key:
    if not found.ident or not found.secret:
        half = "secret" if found.ident else "key"
        raise MissingKey(
            f"the {half} for {venue} {environment} is missing, its other half is there; {advice(venue, environment)}"
        )
    if not (found.ident.isascii() and found.ident.isprintable()) or any(letter.isspace() for letter in found.ident):
        raise KeyRefused(
            f"what stands where the key for {venue} {environment} should be is no API key (not shown here): it holds "
            "spaces or letters that no key has, so nothing was sent; copy it again from the venue's page"
        )
    return Key(found.ident, found.secret.replace("\\n", "\n"))


def _dotenv(path: Path) -> Mapping[str, str]:
    """The variables of a ``.env``; none where there is no such file, unless it was named."""
    if not path.is_file() and not os.environ.get(ENV_FILE):
        return {}
    from dotenv import dotenv_values  # only who has such a file pays for reading it

    def read() -> dict[str, str]:
        with path.open(encoding="utf-8") as stream:
            return {name: value or "" for name, value in dotenv_values(stream=stream, interpolate=False).items()}

    return _readable(read, f"the file of variables {path} can't be read as text; nothing was sent")


def _file(variable: str, path: str) -> str:
    return _readable(
        lambda: Path(path).expanduser().read_text(encoding="utf-8"),
        f"the file that {variable} names can't be read as text: {path}; nothing was sent",
    )


def _readable(read: Callable[[], T], otherwise: str) -> T:
    try:
        return read()
    except (OSError, UnicodeDecodeError, RuntimeError):
        pass
    raise MissingKey(otherwise)  # out here no library exception, which may quote the file, hangs on it


def _git(path: Path, *command: str) -> bool:
    """True when git says yes about a file; False where there is no git."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and a path, and no shell
            ["git", "-C", str(path.resolve().parent), *command],  # noqa: S607 - the git that the user's PATH has
            capture_output=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _keyring(entry: str) -> str:
    """An entry of the operating system's keyring; '' where there is none, or no keyring (a server, a container)."""
    try:
        import keyring
        from keyring.errors import KeyringError

        try:
            return (keyring.get_password(SERVICE, entry) or "").strip()
        except KeyringError:
            return ""
    except (ImportError, RuntimeError):  # a backend that is configured but not there fails while keyring is imported
        return ""
