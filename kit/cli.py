"""The command ``kit``: demo, lab, sandbox."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from kit.broker.broker import DISCLAIMER
from kit.errors import KitError


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


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"demo": demo, "lab": lab, "sandbox": sandbox}


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
