"""Delays as they are: of the newest messages, in milliseconds, and negative where the clocks say so."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.market.latency import Delays, Latency
from kit.model import Trade
from kit.venues.binance import BINANCE


def figures(told: Latency) -> tuple[float, ...]:
    found = told.summary()
    assert found is not None
    return astuple(found)


def test_the_figures_are_in_milliseconds() -> None:
    told = Latency()
    for delay in (3_000, 1_000, 2_000):
        told.add(1_000_000_000 + delay, 1_000_000_000)
    assert figures(told) == pytest.approx((3, 1.0, 2.0, 2.98, 3.0))


def test_before_the_first_message_there_are_no_figures() -> None:
    assert Latency().summary() is None
    assert len(Latency()) == 0


def test_a_clock_that_is_behind_makes_delays_negative_and_its_offset_mends_them() -> None:
    told = Latency()
    told.add(10_000_000, 11_270_000)
    assert figures(told) == (1, -1270.0, -1270.0, -1270.0, -1270.0)
    mended = told.summary(offset_us=1_275_000)
    assert mended == Delays(1, 5.0, 5.0, 5.0, 5.0)


def test_only_the_newest_messages_count() -> None:
    told = Latency(window=4)
    for delay in (9_000, 9_000, 1_000, 1_000, 1_000, 2_000):
        told.add(delay, 0)
    assert figures(told) == pytest.approx((4, 1.0, 1.0, 1.97, 2.0))
    assert len(told) == 4


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=50), st.integers(-(10**7), 10**7))
def test_the_percentiles_are_those_of_the_delays_and_lie_in_order(delays: list[int], offset: int) -> None:
    told = Latency()
    for delay in delays:
        told.add(delay, 0)
    found = told.summary(offset)
    assert found is not None
    assert found.min <= found.p50 <= found.p99 <= found.max
    assert found.p50 == pytest.approx(np.median(delays) / 1000 + offset / 1000)


def test_a_reader_may_ask_while_messages_come() -> None:
    told, stop, wrong = Latency(window=64), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            found = told.summary()
            if found is not None and not (1.0 <= found.min <= found.max <= 2.0):
                wrong.append(found)

    reader = threading.Thread(target=read, name="kit-test-reader", daemon=True)
    reader.start()
    for n in range(20_000):
        told.add(1_000 + n % 1_001, 0)
    stop.set()
    reader.join()
    assert wrong == []


def test_the_recorder_of_the_binance_recording_is_behind_its_venue(recording: Callable[[str], Path]) -> None:
    told = Latency()
    with gzip.open(recording("binance_spot_btcusdt_20240808.gz"), "rb") as lines:
        for line in lines:
            if b'"e":"trade"' in line:
                ns, _, frame = line.partition(b" ")
                for event in BINANCE.decode(frame):
                    assert isinstance(event, Trade)
                    told.add(int(ns) // 1000, event.time)
    found = told.summary()
    assert found is not None
    assert found.count == 4096
    assert -1300 < found.p50 < -1200
