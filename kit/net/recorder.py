"""Writing a tape: every frame and REST answer as it came, byte for byte, in the format that :mod:`kit.net.tape` reads.

The feed only puts things on a list; a thread of the recorder's own encodes, packs and writes them. Each write is a
whole gzip member: whatever happens to the process, all but its last moment is on the disk and any gzip reads it.

No secrets: only what anybody may ask a venue for is recorded. A request that carries a key, a signature or a token is
left out, a connection that carries one ends the recording, and of an answer's headers a few harmless ones are kept.
"""

from __future__ import annotations

import io
import re
import threading
import zlib
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from kit.clock import Clock
from kit.errors import StoreError, UsageError
from kit.net.tape import VERSION

EVERY = 0.5
"""Seconds between two writes: what a killed process loses."""
PATIENCE = 10.0
"""Seconds that ``close`` waits for the disk."""
MOST_WAITING = 200_000
"""Frames that may wait for the disk: most of a minute of a very busy feed, some 100 MB."""
ONE_MEMBER = 20_000
AT_ONCE = 200
"""Lines packed in one gzip member, and encoded in one go: no thread that wants to run waits longer than that takes."""
LEVEL = 6

_KEPT = re.compile(r"content-type|date|retry-after|x-mbx-used-weight.*", re.IGNORECASE)
"""Response headers: they say what the answer is, and how much may still be asked."""
_SECRET = re.compile(
    r"""[?&"'](sign(ature)?|(api[-_]?)?key|secret|passphrase|jwt|token|listen[-_]?key)(=|["']\s*:)"""
    r"|/[a-z0-9]{60,}([?/]|$)",  # Binance's listen keys were parts of paths
    re.IGNORECASE,
)
"""What a public URL or frame never holds."""
_USER = re.compile(r"(?<=://)[^/?#]*@")
"""A user and password before a URL's host: a proxy's or a private mirror's."""

_Frame = tuple[int, int, bytes | str]
"""Connection, time (ns), and what was received."""
_encode = msgspec.json.Encoder().encode


class Recorder:
    """A tape that is being written. Safe to use from any thread; only the constructor and ``close`` wait for the disk,
    and only the constructor raises.

    ``trouble`` says why the recording ended by itself: a full disk ends the tape, not the feed, and what is on the tape
    by then can be played. Raises UsageError when there is a file at ``path`` already (a tape is never written over) or
    none can be made there, StoreError when nothing can be written to it.
    """

    def __init__(self, venue: str, path: str | Path, clock: Clock) -> None:
        self.path = Path(path)
        self.trouble: str | None = None
        """Why it ended before it was closed, and what to do next; None while all is well."""
        self._clock = clock
        self._on = True
        self._waiting: deque[_Frame | dict[str, object]] = deque()
        self._ending = threading.Event()
        self._file = _created(self.path)
        header = {"t": "header", "version": VERSION, "venue": venue, "created_ns": self._now()}
        try:
            _append(self._file, _packed([header]))
        except OSError as error:
            self._file.close()
            raise StoreError(f"{self.path} can't be written ({error.strerror}); nothing was recorded") from None
        self._thread = threading.Thread(target=self._write, name="kit-tape", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        state = "recording" if self._on else f"ended: {self.trouble}" if self.trouble else "closed"
        return f"<Recorder {self.path} {state}>"

    @property
    def recording(self) -> bool:
        """True until it is closed or has ended by itself."""
        return self._on

    # -- what passes between us and the venue

    def opened(self, conn: int, url: str) -> None:
        """A connection was opened, or was open when the recording began."""
        if _SECRET.search(url):
            self._end("a connection that is not public came up; nothing of it is on the tape")
        self._put({"t": "open", "conn": conn, "ns": self._now(), "url": _USER.sub("", url)})

    def sent(self, conn: int, text: str) -> None:
        """We sent a frame."""
        if _SECRET.search(text):
            self._end("a frame with a key in it was sent, so this is no public connection; it is not on the tape")
        self._put({"t": "send", "conn": conn, "ns": self._now(), "text": text})

    def received(self, conn: int, frame: bytes | str, ns: int) -> None:
        """The venue sent a frame; ``ns`` is when it came in (since the epoch, UTC)."""
        if self._on:
            waiting = self._waiting
            waiting.append((conn, ns, frame))
            if len(waiting) > MOST_WAITING:
                self._end("the disk does not keep up with the feed")

    def ended(self, conn: int, reason: str) -> None:
        """A connection is gone."""
        self._put({"t": "close", "conn": conn, "ns": self._now(), "reason": reason})

    def answered(self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """A REST answer has come, its content encoding undone. One to a request with a key or signature is left out."""
        if not _SECRET.search(url):
            kept = {name.lower(): value for name, value in headers.items() if _KEPT.fullmatch(name)}
            asked = {"t": "http", "ns": self._now(), "method": method, "url": _USER.sub("", url), "status": status}
            self._put(asked | {"headers": kept, **_said(body)})

    def close(self) -> None:
        """Write what is waiting, and end the tape. May be called twice."""
        self._on = False
        self._ending.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive() and self.trouble is None:
            self.trouble = f"the disk did not take the end of {self.path} within {PATIENCE:g} s"

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- what becomes of it

    def _now(self) -> int:
        return self._clock.now() * 1_000

    def _put(self, line: dict[str, object]) -> None:
        if self._on:
            self._waiting.append(line)

    def _end(self, reason: str) -> None:
        """Take nothing more; what is waiting is still written."""
        if self._on:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        self._on = False
        self.trouble = self.trouble or (
            f"the recording ended: {reason}. {self.path} holds all from before and can be played; the feed goes on. "
            "Mend that and record on in another file"
        )
        self._ending.set()

    def _write(self) -> None:
        """The recorder's own thread, until the end."""
        with self._file:
            try:
                while not self._ending.wait(EVERY):
                    self._drain()
                self._drain()
            except Exception as error:  # whatever goes wrong with a tape, the feed must not feel it
                self._fail(getattr(error, "strerror", None) or repr(error))
                self._waiting.clear()

    def _drain(self) -> None:
        while there := min(len(self._waiting), ONE_MEMBER):
            _append(self._file, _packed([self._waiting.popleft() for _ in range(there)]))


def _created(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path, "x")
    except FileExistsError:
        raise UsageError(
            f"{path} is there already, and a tape is never written over; choose another name. Nothing was recorded"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"no tape can be made at {path} ({why}); choose another place. Nothing was recorded") from None


def _append(file: io.FileIO, member: bytes) -> None:
    """Write a member, or nothing of it."""
    start, rest = file.tell(), memoryview(member)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):
            file.truncate(start)
        raise


def _packed(waiting: list[_Frame | dict[str, object]]) -> bytes:
    """A gzip member of lines."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = [
        packer.compress(b"".join(map(_line, waiting[start : start + AT_ONCE])))
        for start in range(0, len(waiting), AT_ONCE)
    ]
    return b"".join((*parts, packer.flush()))


def _line(waiting: _Frame | dict[str, object]) -> bytes:
    if isinstance(waiting, tuple):
        conn, ns, frame = waiting
        waiting = {"t": "recv", "conn": conn, "ns": ns, **_said(frame)}
    return _encode(waiting) + b"\n"


def _said(frame: bytes | str) -> dict[str, object]:
    """A frame's or body's part of a line: ``text``, or ``b64`` of what is none."""
    try:
        return {"text": frame if isinstance(frame, str) else frame.decode()}
    except UnicodeDecodeError:
        return {"b64": frame}
