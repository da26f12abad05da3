"""papertape: explore markets, prototype strategies and paper-trade from a notebook.

    import kit

    venue = kit.connect()                              # the embedded sandbox exchange
    candles = venue.candles("BTC/USDT", "1h")          # REST -> DataFrame
    live = venue.live("BTC/USDT", "1m")                # WebSocket -> a frame that follows
    broker = kit.paper(venue, cash=10_000)             # a paper account
    order = broker.buy("BTC/USDT", 0.01)               # running this cell again returns the same order

For education and research; no advice. Simulated results promise nothing.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from kit import errors
from kit.market.candles import resample
from kit.market.feed import FeedState
from kit.model import (
    Balance,
    Candle,
    Fees,
    Fill,
    Instrument,
    OrderRequest,
    OrderStatus,
    OrderType,
    Quote,
    Side,
    TimeInForce,
    Trade,
)
from kit.notebook import install_if_ipython, load_ipython_extension, unload_ipython_extension
from kit.notebook.nest import nest_asyncio
from kit.venue import Venue, connect

if TYPE_CHECKING:
    from kit.broker.accounts import journal, live, paper
    from kit.broker.broker import Broker
    from kit.broker.order import Order
    from kit.notebook.chart import chart
    from kit.orders.freshness import Freshness
    from kit.orders.risk import Limits
    from kit.research.backtest import backtest
    from kit.research.indicators import atr, ema, highest, lowest, rsi, sma, stdev
    from kit.research.report import Result
    from kit.research.run import Session, run
    from kit.research.strategy import Strategy

__version__ = "0.1.0"

__all__ = [
    "Balance",
    "Broker",
    "Candle",
    "FeedState",
    "Fees",
    "Fill",
    "Freshness",
    "Instrument",
    "Limits",
    "Order",
    "OrderRequest",
    "OrderStatus",
    "OrderType",
    "Quote",
    "Result",
    "Session",
    "Side",
    "Strategy",
    "TimeInForce",
    "Trade",
    "Venue",
    "atr",
    "backtest",
    "chart",
    "connect",
    "ema",
    "errors",
    "highest",
    "journal",
    "live",
    "load_ipython_extension",
    "lowest",
    "nest_asyncio",
    "paper",
    "resample",
    "rsi",
    "run",
    "sma",
    "stdev",
    "unload_ipython_extension",
]


_LATER = {
    "kit.broker.accounts": ("journal", "live", "paper"),
    "kit.broker.broker": ("Broker",),
    "kit.broker.order": ("Order",),
    "kit.notebook.chart": ("chart",),
    "kit.orders.freshness": ("Freshness",),
    "kit.orders.risk": ("Limits",),
    "kit.research.backtest": ("backtest",),
    "kit.research.indicators": ("atr", "ema", "highest", "lowest", "rsi", "sma", "stdev"),
    "kit.research.report": ("Result",),
    "kit.research.run": ("Session", "run"),
    "kit.research.strategy": ("Strategy",),
}
"""What is loaded when it is first asked for: market data alone needs none of it."""


def __getattr__(name: str) -> object:
    for module, names in _LATER.items():
        if name in names:
            globals()[name] = found = getattr(import_module(module), name)
            return found
    raise AttributeError(f"module 'kit' has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    """What Tab offers after ``kit.``: the face, not the rooms behind it."""
    return [*__all__, "__version__"]


install_if_ipython()
