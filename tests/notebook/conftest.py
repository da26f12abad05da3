"""An IPython shell of its own for every test that needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from kit.notebook import unload_ipython_extension


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real shell, without a history file, gone after the test."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    assert shell.history_manager is not None
    shell.history_manager.enabled = False
    yield shell
    unload_ipython_extension(shell)
    InteractiveShell.clear_instance()


def make_candles(count: int, **attrs: Any) -> pd.DataFrame:
    """A frame by the candle schema, its last bar forming."""
    walk = 100 + np.sin(np.arange(count + 1) / 3) * 5
    index = pd.date_range("2026-01-01", periods=count, freq="min", tz="UTC", name="time").as_unit("us")
    closed = np.arange(count) < count - 1
    columns = {
        "open": walk[:-1],
        "high": np.maximum(walk[:-1], walk[1:]) + 1,
        "low": np.minimum(walk[:-1], walk[1:]) - 1,
        "close": walk[1:],
        "volume": np.full(count, 2.0),
        "quote_volume": np.full(count, 200.0),
        "trades": np.full(count, 7),
        "closed": closed,
    }
    frame = pd.DataFrame(columns, index=index)
    origin = {"symbol": "BTC/USDT", "interval": "1m", "venue": "binance", "environment": "SANDBOX", "holes": []}
    frame.attrs.update({**origin, **attrs})
    return frame


@pytest.fixture
def candle_frame() -> Callable[..., pd.DataFrame]:
    """``candle_frame(count, **attrs)``: a frame by the candle schema, its last bar forming."""
    return make_candles
