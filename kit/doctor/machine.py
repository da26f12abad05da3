"""This machine: Python, packages, disk, accounts, keys."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from kit.broker import halting, switch
from kit.broker.accounts import path_of
from kit.doctor.finding import Finding, Level, survived
from kit.errors import AccountBusy, KitError
from kit.model import OrderStatus
from kit.net import keys
from kit.runtime import home
from kit.store.journal import Journal
from kit.store.owner import own
from kit.venue import CODECS
from kit.venues.base import Codec

DISTRIBUTION = "papertape"
ROOMY, TIGHT = 1 << 30, 100 << 20
"""Free bytes below which the disk is told to be getting full, and to be full."""
FRONT_ENDS = {"@jupyter-widgets/jupyterlab-manager": "jupyterlab-widgets", "anywidget": "anywidget"}
"""What JupyterLab loads to show live views -> the package that brings it."""


def python_fits() -> Iterator[Finding]:
    """The running Python against what the distribution asks for."""
    needs = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    has = ".".join(str(part) for part in sys.version_info[:3])
    fits = SpecifierSet(needs).contains(has, prereleases=True)
    level = Level.OK if fits else Level.FAIL
    yield Finding("python", level, f"{has} (needs {needs})", "" if fits else "make an environment with another Python")


def packages_fit() -> Iterator[Finding]:
    """Every package that is needed, in a version that will do."""
    wrong, count = [], 0
    for line in metadata.requires(DISTRIBUTION) or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        count += 1
        if (has := _installed(needed.name)) is None or not needed.specifier.contains(has, prereleases=True):
            wrong.append(f"{needed.name} {has or 'is missing'} (needs {needed.specifier})")
    if wrong:
        advice = f"`pip install --upgrade {DISTRIBUTION}` in this environment"
        yield Finding("packages", Level.FAIL, "; ".join(wrong), advice)
    else:
        yield Finding("packages", Level.OK, f"{DISTRIBUTION} {_installed(DISTRIBUTION)}, and the {count} it needs")


def jupyter_is_there() -> Iterator[Finding]:
    """JupyterLab, and what it loads to show live views."""
    lab = _installed("jupyterlab")
    if lab is None:
        advice = f"`pip install '{DISTRIBUTION}[lab]'` if notebooks are wanted"
        yield Finding("jupyter", Level.WARN, "JupyterLab is not in this environment", advice)
        return
    folders = [Path(root) / "share/jupyter/labextensions" for root in (sys.prefix, sys.base_prefix)]
    lacking = [package for name, package in FRONT_ENDS.items() if not any((f / name).is_dir() for f in folders)]
    if lacking:
        advice = f"`pip install --force-reinstall {' '.join(lacking)}` in the environment that runs JupyterLab"
        yield Finding(
            "jupyter", Level.WARN, f"JupyterLab {lab} here lacks the front end of {', '.join(lacking)}", advice
        )
    else:
        yield Finding(
            "jupyter", Level.OK, f"JupyterLab {lab}, with the front ends of {' and '.join(FRONT_ENDS.values())}"
        )


def disk_keeps() -> Iterator[Finding]:
    """The data folder: writable, roomy, and a place where SQLite's write-ahead log works."""
    place = home()
    free = shutil.disk_usage(place).free
    level = Level.FAIL if free < TIGHT else Level.WARN if free < ROOMY else Level.OK
    advice = "" if level is Level.OK else "make room: with a full disk no order can leave"
    yield Finding("disk", level, f"{place} is writable, {free / 1e9:.1f} GB free", advice)
    with tempfile.TemporaryDirectory(dir=place) as folder, closing(sqlite3.connect(Path(folder) / "try.sqlite")) as db:
        (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
        db.execute("CREATE TABLE t (a)")
    if mode == "wal":
        yield Finding("sqlite", Level.OK, f"{sqlite3.sqlite_version}, write-ahead log works in {place}")
    else:
        advice = "journals need a local disk, not a network's: name one in PAPERTAPE_HOME"
        yield Finding("sqlite", Level.FAIL, f"{sqlite3.sqlite_version}, no write-ahead log in {place} ({mode})", advice)


def accounts_stand() -> Iterator[Finding]:
    """Every account: who runs it, whether it is halted, and whether an order is unanswered."""
    names = switch.accounts()
    if not names:
        yield Finding("accounts", Level.OK, "none yet: kit.paper(venue) opens one")
    for name in names:
        yield from survived(f"account {name}", lambda: _account(name))  # noqa: B023 - used up before the next


def keys_are_safe() -> Iterator[Finding]:
    """Where keys were found, never what they are; and whether a ``.env`` could be given away."""
    found = False
    for venue, codec in CODECS.items():
        if not isinstance(codec, Codec):
            continue
        for environment in codec.environments:
            try:
                where = keys.whence(venue, environment)
                keys.find(venue, environment)
            except KitError as error:
                where, found = "", True
                yield Finding("keys", Level.FAIL, f"{venue} {environment}: {error}")
            if where:
                found = True
                yield Finding("keys", Level.OK, f"{venue} {environment}: found in {where} (not shown)")
    if not found:
        yield Finding("keys", Level.OK, "none found; only a live account needs one")
    path = keys.env_file()
    if path.is_file() and keys.committable(path):
        advice = "put .env into .gitignore"
        yield Finding("keys", Level.WARN, f"{path} lies in a git repository that does not ignore it", advice)


LOOKS: Mapping[str, Callable[[], Iterator[Finding]]] = {
    "python": python_fits,
    "packages": packages_fit,
    "jupyter": jupyter_is_there,
    "disk": disk_keeps,
    "accounts": accounts_stand,
    "keys": keys_are_safe,
}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _account(name: str) -> Iterator[Finding]:
    with closing(Journal(path_of(name), readonly=True)) as journal:
        terms, halted = journal.terms, journal.halted
        counts = Counter(record.status for record in journal.orders())
        told = halting.answer(journal) if halted else None
    kind = f"{terms.kind} at {terms.venue} {terms.environment}" if terms else "not begun"
    open_count = sum(count for status, count in counts.items() if not status.final)
    owner = _owner(name)
    words = f"{kind}, {owner or 'nobody runs it'}, {open_count} open of {counts.total()} orders"
    doubtful = counts[OrderStatus.UNKNOWN] + (0 if owner else counts[OrderStatus.INTENDED])
    if doubtful:
        advice = "open the account: what became of them is asked first, and nothing leaves before"
        yield Finding(f"account {name}", Level.WARN, f"{words}, {doubtful} not answered for", advice)
    elif halted and open_count:
        why = "; ".join(told.open.values()) if told else "nobody has come to cancel them"
        advice = f"`kit halt {name}` tries again"
        yield Finding(f"account {name}", Level.FAIL, f"{words}, HALTED ({halted}) with orders open: {why}", advice)
    elif halted:
        yield Finding(f"account {name}", Level.WARN, f"{words}, HALTED ({halted})", f"`kit resume {name}` ends it")
    else:
        yield Finding(f"account {name}", Level.OK, words)


def _owner(name: str) -> str:
    """Who runs an account, in words; empty when nobody does."""
    try:
        own(path_of(name)).release()
    except AccountBusy as busy:
        return str(busy).partition(":")[0].partition(" is ")[2]
    return ""
