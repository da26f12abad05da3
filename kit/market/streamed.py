"""What a venue streams of an instrument, and what its words prove: the rest is folded from it or asked of REST."""

from __future__ import annotations

from dataclasses import dataclass

from kit.market.book import BookRule


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """As a ``Mirror`` has to know it."""

    book: BookRule = BookRule.IDS
    depth: int | None = None
    """Levels a side that a book streams, None where all of them."""
    bars: bool = True
    """It streams bars of every interval; else they are folded from trades."""
    quotes: bool = True
    """It streams every change of the best bid and ask; else the quote is the top of the book."""
    says_closed: bool = True
    """It says when a bar has closed; else a bar has when the next one begins."""
