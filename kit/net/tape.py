"""Tapes: what passed between us and a venue, in its order, each with the moment it left or came in.

Three formats are read, gzipped or plain, told apart by their first line:

- JSON lines: one object each, ``{"t": "header" | "open" | "send" | "recv" | "close" | "http", "ns": …, …}``: the kit's
  own (:mod:`kit.net.recorder` writes it), with binary frames as ``b64`` in place of ``text``. cryptofeed's spelling of
  the same is read too: ``connect`` with ``addr``, ``ts`` in seconds, ``data``, connections by name;
- stamped lines: local receive time in ns, a space, the raw JSON (hftbacktest's collector);
- counted frames (``.cbcap``): a line ``CBCAP1 <venue> <symbol> <ns>``, then ``<ns> <byte count>``, a newline, so many
  bytes and a newline for each frame.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec

from kit.errors import DataError, UsageError

VERSION = 1
"""Of the kit's own format."""
_GZIP = b"\x1f\x8b"
_STAMPED = re.compile(rb"\s*(\d{16,19}) (\S.*)")
_COUNTED = re.compile(rb"CBCAP1 (\S+) .*?(\d{16,19})\s*")
_COUNT = re.compile(rb"(\d{16,19}) (\d{1,9})\s*")
_FORMATS = (
    'a tape is lines of \'<receive time in ns> <JSON>\' or of JSON objects with "t" and "ns", or frames counted '
    "after a line 'CBCAP1 …', gzipped or plain"
)


class Header(msgspec.Struct, frozen=True):
    """Whose tape it is, in lower case, and when it was begun (ns since the epoch, UTC; 0: not told)."""

    venue: str
    created_ns: int = 0


class Opened(msgspec.Struct, frozen=True):
    """A connection was opened. Connections are numbered; a format that names them has them numbered as they come."""

    conn: int
    ns: int
    url: str = ""


class Sent(msgspec.Struct, frozen=True):
    """We sent a frame."""

    conn: int
    ns: int
    data: bytes


class Received(msgspec.Struct, frozen=True):
    """The venue sent a frame. Where a format doesn't tell what was a REST answer, that comes as one too."""

    conn: int
    ns: int
    data: bytes


class Closed(msgspec.Struct, frozen=True):
    """A connection has ended."""

    conn: int
    ns: int
    reason: str = ""


class Answered(msgspec.Struct, frozen=True):
    """A REST answer. Where a format doesn't tell, it was a GET and went well."""

    ns: int
    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    data: bytes


Record = Header | Opened | Sent | Received | Closed | Answered


class TapeLine(NamedTuple):
    """One thing a venue said. ``url`` is what was asked, empty for stream frames and where the tape doesn't tell."""

    ns: int
    text: str
    url: str = ""


class _Line(msgspec.Struct):
    kind: str = msgspec.field(name="t")
    conn: int | str = ""
    ns: int | None = None
    ts: float | None = None
    url: str = ""
    addr: str = ""
    text: str | None = None
    data: str | None = None
    b64: bytes | None = None
    reason: str = ""
    method: str = "GET"
    status: int = 200
    headers: dict[str, str] = {}
    venue: str = ""
    exchange: str = ""
    version: int = VERSION
    created_ns: int = 0
    recorded: float = 0.0

    @property
    def time(self) -> int:
        """When it was, ns."""
        if self.ns is not None:
            return self.ns
        if self.ts is None:
            raise ValueError(f"a {self.kind!r} without time")
        return round(self.ts * 1e9)

    @property
    def said(self) -> bytes:
        """What was said, as it went over the wire."""
        if self.b64 is not None:
            return self.b64
        text = self.data if self.text is None else self.text
        if text is None:
            raise ValueError(f"a {self.kind!r} without text")
        return text.encode()


class _Style(NamedTuple):
    """A format: what its first line looks like, what it counts, and how it is read.

    ``read`` gives one thing for each that is counted: None where there is nothing to tell.
    """

    opening: re.Pattern[bytes]
    unit: str
    read: Callable[[IO[bytes]], Iterator[Record | None]]


def records(path: str | Path) -> Iterator[Record]:
    """Everything a tape holds, in its order.

    Raises UsageError at once where there is no file or it is no tape; DataError on the way where the file is cut off or
    a line can't be read: everything before it has been given.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            first = next((line for line in file if line.strip()), b"")
    except OSError as error:  # gzip's own complaint about a damaged header is one too
        raise UsageError(f"{path} can't be read as a tape: {error.strerror or error}; nothing was played") from None
    except (EOFError, zlib.error):
        first = b""
    style = next(style for style in _STYLES if style.opening.match(first))
    try:
        begun = next(style.read(io.BytesIO(first)), None)
    except _Newer as newer:
        raise UsageError(f"{path} is a tape of {newer}; a newer papertape plays it; nothing was played") from None
    except (ValueError, msgspec.MsgspecError):
        begun = None
    if begun is None:
        raise UsageError(f"{path} is not a tape; {_FORMATS}; nothing was played")
    return _records(path, style)


def read(path: str | Path) -> Iterator[TapeLine]:
    """What the venue said, as text (a byte that is none becomes U+FFFD), in its order; errors as of ``records``."""
    return (
        TapeLine(record.ns, record.data.decode(errors="replace"), record.url if isinstance(record, Answered) else "")
        for record in records(path)
        if isinstance(record, Received | Answered)
    )


def _records(path: Path, style: _Style) -> Iterator[Record]:
    done, unit = 0, style.unit
    try:
        with _open(path) as file:
            for record in style.read(file):
                if record is not None:
                    yield record
                done += 1
    except (ValueError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: {unit} {done + 1} can't be read ({error}); what came before is whole") from None
    except (EOFError, OSError, zlib.error):
        raise DataError(f"{path} is damaged or cut off after {unit} {done}; what came before is whole") from None


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


# -- the formats


class _Newer(ValueError):
    """A version of the kit's own format that is not known here."""


def _stamped(file: IO[bytes]) -> Iterator[Record | None]:
    for line in file:
        found = _STAMPED.match(line)
        if found is not None:
            found[2].decode()
            yield Received(1, int(found[1]), found[2])
        elif line.strip():
            raise ValueError("no time before the text")
        else:
            yield None


def _counted(file: IO[bytes]) -> Iterator[Record | None]:
    opening = _COUNTED.fullmatch(file.readline())
    if opening is None:
        raise ValueError("no time in the header")
    yield Header(opening[1].decode().lower(), int(opening[2]))
    while line := file.readline():
        count = _COUNT.fullmatch(line)
        if count is None:
            raise ValueError("no time and byte count before the frame")
        size = int(count[2])
        frame = file.read(size + 1)
        if len(frame) < size:
            raise EOFError
        if frame[size:] not in (b"\n", b""):
            raise ValueError("the frame goes on after its byte count")
        yield Received(1, int(count[1]), frame[:size])


_decode = msgspec.json.Decoder(_Line).decode


def _json(file: IO[bytes]) -> Iterator[Record | None]:
    names: dict[str, int] = {}
    for line in file:
        yield _told(_decode(line), names) if line.strip() else None


def _told(line: _Line, names: dict[str, int]) -> Record | None:
    """A JSON line as what it records; None for a kind that nobody knows."""
    if line.kind == "header":
        if line.version > VERSION:
            raise _Newer(f"version {line.version}")
        return Header((line.venue or line.exchange).lower(), line.created_ns or round(line.recorded * 1e9))
    if line.kind == "http":
        return Answered(line.time, line.method, line.url, line.status, line.headers, line.said)
    if line.kind not in ("open", "connect", "send", "recv", "close"):
        return None
    conn = line.conn if isinstance(line.conn, int) else names.setdefault(line.conn, len(names) + 1)
    match line.kind:
        case "send":
            return Sent(conn, line.time, line.said)
        case "recv":
            return Received(conn, line.time, line.said)
        case "close":
            return Closed(conn, line.time, line.reason)
    return Opened(conn, line.time, line.url or line.addr)


_STYLES = (
    _Style(_STAMPED, "line", _stamped),
    _Style(re.compile(rb"CBCAP1 "), "frame", _counted),
    _Style(re.compile(rb""), "line", _json),
)
