"""Tapes are read in the formats they come in; what is no tape is told so before anything is played."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.errors import DataError, UsageError
from kit.net.tape import TapeLine, read

STAMPED = b'1723161253937085768 {"stream":"a@trade","data":{}}\n\n1723161254036059768 {"lastUpdateId":1}\n'
JSON = "".join(
    json.dumps(line) + "\n"
    for line in (
        {"t": "header", "version": 1, "venue": "binance", "created_ns": 5},
        {"t": "open", "conn": 1, "ns": 6, "url": "wss://there"},
        {"t": "send", "conn": 1, "ns": 7, "text": "{}"},
        {"t": "recv", "conn": 1, "ns": 8, "text": '{"e":"trade"}'},
        {
            "t": "http",
            "ns": 9,
            "method": "GET",
            "url": "https://there/depth",
            "status": 200,
            "headers": {},
            "text": "[]",
        },
        {"t": "close", "conn": 1, "ns": 10, "reason": "done"},
    )
).encode()


def _file(path: Path, content: bytes, *, zipped: bool) -> Path:
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_stamped_lines_are_read_and_blank_ones_skipped(tmp_path: Path, zipped: bool) -> None:
    assert list(read(_file(tmp_path / "tape", STAMPED, zipped=zipped))) == [
        TapeLine(1723161253937085768, '{"stream":"a@trade","data":{}}'),
        TapeLine(1723161254036059768, '{"lastUpdateId":1}'),
    ]


@pytest.mark.parametrize("zipped", [True, False])
def test_of_json_lines_only_what_the_venue_said_is_given(tmp_path: Path, zipped: bool) -> None:
    assert list(read(_file(tmp_path / "tape", JSON, zipped=zipped))) == [
        TapeLine(8, '{"e":"trade"}'),
        TapeLine(9, "[]", "https://there/depth"),
    ]


def test_seconds_and_data_are_read_as_time_and_text(tmp_path: Path) -> None:
    line = b'{"t":"recv","conn":"x","ts":1633998274.723671,"data":"{}"}\n'
    assert list(read(_file(tmp_path / "tape", line, zipped=False))) == [TapeLine(1633998274723671040, "{}")]


def test_a_missing_tape_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was played"):
        read(tmp_path / "nowhere.gz")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"time,price\n1,2\n",
        b'{"price": 5}\n',
        b"1723161253937085768\n",
        b"\x89PNG\r\n\x1a\n" * 10,
        b"[1]",
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_no_tape_is_told_at_once(tmp_path: Path, content: bytes, zipped: bool) -> None:
    with pytest.raises(UsageError, match=r"is not a tape; a tape is lines of .*; nothing was played"):
        read(_file(tmp_path / "file", content, zipped=zipped))


def test_a_folder_is_no_tape(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read as a tape"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (STAMPED, b"and then something else\n"),
        (JSON, b"not JSON\n"),
        (JSON, b'{"t":"recv","ns":11}\n'),
        (JSON, b'{"t":"recv","text":"{}"}\n'),
        (STAMPED, b"1723161254036059768 \xff\xfe\n"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_after_all_before_it_were_given(
    tmp_path: Path, good: bytes, bad: bytes
) -> None:
    lines = read(_file(tmp_path / "tape", good + bad, zipped=True))
    assert [next(lines), next(lines)]
    number = len(good.splitlines()) + 1
    with pytest.raises(DataError, match=f"line {number} can't be read"):
        next(lines)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_tape_gives_what_is_whole_and_says_so(tmp_path: Path, damage: str) -> None:
    content = b"".join(b'%d {"n":%d}\n' % (1723161253937085768 + n * 7919, n * n) for n in range(20_000))
    zipped = bytearray(gzip.compress(content))
    if damage == "cut":
        del zipped[len(zipped) // 2 :]
    else:
        zipped[-6] ^= 0xFF  # the checksum
    tape = tmp_path / "tape.gz"
    tape.write_bytes(zipped)
    lines = read(tape)
    given: list[TapeLine] = []
    with pytest.raises(DataError, match="damaged or cut off after line"):
        given.extend(lines)
    assert len(given) > 1000


def test_the_recording_of_a_real_venue_reads_whole(recording: Callable[[str], Path]) -> None:
    lines = list(read(recording("binance_spot_btcusdt_20240808.gz")))
    kinds = Counter(json.loads(line.text).get("stream", "book") for line in lines)
    assert kinds == {
        "btcusdt@depth@100ms": 3451,
        "btcusdt@bookTicker": 28040,
        "btcusdt@trade": 9757,
        "book": 1,
    }


def test_the_recording_of_several_instruments_reads_whole(recording: Callable[[str], Path]) -> None:
    lines = list(read(recording("binance_us_20211012.jsonl.gz")))
    assert Counter(bool(line.url) for line in lines) == {False: 480, True: 5}
    assert 1633998274 < lines[0].ns / 1e9 < 1633998275
