"""What the codec's tests share: one instrument and one key."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kit.model import Instrument
from kit.venues.base import Key


@pytest.fixture(scope="session")
def btcusdt() -> Instrument:
    return Instrument(
        symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
    )


@pytest.fixture(scope="session")
def key() -> Key:
    """The published example's key (rest-api.md, "SIGNED request example"); it opens nothing."""
    return Key(
        "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
        "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    )
