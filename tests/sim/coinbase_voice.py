"""Coinbase Advanced Trade's wire, spoken by a simulated market (channels level2, market_trades, heartbeats; REST)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

import msgspec

from kit.clock import SECOND
from kit.model import Channel
from kit.venues.base import Call
from kit.venues.coinbase import PAGE, TRADES, Coinbase
from tests.sim.coinbase_laws import CoinbaseWitness
from tests.sim.venue import LOT, TICK, Market, moment_text
from tests.sim.voice import Bar, Heard, Said, Side, Top, stream

CHANNELS = {"market_trades": Channel.TRADE, "level2": Channel.BOOK}
NAMES = {channel: name for name, channel in CHANNELS.items()}
KINDS = {"candles": "candles", "ticker": "trades", "product_book": "touch"}
BATCH = SECOND // 4
"""µs for which prints are gathered."""
UNCOUNTED = b'"sequence_num":-1'


class SimCoinbase(Coinbase):
    """Coinbase as it is, with fewer connections allowed, so that the budget is felt."""

    streaming = replace(Coinbase.streaming, attempts=(6, 20.0))


class CoinbaseVoice:
    """Books in the stream, of which only the connection's numbers tell a loss; no bars, no quotes.

    Markets are silent for so long that some bars are never traded in: REST leaves those out.
    """

    codec = SimCoinbase()
    natives = ("BTC-USD", "ETH-USD", "SOL-USD")
    intervals = ("1m",)
    throttle: Mapping[str, int] = {"1m": SECOND}
    silence = (11.0, 100.0)
    witness = CoinbaseWitness

    # -- streams

    def trades(self, market: Market, first: int) -> list[Said]:
        """Prints come a quarter of a second later at most, the newest first; some of them a second time."""
        rows = _prints(market, range(first - (first % 7 == 0 < first), len(market.prints)))
        if first % 5 == 0:
            rows = rows[:1] + rows
        return [_said(market, Channel.TRADE, rows, at=(market.now // BATCH + 1) * BATCH)] if rows else []

    def quote(self, market: Market, update: int, top: Top) -> list[Said]:
        return []

    def changes(self, market: Market, first: int, last: int, bids: Side, asks: Side) -> list[Said]:
        return [_said(market, Channel.BOOK, _levels(bids, asks, market.now), number=last)]

    def bar(self, market: Market, place: int, bar: Bar, at: int, *, closed: bool) -> list[Said]:
        return []

    def welcome(self, market: Market, channel: Channel) -> list[Said]:
        if channel is Channel.TRADE:
            count = len(market.prints)
            return [_said(market, channel, _prints(market, range(max(0, count - TRADES), count)), "snapshot")]
        return [_said(market, channel, _levels(*market.marks[-1][1:], market.marked_at), "snapshot")]

    # -- the connection

    def hear(self, text: str) -> Heard:
        """There are no numbers in what is asked: here 1 stands for all that is subscribed to, 0 for the rest."""
        message = msgspec.json.decode(text)
        channel = CHANNELS.get(message["channel"])
        streams = (stream(native, channel) for native in message["product_ids"]) if channel else ()
        subscribes = message["type"] == "subscribe"
        return Heard(subscribes, int(subscribes), tuple(streams))

    def agree(self, heard: Heard, active: Set[str]) -> list[bytes]:
        """All that is subscribed, whatever was asked."""
        told: dict[str, list[str]] = {"heartbeats": ["heartbeats"]}
        for name in sorted(active):
            native, _, channel = name.rpartition(" ")
            told.setdefault(NAMES[Channel(channel)], []).append(native)
        return [_frame("subscriptions", 0, {"subscriptions": told})]

    def refuse(self, heard: Heard) -> list[tuple[str, bytes]]:
        return [(",".join(heard.streams), b'{"type":"error","message":"failure to subscribe"}')]

    def goodbye(self, now: int) -> bytes | None:
        return None

    def heartbeat(self, now: int) -> bytes | None:
        return _frame("heartbeats", now, {"current_time": moment_text(now), "heartbeat_counter": now // SECOND})

    def counted(self, frame: bytes, number: int) -> bytes:
        return frame.replace(UNCOUNTED, b'"sequence_num":%d' % number)

    # -- REST

    def asked(self, call: Call[Any]) -> tuple[str, str]:
        *_, native, what = call.path.split("/")
        return dict(call.params).get("product_id", native), KINDS[what]

    def answer(self, market: Market, call: Call[Any], time: int) -> bytes:
        asked = dict(call.params)
        span = int(asked.get("start", 0)) * SECOND, int(asked.get("end", time // SECOND)) * SECOND
        match call.path.rpartition("/")[2]:
            case "candles":
                return msgspec.json.encode({"candles": _candles(market, *span, time)})
            case "ticker":
                first, last = market.trades_by(span[0] - 1), market.trades_by(min(span[1] + SECOND, time))
                places = range(max(first, last - int(asked["limit"])), last)
                return msgspec.json.encode({"trades": _prints(market, places)})
        bid, bid_lots, ask, ask_lots = market.quote_at(time)
        bids, asks = ([{"price": _price(at), "size": _size(lots)}] for at, lots in ((bid, bid_lots), (ask, ask_lots)))
        book = {"product_id": market.native, "time": moment_text(time), "bids": bids, "asks": asks}
        return msgspec.json.encode({"pricebook": book})

    def limited(self, wait: int) -> tuple[int, Mapping[str, str], bytes]:
        return 429, {}, b'{"error":"RESOURCE_EXHAUSTED","message":"too many requests"}'


def _said(
    market: Market, channel: Channel, rows: list[Any], kind: str = "update", *, at: int | None = None, number: int = 0
) -> Said:
    at = market.now if at is None else at
    if channel is Channel.TRADE:
        frame = _frame("market_trades", at, {"type": kind, "trades": rows})
    else:
        frame = _frame("l2_data", at, {"type": kind, "product_id": market.native, "updates": rows})
    return Said(at, stream(market.native, channel), frame, number)


def _frame(channel: str, time: int, event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {"channel": channel, "timestamp": moment_text(time), "sequence_num": -1, "events": [event]}
    )


def _price(ticks: int) -> str:
    return f"{ticks // TICK}.{ticks % TICK}"


def _size(lots: int) -> str:
    return f"{lots // LOT}.{lots % LOT:03d}" if lots else "0"


def _prints(market: Market, places: Iterable[int]) -> list[dict[str, str]]:
    """The newest first; the side is the maker's."""
    return [
        {
            "product_id": market.native,
            "trade_id": str(market.first_id + place),
            "price": _price(market.prints[place].ticks),
            "size": _size(market.prints[place].lots),
            "time": moment_text(market.prints[place].time),
            "side": "BUY" if market.prints[place].buyer_is_maker else "SELL",
        }
        for place in sorted(places, reverse=True)
    ]


def _levels(bids: Side, asks: Side, time: int) -> list[dict[str, str]]:
    return [
        {"side": side, "event_time": moment_text(time), "price_level": _price(ticks), "new_quantity": _size(lots)}
        for side, levels in (("bid", bids), ("offer", asks))
        for ticks, lots in levels.items()
    ]


def _candles(market: Market, start: int, end: int, time: int) -> list[dict[str, str]]:
    """The newest first; those that nobody traded in are not there."""
    rows = []
    for place, bar in market.bars_from(start, PAGE + 50, time):
        if bar[6] and market.opens(place) <= end:
            prices = zip(("open", "high", "low", "close"), map(_price, bar[:4]), strict=True)
            rows.append({"start": str(market.opens(place) // SECOND), **dict(prices), "volume": _size(bar[4])})
    return rows[::-1]
