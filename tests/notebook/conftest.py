"""An IPython shell of its own for every test that needs one."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from kit.notebook import unload_ipython_extension
from kit.sandbox import launcher
from kit.sandbox.launcher import Handle
from tests.notebook.browser import browser, lab, opened, watched

__all__ = ["browser", "lab", "opened", "watched"]  # fixtures of these tests, too


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real shell, without a history file, gone after the test."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    shell: Any = InteractiveShell.instance(config=config)
    yield shell
    unload_ipython_extension(shell)
    shell.restore_sys_module_state()
    atexit.unregister(shell.atexit_operations)
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


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """A sandbox that kernels find under ``sandbox_home``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(tmp_path_factory.mktemp("papertape")))
        handle = launcher.ensure(seed=7)
    yield handle
    handle.stop()


@pytest.fixture(scope="session")
def sandbox_home(sandbox: Handle) -> Path:
    """A data folder with a sandbox running in it, found by every kernel that has it as ``PAPERTAPE_HOME``."""
    return sandbox.place.parents[1]
