"""The command ``kit``: demo, lab, sandbox, record, replay, doctor, halt, resume."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from kit.broker.broker import DISCLAIMER
from kit.errors import KitError

if TYPE_CHECKING:
    from kit.net.live import Live
    from kit.net.recorder import Recorder
    from kit.net.replay import Replayed

PROGRESS = 5.0
"""Seconds between two lines of progress."""
TOLD = 20
"""So many things that went wrong are told, and the last."""


def demo(arguments: Sequence[str]) -> int:
    """The main job in a terminal, narrated and checked."""
    from kit import demo

    return demo.main(arguments)


def lab(arguments: Sequence[str]) -> int:
    """JupyterLab on the notebooks."""
    from kit.notebook import lab

    return lab.main(list(arguments))


def sandbox(arguments: Sequence[str]) -> int:
    """A local exchange that speaks Binance Spot's protocol."""
    from kit.sandbox import server

    return server.main(list(arguments))


def record(arguments: Sequence[str]) -> int:
    """A venue's live data on tape: every frame and REST answer, byte for byte."""
    from kit.venue import connect

    given = _record_options(arguments)
    venue = connect(given.venue)
    try:
        with venue.record(given.out) as tape:
            _fill(tape, lambda symbol: venue.live(symbol, given.interval), given.symbols, given.seconds)
    finally:
        venue.close()
    if tape.trouble:
        print(f"kit record: {tape.trouble}", file=sys.stderr)
    return max(_tell(given.out), int(tape.trouble is not None))


def replay(arguments: Sequence[str]) -> int:
    """What is on a tape: it is played through the code that keeps live frames."""
    parser = argparse.ArgumentParser(
        prog="kit replay",
        description="Play a tape through the code that keeps live frames, and say what comes of it. The exit code is 1 "
        "when a part of it can't be read.",
    )
    parser.add_argument(
        "file", type=Path, help="a tape of kit record, or a recording in one of the formats of kit.net.tape"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    return _tell(given.file, as_json=given.json)


def doctor(arguments: Sequence[str]) -> int:
    """Whether everything is there and works: packages, disk, accounts, keys, clock, limits, hosts."""
    from kit.doctor import Level, examine

    parser = argparse.ArgumentParser(
        prog="kit doctor",
        description="Examine this machine and a venue, one finding a line: ok, warn or FAIL, and what to do. No order "
        "is sent, no key is shown. The exit code is 1 when anything FAILs.",
    )
    parser.add_argument("--venue", default="sandbox", help="sandbox (default, offline), binance, kraken or coinbase")
    parser.add_argument("--environment", help="testnet, demo or live; without it the venue's market data")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    found = []
    for finding in examine(given.venue, given.environment):
        found.append(finding)
        if not given.json:
            print(finding, flush=True)
    failed = any(finding.level is Level.FAIL for finding in found)
    if given.json:
        print(json.dumps({"ok": not failed, "findings": [vars(finding) for finding in found]}))
    return int(failed)


def halt(arguments: Sequence[str]) -> int:
    """The kill switch: no order leaves an account any more, and what is open is cancelled."""
    from kit.broker import switch

    parser = argparse.ArgumentParser(
        prog="kit halt",
        description="Halt accounts: no order leaves them any more, in any process, until kit resume; what is open is "
        "cancelled, and the venue is asked again whether it is. The exit code is 1 when anything may be open still.",
    )
    parser.add_argument("accounts", nargs="*", metavar="ACCOUNT", help="its name; without one, the only one there is")
    parser.add_argument("--all", action="store_true", help="every account in the data folder")
    parser.add_argument("--reason", default="by hand", help="kept with the halt and told to whoever wants to trade")
    given = parser.parse_args(arguments)
    known = switch.accounts()
    names = known if given.all or (not given.accounts and len(known) == 1) else given.accounts
    if not names:
        there = ", ".join(known) or "none"
        print(f"kit halt: which account? There are: {there}; --all halts every one of them", file=sys.stderr)
        return 2
    return max(_halted(name, given.reason) for name in names)


def resume(arguments: Sequence[str]) -> int:
    """Let orders leave an account again after a halt."""
    from kit.broker import switch

    parser = argparse.ArgumentParser(prog="kit resume", description="Let orders leave accounts again after a halt.")
    parser.add_argument("accounts", nargs="+", metavar="ACCOUNT", help="its name")
    for name in parser.parse_args(arguments).accounts:
        reason = switch.resume(name)
        print(
            f"account {name!r} " + (f"was halted ({reason}); orders may leave it again" if reason else "was not halted")
        )
    return 0


def _halted(name: str, reason: str) -> int:
    """Halt one account and say what came of it; 1 when anything may be open. What goes wrong keeps no other waiting."""
    from kit.broker import switch

    try:
        told = switch.halt(name, reason, patience=switch.PATIENCE)
    except KitError as error:
        print(f"kit halt: account {name!r}: {error}", file=sys.stderr)
        return 1
    print("\n".join(told.lines()))
    return int(not told.proven)


def _record_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kit record",
        description="Write every frame and REST answer of a venue's live data to a tape. kit replay plays it.",
    )
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="what to follow, as BTC/USDT")
    parser.add_argument("--venue", default="sandbox", help="sandbox (default), binance, kraken or coinbase")
    parser.add_argument("--interval", default="1m", help="of the bars (default 1m)")
    parser.add_argument("--seconds", type=_seconds, default=math.inf, help="end after so long; else with Ctrl-C")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the tape; no file is written over")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no length of time; give seconds, as 60")
    return seconds


def _fill(tape: Recorder, opened: Callable[[str], Live], symbols: Sequence[str], seconds: float) -> None:
    """Have frames opened and recorded until the time is up, Ctrl-C, or the tape's own end.

    A tape on which nothing was begun is removed: the name is free for the next try.
    """
    ends = time.monotonic() + seconds
    lives: list[Live] = []
    try:
        lives.extend(map(opened, symbols))
        _watch(tape, lives, ends)
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)
    except KitError:
        if not lives:
            tape.close()
            tape.path.unlink()
        raise


def _watch(tape: Recorder, lives: Sequence[Live], ends: float) -> None:
    began = told = time.monotonic()
    while tape.recording and (now := time.monotonic()) < ends:
        if now >= told:
            states = ", ".join(f"{live.symbol} {live.state}" for live in lives)
            size = tape.path.stat().st_size / 1e6
            print(f"{now - began:5.0f} s  {size:8.2f} MB  {states}", file=sys.stderr)
            told += PROGRESS
        time.sleep(min(0.1, ends - now))


def _tell(path: Path, *, as_json: bool = False) -> int:
    """Say what is on a tape; 1 when a part of it can't be read."""
    from kit.net.replay import replay

    played = replay(path)
    print(json.dumps(played.summary()) if as_json else _in_words(played))
    *words, last = played.told() or [""]
    cut = [f"… and {len(words) - TOLD:,} more"] if len(words) > TOLD else []
    for line in filter(None, (*words[:TOLD], *cut, last)):
        print(f"kit replay: {line}", file=sys.stderr)
    return int(not played.whole)


def _in_words(played: Replayed) -> str:
    counts = {name: count for name, count in vars(played.connections).items() if count}
    passed = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
    return f"{played.path}: {played.venue}; {passed}\n\n{played.table.to_string()}"


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "demo": demo,
    "lab": lab,
    "sandbox": sandbox,
    "record": record,
    "replay": replay,
    "doctor": doctor,
    "halt": halt,
    "resume": resume,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its own ``--help`` tells its options. The exit code is 0 when all went well."""
    listing = "\n".join(f"  {name:10}{(command.__doc__ or '').strip()}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="kit",
        description="papertape: explore markets, prototype strategies and paper-trade from a notebook.",
        epilog=f"commands:\n{listing}\n\n{DISCLAIMER}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"papertape {version('papertape')}")
    parser.add_argument("command", choices=COMMANDS, metavar="command")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="what the command takes; try: kit <command> --help")
    given = parser.parse_args(arguments)
    try:
        return COMMANDS[given.command](given.options)
    except KitError as error:
        print(f"kit {given.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
