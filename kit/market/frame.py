"""Live frames: columns in a ring inside, plain DataFrames outside.

Candles change while they form; trades, quotes and tops of the book never do. ``kit.market.ring`` says how a reader
and the writer stay out of each other's way.
"""

from kit.market.candle_ring import CandleRing
from kit.market.quote_ring import QuoteRing
from kit.market.ring import SOURCES
from kit.market.trade_ring import TradeRing

__all__ = ["SOURCES", "CandleRing", "QuoteRing", "TradeRing"]
