"""Tapes are read in the formats they come in; what is no tape is told so before anything is played."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.errors import DataError, UsageError
from kit.net.tape import Answered, Closed, Header, Opened, Received, Record, Sent, TapeLine, read, records

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

COUNTED = (
    b"CBCAP1 kraken XRP/USD 1785644624267828700\n"
    b'1785644624267828700 23\n{"channel":"heartbeat"}\n'
    b"1785644624427978800 5\na\nb\nc\n"
    b"1785644624427978801 0\n\n"
)


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


@pytest.mark.parametrize("zipped", [True, False])
def test_everything_on_a_tape_of_ours_is_given_with_its_kind(tmp_path: Path, zipped: bool) -> None:
    assert list(records(_file(tmp_path / "tape", JSON, zipped=zipped))) == [
        Header("binance", 5),
        Opened(1, 6, "wss://there"),
        Sent(1, 7, b"{}"),
        Received(1, 8, b'{"e":"trade"}'),
        Answered(9, "GET", "https://there/depth", 200, {}, b"[]"),
        Closed(1, 10, "done"),
    ]


def test_a_binary_frame_is_read_from_base64(tmp_path: Path) -> None:
    line = b'{"t":"recv","conn":3,"ns":8,"b64":"/wCA"}\n'
    assert list(records(_file(tmp_path / "tape", line, zipped=False))) == [Received(3, 8, b"\xff\x00\x80")]


def test_connections_that_have_names_are_numbered_as_they_come(tmp_path: Path) -> None:
    lines = (
        b'{"t":"header","format":2,"exchange":"BINANCE_US","recorded":1633998274.5}\n'
        b'{"t":"http","conn":"x.http.0","ts":1.5,"url":"https://there","data":"[]"}\n'
        b'{"t":"connect","conn":"x.ws.1","ts":2.5,"addr":"wss://one"}\n'
        b'{"t":"send","conn":"x.ws.2","ts":3.5,"addr":"wss://two","data":"hello"}\n'
        b'{"t":"pause","conn":"x.ws.2","ts":3.5}\n'
        b'{"t":"recv","conn":"x.ws.1","ts":4.5,"data":"one"}\n'
    )
    assert list(records(_file(tmp_path / "tape", lines, zipped=True))) == [
        Header("binance_us", 1633998274500000000),
        Answered(1500000000, "GET", "https://there", 200, {}, b"[]"),
        Opened(1, 2500000000, "wss://one"),
        Sent(2, 3500000000, b"hello"),
        Received(1, 4500000000, b"one"),
    ]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("end", [None, -1])
def test_counted_frames_are_taken_by_their_count_whatever_is_in_them(
    tmp_path: Path, zipped: bool, end: int | None
) -> None:
    wanted: list[Record] = [
        Header("kraken", 1785644624267828700),
        Received(1, 1785644624267828700, b'{"channel":"heartbeat"}'),
        Received(1, 1785644624427978800, b"a\nb\nc"),
        Received(1, 1785644624427978801, b""),
    ]
    assert list(records(_file(tmp_path / "tape", COUNTED[:end], zipped=zipped))) == wanted


def test_a_version_of_the_future_is_told_at_once(tmp_path: Path) -> None:
    line = b'{"t":"header","version":2,"venue":"binance","created_ns":5}\n'
    with pytest.raises(UsageError, match="a tape of version 2; a newer papertape plays it; nothing was played"):
        records(_file(tmp_path / "tape", line, zipped=False))


def test_a_tape_of_many_gzip_members_is_one_tape(tmp_path: Path) -> None:
    lines = JSON.splitlines(keepends=True)
    (tmp_path / "tape").write_bytes(b"".join(gzip.compress(line) for line in lines))
    assert len(list(records(tmp_path / "tape"))) == len(lines)


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
        b'{"t":"2021-06-01T00:00:00Z","p":5}',
        b"CBCAP1 kraken",
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


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"1785644624427978801 9\nshort", "damaged or cut off after frame 4"),
        (b"1785644624427978801 1\nlong\n", "frame 5 can't be read .*goes on after its byte count"),
        (b"1785644624427978801 -1\n", "frame 5 can't be read .*no time and byte count"),
        (b"1785644624427978801\n", "frame 5 can't be read"),
    ],
)
def test_a_miscounted_frame_is_named_after_all_before_it_were_given(tmp_path: Path, bad: bytes, words: str) -> None:
    given: list[Record] = []
    with pytest.raises(DataError, match=words):
        given.extend(records(_file(tmp_path / "tape", COUNTED + bad, zipped=False)))
    assert len(given) == 4


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


def test_the_recording_of_a_5_mb_frame_reads_whole(recording: Callable[[str], Path]) -> None:
    told = list(records(recording("coinbase_advanced_first300.jsonl.gz")))
    assert Counter(type(record) for record in told) == {Received: 300, Sent: 5, Header: 1, Answered: 1, Opened: 1}
    assert told[0] == Header("coinbase", 1786309548026294016)
    assert max(len(record.data) for record in told if isinstance(record, Received)) > 5_000_000


@pytest.mark.parametrize(("name", "frames"), [("xrpusd", 1192), ("ethusd", 1170)])
def test_a_recording_of_counted_frames_reads_whole(recording: Callable[[str], Path], name: str, frames: int) -> None:
    path = recording(f"kraken_v2_book_{name}.cbcap")
    header, *told = records(path)
    assert header == Header("kraken", told[0].ns if isinstance(told[0], Received) else 0)
    assert len(told) == frames
    assert all(isinstance(record, Received) and json.loads(record.data) for record in told)
