"""The demo is the main job: it must hold on the synthetic market and on a recording of a real venue."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def kit_demo(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    page = tmp_path / "demo.html"
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "kit.cli", "demo", "--out", str(page), *options]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=110, env=os.environ | {"TMPDIR": str(tmp_path)}, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "14 of 14 checks hold" in told.stdout
    assert not told.stderr
    assert page.stat().st_size > 10_000
    assert not list(tmp_path.glob("papertape-demo-*")), "the demo left its data folder behind"
    return told


def test_the_demo_holds_on_the_synthetic_market(tmp_path: Path) -> None:
    told = kit_demo(tmp_path)
    assert "For education and research; no advice" in told.stdout


def test_the_demo_holds_on_a_recording_of_a_real_venue(tmp_path: Path, recording: Callable[[str], Path]) -> None:
    kit_demo(tmp_path, "--replay", str(recording("binance_spot_btcusdt_20240808.gz")))


def test_a_demo_that_can_not_begin_fails_and_says_why(tmp_path: Path) -> None:
    no_tape = tmp_path / "no-tape.gz"
    no_tape.write_bytes(b"nothing recorded here")
    command = [sys.executable, "-m", "kit.cli", "demo", "--replay", str(no_tape), "--out", str(tmp_path / "x.html")]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=110, env=os.environ | {"TMPDIR": str(tmp_path)}, check=False
    )
    assert told.returncode == 1
    assert "no-tape.gz" in told.stdout
    assert "Traceback" not in told.stdout + told.stderr


@pytest.mark.parametrize("command", ["demo", "lab", "sandbox"])
def test_every_command_explains_itself(command: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "kit.cli", command, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0
    assert f"kit {command}" in told.stdout
    assert told.stderr == ""


def test_an_unknown_command_is_refused_with_the_known_ones() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "kit.cli", "dmeo"], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 2
    assert "demo" in told.stderr
