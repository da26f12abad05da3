"""A recorder writes down what passes, byte for byte, keeps secrets out of it and never gets in the feed's way."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import ManualClock
from kit.errors import UsageError
from kit.net import recorder
from kit.net.recorder import Recorder
from kit.net.tape import Answered, Closed, Header, Opened, Received, Record, Sent, records

NOW = 1_790_000_000_000_001
NS = NOW * 1_000
STREAM = "wss://stream.binance.com:9443/stream?streams=btcusdt@trade/btcusdt@kline_1m"
DEPTH = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"
Make = Callable[[], Recorder]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape.jsonl.gz"


@pytest.fixture
def made(tape: Path) -> Iterator[Recorder]:
    with Recorder("binance", tape, ManualClock(NOW)) as recording:
        yield recording


def told(recording: Recorder) -> list[Record]:
    """What is on the tape in the end, after its header."""
    recording.close()
    header, *rest = records(recording.path)
    assert header == Header("binance", NS)
    return rest


def test_a_tape_is_gzip_and_one_json_object_a_line(made: Recorder) -> None:
    made.opened(1, STREAM)
    made.sent(1, '{"method":"SUBSCRIBE"}')
    made.received(1, '{"s":"это"}'.encode(), NS + 7)
    made.received(1, b"\xff\x00", NS + 8)
    made.answered("GET", DEPTH, 200, {"Content-Type": "application/json"}, b'{"bids":[]}')
    made.ended(1, "the venue closed the connection")
    made.close()
    with gzip.open(made.path, "rt", encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == [
            {"t": "header", "version": 1, "venue": "binance", "created_ns": NS},
            {"t": "open", "conn": 1, "ns": NS, "url": STREAM},
            {"t": "send", "conn": 1, "ns": NS, "text": '{"method":"SUBSCRIBE"}'},
            {"t": "recv", "conn": 1, "ns": NS + 7, "text": '{"s":"это"}'},
            {"t": "recv", "conn": 1, "ns": NS + 8, "b64": "/wA="},
            {"t": "http", "ns": NS, "method": "GET", "url": DEPTH, "status": 200,
             "headers": {"content-type": "application/json"}, "text": '{"bids":[]}'},
            {"t": "close", "conn": 1, "ns": NS, "reason": "the venue closed the connection"},
        ]  # fmt: skip
    assert made.trouble is None


_times = st.integers(0, 2**62)
_texts = st.text().filter(lambda text: not recorder._SECRET.search(text))
_frames = st.binary() | st.text().map(str.encode) | st.sampled_from([b"", b"\n", b"\r\n", b"\x00", "\u2028".encode()])
_happenings = st.one_of(
    st.builds(Opened, st.integers(0, 99), st.just(NS), st.just(STREAM)),
    st.builds(Sent, st.integers(0, 99), st.just(NS), _texts.map(str.encode)),
    st.builds(Received, st.integers(0, 99), _times, _frames),
    st.builds(Closed, st.integers(0, 99), st.just(NS), st.text()),
    st.builds(
        Answered,
        st.just(NS),
        st.sampled_from(["GET", "POST"]),
        st.just(DEPTH),
        st.integers(100, 599),
        st.fixed_dictionaries({}, optional={"date": st.text(), "x-mbx-used-weight-1m": st.text()}),
        _frames,
    ),
)


def tell(recording: Recorder, happened: Record) -> None:
    match happened:
        case Opened(conn, _, url):
            recording.opened(conn, url)
        case Sent(conn, _, data):
            recording.sent(conn, data.decode())
        case Received(conn, ns, data):
            recording.received(conn, data, ns)
        case Closed(conn, _, reason):
            recording.ended(conn, reason)
        case Answered(_, method, url, status, headers, data):
            recording.answered(method, url, status, headers, data)


@given(happened=st.lists(_happenings))
def test_what_was_recorded_reads_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, happened: list[Record]
) -> None:
    recording = Recorder("binance", tmp_path_factory.mktemp("tapes") / "tape", ManualClock(NOW))
    for each in happened:
        tell(recording, each)
    assert told(recording) == happened


def test_a_frame_given_as_text_is_kept_as_well(made: Recorder) -> None:
    made.received(1, '{"s":"é"}', NS)
    assert told(made) == [Received(1, NS, '{"s":"é"}'.encode())]


def test_all_of_a_long_burst_is_kept_in_its_order(made: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "ONE_MEMBER", 300)
    for number in range(5_000):
        made.received(1, b"%d" % number, number)
    assert told(made) == [Received(1, number, b"%d" % number) for number in range(5_000)]


def test_threads_may_record_at_the_same_time(made: Recorder) -> None:
    def answer() -> None:
        for number in range(500):
            made.answered("GET", DEPTH, 200, {}, b"%d" % number)

    threads = [threading.Thread(target=answer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2_000):
        made.received(1, b"%d" % number, number)
    for thread in threads:
        thread.join()
    said = told(made)
    assert [r.ns for r in said if isinstance(r, Received)] == list(range(2_000))
    assert sum(isinstance(r, Answered) for r in said) == 1_500


# -- no secrets


CANARY = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"


@pytest.mark.parametrize(
    "url",
    [
        f"{DEPTH}&timestamp=1&signature={CANARY}",
        f"https://api.binance.com/api/v3/order?apiKey={CANARY}",
        f"https://api.binance.com/api/v3/userDataStream?listenKey={CANARY}",
        f"https://data.example/bars?token={CANARY}&symbol=X",
    ],
)
def test_an_answer_to_a_request_with_a_secret_is_left_out(made: Recorder, url: str) -> None:
    made.answered("GET", url, 200, {}, b"{}")
    made.received(1, b"after", NS)
    assert told(made) == [Received(1, NS, b"after")]
    assert made.trouble is None


def test_headers_are_kept_only_where_they_are_harmless(made: Recorder) -> None:
    given_headers = {
        "Date": "now",
        "Retry-After": "3",
        "X-MBX-USED-WEIGHT-1M": "7",
        "X-MBX-APIKEY": CANARY,
        "Set-Cookie": f"session={CANARY}",
        "CF-RAY": CANARY,
        "X-MBX-ORDER-COUNT-10S": "1",
    }
    made.answered("GET", DEPTH, 429, given_headers, b"")
    kept = {"date": "now", "retry-after": "3", "x-mbx-used-weight-1m": "7"}
    assert told(made) == [Answered(NS, "GET", DEPTH, 429, kept, b"")]


def test_a_user_and_password_in_a_url_are_cut_out(made: Recorder) -> None:
    made.opened(1, f"wss://me:{CANARY}@stream.example/ws?at=a@b")
    made.answered("GET", f"https://{CANARY}@api.example/depth", 200, {}, b"")
    assert [r.url for r in told(made) if isinstance(r, Opened | Answered)] == [
        "wss://stream.example/ws?at=a@b",
        "https://api.example/depth",
    ]


@pytest.mark.parametrize(
    "private",
    [
        lambda recording: recording.opened(2, f"wss://stream.binance.com:9443/ws/{CANARY}"),
        lambda recording: recording.opened(2, f"wss://stream.example/?apikey={CANARY}"),
        lambda recording: recording.sent(2, f'{{"action":"auth","key":"{CANARY}","secret":"{CANARY}"}}'),
        lambda recording: recording.sent(2, f'{{"type":"subscribe","channel":"user","jwt" : "{CANARY}"}}'),
        lambda recording: recording.sent(2, f'{{"method":"x","params":{{"signature":"{CANARY}"}}}}'),
    ],
)
def test_a_private_connection_ends_the_recording_before_it_is_on_the_tape(
    made: Recorder, private: Callable[[Recorder], None]
) -> None:
    made.received(1, b"before", NS)
    private(made)
    made.received(2, CANARY.encode(), NS)
    assert told(made) == [Received(1, NS, b"before")]
    assert "can be played; the feed goes on" in (made.trouble or "")
    assert CANARY not in (made.trouble or "")
    assert CANARY not in gzip.decompress(made.path.read_bytes()).decode()


@pytest.mark.parametrize(
    "text",
    [
        '{"method":"subscribe","params":{"channel":"book","symbol":["TOKEN/USD","KEY/USD"],"depth":25}}',
        '{"method":"SUBSCRIBE","params":["keyusdt@trade","signusdt@depth@100ms"],"id":1}',
    ],
)
def test_an_instrument_may_be_called_key_or_token(made: Recorder, text: str) -> None:
    made.sent(1, text)
    assert told(made) == [Sent(1, NS, text.encode())]


# -- the file


def test_a_tape_is_never_written_over(made: Recorder, tape: Path) -> None:
    made.received(1, b"precious", NS)
    with pytest.raises(UsageError, match="is there already, and a tape is never written over; choose another name"):
        Recorder("binance", tape, ManualClock(NOW))
    assert told(made) == [Received(1, NS, b"precious")]


@pytest.mark.parametrize("name", ["nowhere/tape.gz", "a\x00b", "", "x" * 300])
def test_a_place_where_no_tape_can_be_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"choose another (place|name)\. Nothing was recorded"):
        Recorder("binance", tmp_path / name, ManualClock(NOW))


def test_closing_twice_and_recording_after_it_do_nothing(made: Recorder) -> None:
    made.received(1, b"in time", NS)
    made.close()
    assert (made.recording, made.trouble) == (False, None)
    made.received(1, b"late", NS)
    made.opened(2, f"wss://stream.example/?apikey={CANARY}")
    assert told(made) == [Received(1, NS, b"in time")]
    assert made.trouble is None
    assert not any(thread.name == "kit-tape" for thread in threading.enumerate())


def program(tape: Path, body: str) -> list[str]:
    """A process that records ``a line a millisecond`` on a tape, after ``body``."""
    code = (
        "import itertools, resource, signal, sys, time\n"
        "from kit.clock import WallClock\n"
        "from kit.net.recorder import Recorder\n"
        f"made = Recorder('binance', {str(tape)!r}, WallClock())\n"
        f"{body}\n"
        "for number in itertools.count():\n"
        "    made.received(1, b'%d %s' % (number, bytes(str(hash(number * 7.1)), 'ascii') * 20), time.time_ns())\n"
        "    time.sleep(0.001)\n"
        "    if not made.recording:\n"
        "        made.close()\n"
        "        sys.exit(made.trouble)\n"
    )
    return [sys.executable, "-c", code]


def numbers(tape: Path) -> list[int]:
    return [int(record.data.split()[0]) for record in records(tape) if isinstance(record, Received)]


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_killed_process_leaves_a_whole_tape_that_lacks_a_second_at_most(tape: Path) -> None:
    process = subprocess.Popen(program(tape, ""))
    until = time.monotonic() + 30
    while time.monotonic() < until and (not tape.exists() or tape.stat().st_size < 4_000):
        time.sleep(0.02)
    time.sleep(1.2)
    killed = time.time_ns()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert numbers(tape) == list(range(len(numbers(tape))))
    newest = max(record.ns for record in records(tape) if isinstance(record, Received))
    assert killed - newest < 1_500_000_000  # half a second, and a busy machine's hiccups
    assert gzip.decompress(tape.read_bytes())


@pytest.mark.skipif(os.name == "nt", reason="there is no limit on a file's size to stand in for a full disk")
def test_a_full_disk_ends_the_recording_with_its_reason_and_the_feed_goes_on(tape: Path) -> None:
    full = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))"
    )
    ended = subprocess.run(program(tape, full), capture_output=True, text=True, check=False, timeout=60)
    assert "File too large" in ended.stderr
    assert f"{tape} holds all from before and can be played; the feed goes on" in ended.stderr
    assert tape.stat().st_size < 20_000
    assert len(numbers(tape)) > 100
    assert numbers(tape) == list(range(len(numbers(tape))))


def test_a_disk_that_hangs_ends_the_recording_before_memory_is_full(
    made: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, append = threading.Event(), recorder._append

    def hanging(file: Any, member: bytes) -> None:
        free.wait()
        append(file, member)

    monkeypatch.setattr(recorder, "_append", hanging)
    monkeypatch.setattr(recorder, "MOST_WAITING", 1_000)
    for number in range(2_000):
        made.received(1, b"x", number)
    assert not made.recording
    assert "the disk does not keep up with the feed" in (made.trouble or "")
    free.set()
    assert [r.ns for r in told(made) if isinstance(r, Received)] == list(range(len(told(made))))
    assert len(told(made)) == 1_001


def test_an_error_nobody_thought_of_ends_the_recording_and_not_the_feed(made: Recorder) -> None:
    made.received(1, 17, NS)  # type: ignore[arg-type]  # that is the error
    until = time.monotonic() + 10
    while made.recording and time.monotonic() < until:
        time.sleep(0.01)
    made.received(1, b"later", NS)
    assert "the recording ended: AttributeError" in (made.trouble or "")
    assert told(made) == []
