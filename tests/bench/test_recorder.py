"""Recording: what a frame costs the feed's thread, beside decoding the same frame, and what the recorder's own thread
spends on it. The frames are a real venue's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.clock import WallClock
from kit.net import recorder
from kit.net.recorder import Recorder
from kit.net.tape import read
from kit.venues.binance import BINANCE

pytestmark = pytest.mark.bench


def test_recording_costs_the_feed_less_than_a_microsecond_a_frame(
    recording: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "EVERY", 3600.0)  # the other thread's share is measured apart
    frames = [line.text.encode() for line in read(recording("binance_spot_btcusdt_20240808.gz"))][:20_000]
    decode, recorded, told = (float("inf"),) * 3
    for number in range(7):
        with Recorder("binance", tmp_path / f"{number}.gz", WallClock()) as tape:
            began = time.perf_counter()
            for frame in frames:
                tape.received(1, frame, 1)
            recorded = min(recorded, time.perf_counter() - began)
            tape._waiting.clear()
        began = time.perf_counter()
        for frame in frames:
            BINANCE.decode(frame)
        decode = min(decode, time.perf_counter() - began)
        began = time.perf_counter()
        recorder._packed([(1, 1, frame) for frame in frames[:4_000]])
        told = min(told, (time.perf_counter() - began) * len(frames) / 4_000)
    a_frame = 1e6 / len(frames)
    print(f"\n                        µs a frame\nhanding it over         {recorded * a_frame:10.2f}")
    print(f"decoding it             {decode * a_frame:10.2f}\nwriting it, elsewhere   {told * a_frame:10.2f}")
    assert recorded * a_frame < 1.0
    assert recorded < 0.3 * decode
