from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import pandas as pd
import pytest

from kit.notebook.static import MOST_ROWS, candle_picture, pill, table, text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (1e-05, "0.00001"),
        (49787.54, "49787.54"),
        (Decimal("0.0100"), "0.01"),
        (Decimal("0E-8"), "0"),
        (Decimal(10_000), "10000"),
        (pd.Timestamp("2026-01-02 03:04:05.678", tz="UTC"), "2026-01-02 03:04:05"),
        (True, "True"),
    ],
)
def test_values_read_as_people_write_them(value: object, said: str) -> None:
    assert text(value) == said


def test_whatever_a_venue_says_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    assert "<script" not in table([evil], [{evil: evil}], none=evil) + table([], [], none=evil) + pill(evil)


def test_a_long_table_is_cut_and_says_by_how_much() -> None:
    html = table(["n"], [{"n": n} for n in range(MOST_ROWS + 3)])
    assert html.count("<tr>") == MOST_ROWS + 1
    assert "and 3 more" in html


def test_no_rows_are_a_word() -> None:
    assert "nothing yet" in table(["n"], [], none="nothing yet")


def test_a_picture_has_a_body_and_a_wick_a_bar_inside_its_frame(candle_frame: Callable[..., pd.DataFrame]) -> None:
    svg = candle_picture(candle_frame(20), width=200, height=100)
    assert (svg.count("<rect"), svg.count("<path")) == (20, 20)
    assert all(0 <= float(y) <= 100 for y in re.findall(r' y="([\d.-]+)"', svg))
    assert svg.count('fill="none"') == 1, "the forming bar is hollow"


def test_flat_and_empty_frames_have_pictures_too(candle_frame: Callable[..., pd.DataFrame]) -> None:
    flat = candle_frame(3)
    flat[["open", "high", "low", "close"]] = 5.0
    assert candle_picture(flat).count("<rect") == 3
    assert candle_picture(flat.iloc[:0]) == ""
