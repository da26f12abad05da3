"""Tapes: what a venue sent, line by line, with the moment each line came in.

Two formats are read, gzipped or plain, told apart by their first line:

- stamped lines: local receive time in ns, a space, the raw JSON (hftbacktest's collector);
- JSON lines: one object each, ``{"t": "header" | "open" | "send" | "recv" | "close" | "http", "ns": …, …}``, of which
  ``recv`` (``text``) and ``http`` (``url`` and ``text``) carry what the venue said. cryptofeed's spelling of the same,
  ``ts`` in seconds and ``data``, is read too.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec

from kit.errors import DataError, UsageError

_GZIP = b"\x1f\x8b"
_STAMPED = re.compile(rb"\s*(\d{16,19}) (\S.*)")
_FORMATS = 'a tape is lines of \'<receive time in ns> <JSON>\' or of JSON objects with "t" and "ns", gzipped or plain'


class TapeLine(NamedTuple):
    """One thing a venue said. ``url`` is what was asked, empty for stream frames and where the tape doesn't tell."""

    ns: int
    text: str
    url: str = ""


class _Line(msgspec.Struct):
    kind: str = msgspec.field(name="t")
    ns: int | None = None
    ts: float | None = None
    url: str = ""
    text: str | None = None
    data: str | None = None


_decode = msgspec.json.Decoder(_Line).decode
Parse = Callable[[bytes], TapeLine | None]


def read(path: str | Path) -> Iterator[TapeLine]:
    """What a tape holds, in its order.

    Raises UsageError at once where there is no file or it is no tape; DataError on the way where the file is cut off or
    a line can't be read: every line before it has been given.
    """
    path = Path(path)
    try:
        with _open(path) as lines:
            first = next((line for line in lines if line.strip()), b"")
    except OSError as error:  # gzip's own complaint about a damaged header is one too
        raise UsageError(f"{path} can't be read as a tape: {error.strerror or error}; nothing was played") from None
    except (EOFError, zlib.error):
        first = b""
    parse = _stamped if _STAMPED.match(first) else _json
    try:
        parse(first)
    except (ValueError, msgspec.MsgspecError):
        raise UsageError(f"{path} is not a tape; {_FORMATS}; nothing was played") from None
    return _lines(path, parse)


def _lines(path: Path, parse: Parse) -> Iterator[TapeLine]:
    read_lines = 0
    try:
        with _open(path) as lines:
            for line in lines:
                said = parse(line) if line.strip() else None
                if said is not None:
                    yield said
                read_lines += 1
    except (ValueError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: line {read_lines + 1} can't be read ({error}); what came before is whole") from None
    except (EOFError, OSError, zlib.error):
        raise DataError(f"{path} is damaged or cut off after line {read_lines}; what came before is whole") from None


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


def _stamped(line: bytes) -> TapeLine:
    found = _STAMPED.match(line)
    if found is None:
        raise ValueError("no time before the text")
    return TapeLine(int(found[1]), found[2].decode())


def _json(line: bytes) -> TapeLine | None:
    """What the line says, or None where nobody speaks."""
    said = _decode(line)
    if said.kind not in ("recv", "http"):
        return None
    text = said.data if said.text is None else said.text
    ns = round(said.ts * 1e9) if said.ns is None and said.ts is not None else said.ns
    if text is None or ns is None:
        raise ValueError(f"a {said.kind!r} without text or time")
    return TapeLine(ns, text, said.url)
