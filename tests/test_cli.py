"""The command ``kit``: what it prints, where, and what its exit code says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

import kit
import kit.venue
from kit import cli
from kit.broker import switch
from kit.broker.accounts import path_of
from kit.net import recorder
from kit.net.replay import replay
from kit.sandbox.launcher import Handle
from kit.store.entries import Terms
from kit.store.journal import Journal
from kit.venue import Venue
from kit.venues.binance import BINANCE

Capture = pytest.CaptureFixture[str]

LINES = [
    {"t": "header", "version": 1, "venue": "binance", "created_ns": 1},
    {"t": "open", "conn": 1, "ns": 1_790_000_000_000_000_000, "url": "wss://there"},
    *(
        {
            "t": "recv",
            "conn": 1,
            "ns": 1_790_000_000_000_000_000 + 10**6 * number,
            "text": json.dumps(
                {"e": "trade", "s": "BTCUSDT", "t": number, "p": "1.50", "q": "2", "T": 1_790_000_000_000, "m": True}
            ),
        }
        for number in range(1, 2_000)
    ),
]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    path = tmp_path / "tape.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in LINES).encode()))
    return path


def test_help_lists_every_command_with_what_it_is_for(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    for name in ("demo", "lab", "sandbox", "record", "replay", "doctor", "halt", "resume"):
        assert f"\n  {name}" in listed


@pytest.mark.parametrize("command", ["record", "replay", "doctor", "halt", "resume"])
def test_each_command_explains_itself(capsys: Capture, command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: kit {command}" in capsys.readouterr().out


# -- replay


def test_replay_prints_one_json_object_of_the_promised_shape(capsys: Capture, tape: Path) -> None:
    assert cli.main(["replay", str(tape), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "venue": "binance",
        "connections": {
            "opened": 1, "closed": 0, "frames": 1_999, "sent": 0, "answers": 0, "unreadable": 0, "sequence_gaps": 0,
        },
        "instruments": {
            "BTC/USDT": {
                "events": {"trade": 1_999, "quote": 0, "book": 0, "candle": 0},
                "trades": {"first_id": 1, "last_id": 1_999, "gaps": 0},
                "candles": {"open": 0, "closed": 0},
                "book": {
                    "epochs": 0, "resyncs": 0, "best_bid": None, "best_ask": None, "checksums_ok": 0,
                    "checksums_failed": 0,
                },
                "latency_ms": {"p50": 1_000.5, "p99": 1_979.03},
            }
        },
    }  # fmt: skip
    assert printed.out.count("\n") == 1
    assert printed.err == ""


def test_replay_prints_a_table_for_people(capsys: Capture, tape: Path) -> None:
    assert cli.main(["replay", str(tape)]) == 0
    printed = capsys.readouterr().out
    assert "binance; opened 1, frames 1,999" in printed
    assert "BTC/USDT    1999" in printed


def test_what_went_wrong_is_said_beside_the_object_and_is_no_failure_of_the_tape(capsys: Capture, tape: Path) -> None:
    kept = [line for number, line in enumerate(LINES) if number != 900]
    tape.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in kept).encode()))
    assert cli.main(["replay", str(tape), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["instruments"]["BTC/USDT"]["trades"]["gaps"] == 1
    assert "holes in the trade ids: 1" in printed.err


def test_a_damaged_tape_is_played_as_far_as_it_goes_and_the_exit_code_is_1(capsys: Capture, tape: Path) -> None:
    tape.write_bytes(tape.read_bytes()[:-40])
    assert cli.main(["replay", str(tape), "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["instruments"]["BTC/USDT"]["events"]["trade"] > 100
    assert "cut off" in printed.err


def test_of_a_thousand_troubles_the_first_are_told_and_the_last(capsys: Capture, tape: Path) -> None:
    rubbish = [{**line, "text": "{"} if line["t"] == "recv" else line for line in LINES]
    tape.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in rubbish).encode())[:-20])
    assert cli.main(["replay", str(tape)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) < 30
    assert "and 1," in told[-2]
    assert "damaged" in told[-1]


def test_no_tape_is_an_error_in_words(capsys: Capture, tmp_path: Path) -> None:
    assert cli.main(["replay", str(tmp_path / "none")]) == 1
    assert "kit replay:" in capsys.readouterr().err


# -- record


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch, shared_sandbox: Handle) -> list[str | None]:
    """``connect`` gives venues on the shared sandbox; these are the names they were asked for by."""
    asked: list[str | None] = []

    def connect(name: str | None = None) -> Venue:
        asked.append(name)
        return Venue(BINANCE, "sandbox", shared_sandbox.hosts, key=shared_sandbox.key, sandbox=shared_sandbox)

    monkeypatch.setattr(kit.venue, "connect", connect)
    return asked


def test_record_writes_a_tape_and_says_what_is_on_it(capsys: Capture, connected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl.gz"
    assert cli.main(["record", "BTC/USDT", "ETH/USDT", "--interval", "1s", "--seconds", "8", "--out", str(path)]) == 0
    assert connected == ["sandbox"]
    printed = capsys.readouterr()
    assert "BTC/USDT LIVE, ETH/USDT" in printed.err
    played = replay(path)
    assert f"frames {played.connections.frames:,}" in printed.out
    for one in played.instruments.values():
        said = one.summary()
        assert min(said["events"][name] for name in ("quote", "book", "candle")) > 0
        assert said["book"]["epochs"] == 1
        assert said["book"]["best_bid"] is not None
        assert said["trades"]["gaps"] == 0
    assert played.connections.answers > 5
    assert played.told() == []


def test_ctrl_c_ends_a_recording_as_well_as_time_does(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, connected: list[str], tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_watch", interrupt)
    path = tmp_path / "tape.jsonl.gz"
    assert cli.main(["record", "BTC/USDT", "--out", str(path)]) == 0
    assert "BTC/USDT" in capsys.readouterr().out
    assert replay(path).whole


def test_a_mistyped_symbol_leaves_no_tape_behind(capsys: Capture, connected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl.gz"
    assert cli.main(["record", "BTC/USTD", "--seconds", "1", "--out", str(path)]) == 1
    assert "did you mean 'BTC/USDT'" in capsys.readouterr().err
    assert not path.exists()


def test_a_tape_is_never_written_over(capsys: Capture, connected: list[str], tape: Path) -> None:
    before = tape.read_bytes()
    assert cli.main(["record", "BTC/USDT", "--seconds", "1", "--out", str(tape)]) == 1
    assert "never written over" in capsys.readouterr().err
    assert tape.read_bytes() == before


def test_a_recording_that_ends_by_itself_is_a_failure_that_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, connected: list[str], tmp_path: Path
) -> None:
    written: list[bytes] = []
    append: Callable[..., None] = recorder._append

    def full(file: object, member: bytes) -> None:
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        written.append(member)
        append(file, member)

    monkeypatch.setattr(recorder, "_append", full)
    path = tmp_path / "tape.jsonl.gz"
    assert cli.main(["record", "BTC/USDT", "--out", str(path)]) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_length_that_is_none_is_refused(capsys: Capture, seconds: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["record", "BTC/USDT", "--seconds", seconds, "--out", "tape"])
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err


# -- halt and resume


def an_account(name: str) -> Journal:
    """A paper account that nobody runs."""
    journal = Journal(path_of(name))
    journal.terms = Terms(
        kind="paper", venue="binance", environment="SANDBOX", quote="USDT", cash={"USDT": Decimal(1000)},
        fees=kit.Fees(), created=0,
    )  # fmt: skip
    return journal


def halted(name: str) -> str:
    with closing(Journal(path_of(name), readonly=True)) as reader:
        return reader.halted


def test_halt_and_resume_say_what_came_of_it(capsys: Capture) -> None:
    an_account("mine").close()
    assert cli.main(["halt", "mine", "--reason", "lunch"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("account 'mine' is halted (lunch, by kit halt at ")
    assert "nothing of it is open any more" in printed
    assert halted("mine").startswith("lunch")
    assert cli.main(["resume", "mine"]) == 0
    assert "account 'mine' was halted (lunch, by kit halt" in capsys.readouterr().out
    assert halted("mine") == ""
    assert cli.main(["resume", "mine"]) == 0
    assert capsys.readouterr().out == "account 'mine' was not halted\n"


def test_the_only_account_needs_no_name_and_of_several_none_is_guessed(capsys: Capture) -> None:
    an_account("one").close()
    assert cli.main(["halt"]) == 0
    assert halted("one")
    an_account("two").close()
    assert cli.main(["halt"]) == 2
    assert "which account? There are: one, two; --all halts every one" in capsys.readouterr().err
    assert not halted("two")
    assert cli.main(["halt", "--all"]) == 0
    assert halted("two")


def test_one_account_that_cannot_be_halted_keeps_no_other_from_it(capsys: Capture) -> None:
    an_account("two").close()
    path_of("broken").write_text("my shopping list " * 100)
    assert cli.main(["halt", "broken", "two", "nowhere"]) == 1
    printed = capsys.readouterr()
    assert "account 'broken': " in printed.err
    assert "unknown account 'nowhere'" in printed.err
    assert halted("two")


def test_what_may_be_open_still_is_exit_code_1(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner does not come to it."""
    monkeypatch.setattr(switch, "PATIENCE", 0.1)
    with closing(an_account("mine")):
        assert cli.main(["halt", "mine"]) == 1
    printed = capsys.readouterr().out
    assert "NOT PROVEN that nothing is open (account 'mine' is in use by process" in printed
