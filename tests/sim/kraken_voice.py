"""Kraken Spot's wire, spoken by a simulated market (WebSocket v2; REST OHLC, Trades, Ticker)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any
from zlib import crc32

import msgspec

from kit.clock import SECOND
from kit.model import Channel
from kit.venues.base import Call
from kit.venues.kraken import Kraken
from kit.venues.kraken_wire import pair
from tests.sim.kraken_laws import KrakenWitness
from tests.sim.venue import LOT, TICK, Market, moment_text, price_text, qty_text
from tests.sim.voice import Bar, Heard, Said, Side, Top, stream

CHANNELS = {"trade": Channel.TRADE, "book": Channel.BOOK, "ohlc": Channel.CANDLE}
NAMES = {channel: name for name, channel in CHANNELS.items()}
KINDS = {"OHLC": "candles", "Trades": "trades", "Ticker": "touch"}
DEPTH = 10
"""Levels a side that the books stream: few, so that levels sink out of them and come back."""


class SimKraken(Kraken):
    """Kraken as it is, with shallower books, and fewer connections allowed."""

    streaming = replace(Kraken.streaming, attempts=(6, 20.0), depth=DEPTH)


class KrakenVoice:
    """Books in the stream, proven by checksums; bars that nobody says are closed; no quotes."""

    codec = SimKraken()
    natives = ("BTC/USD", "ETH/USD", "SOL/USD")
    intervals = ("1m",)
    throttle: Mapping[str, int] = {"1m": SECOND // 5}
    silence = (11.0, 25.0)
    witness = KrakenWitness

    # -- streams

    def trades(self, market: Market, first: int) -> list[Said]:
        if first == len(market.prints):
            return []
        return [
            _said(market, Channel.TRADE, "update", _trades(market, first), market.first_id + len(market.prints) - 1)
        ]

    def quote(self, market: Market, update: int, top: Top) -> list[Said]:
        return []

    def changes(self, market: Market, first: int, last: int, bids: Side, asks: Side) -> list[Said]:
        """What has come into the best levels or changed there, and what was removed; not what sank out of them."""
        before, after = market.marks[-2][1:], market.marks[-1][1:]
        new = [
            _news(_best(old, sign), _best(now, sign), now)
            for old, now, sign in zip(before, after, (1, -1), strict=True)
        ]
        if not new[0] and not new[1]:
            return []
        return [_said(market, Channel.BOOK, "update", [_book(market, new[0], new[1], market.now)], last)]

    def bar(self, market: Market, place: int, bar: Bar, at: int, *, closed: bool) -> list[Said]:
        """Told when there are trades; the last version of a bar like any other."""
        if not bar[6]:
            return []
        return [_said(market, Channel.CANDLE, "update", [_bar(market, place, bar)], market.opens(place), at)]

    def welcome(self, market: Market, channel: Channel) -> list[Said]:
        match channel:
            case Channel.TRADE:
                rows, number = _trades(market, max(0, len(market.prints) - 50)), 0
            case Channel.BOOK:
                bids, asks = (_best(side, sign) for side, sign in zip(market.marks[-1][1:], (1, -1), strict=True))
                rows, number = [_book(market, bids, asks, market.marked_at)], 0
            case _:
                known = list(market.bars_from(None, 50, market.now))
                rows, number = [_bar(market, place, bar) for place, bar in known if bar[6]], 0
        return [_said(market, channel, "snapshot", rows, number)]

    # -- the connection

    def hear(self, text: str) -> Heard:
        message = msgspec.json.decode(text)
        params = message["params"]
        streams = tuple(stream(native, CHANNELS[params["channel"]]) for native in params["symbol"])
        return Heard(message["method"] == "subscribe", message["req_id"], streams)

    def agree(self, heard: Heard, active: Set[str]) -> list[bytes]:
        return [self._answer(heard, name, {"success": True}) for name in heard.streams]

    def refuse(self, heard: Heard) -> list[tuple[str, bytes]]:
        words = {"success": False, "error": "Currency pair not supported"}
        return [(name, self._answer(heard, name, words)) for name in heard.streams]

    def _answer(self, heard: Heard, name: str, words: dict[str, Any]) -> bytes:
        native, _, channel = name.rpartition(" ")
        method = "subscribe" if heard.subscribes else "unsubscribe"
        said: dict[str, Any] = {"method": method, "req_id": heard.number, **words}
        if words["success"]:
            said["result"] = {"channel": NAMES[Channel(channel)], "symbol": native}
        else:
            said["symbol"] = native
        return msgspec.json.encode(said)

    def goodbye(self, now: int) -> bytes | None:
        return None

    def heartbeat(self, now: int) -> bytes | None:
        return b'{"channel":"heartbeat"}'

    def counted(self, frame: bytes, number: int) -> bytes:
        return frame

    # -- REST

    def asked(self, call: Call[Any]) -> tuple[str, str]:
        name = dict(call.params)["pair"]
        return next(native for native in self.natives if pair(native) == name), KINDS[call.path.rpartition("/")[2]]

    def answer(self, market: Market, call: Call[Any], time: int) -> bytes:
        asked, kind = dict(call.params), call.path.rpartition("/")[2]
        match kind:
            case "OHLC":
                return _result(_ohlc(market, int(asked.get("since", -1)), time))
            case "Trades":
                return _result(_prints(market, int(asked["since"]) if "since" in asked else None, asked["count"], time))
        bid, bid_lots, ask, ask_lots = market.quote_at(time)
        a, b = [price_text(ask), "1", f"{ask_lots / LOT:.3f}"], [price_text(bid), "1", f"{bid_lots / LOT:.3f}"]
        return _result({"a": a, "b": b})

    def limited(self, wait: int) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {}, b'{"error":["EAPI:Rate limit exceeded"]}'


def _said(market: Market, channel: Channel, kind: str, rows: list[Any], number: int, at: int | None = None) -> Said:
    at = market.now if at is None else at
    frame: dict[str, Any] = {"channel": NAMES[channel], "type": kind, "data": rows}
    if channel is Channel.CANDLE:
        frame["timestamp"] = moment_text(at)
    return Said(at, stream(market.native, channel), msgspec.json.encode(frame), number)


def _number(text: str) -> msgspec.Raw:
    """A bare JSON number with these digits."""
    return msgspec.Raw(text.encode())


def _trades(market: Market, first: int) -> list[dict[str, Any]]:
    return [
        {
            "symbol": market.native,
            "side": "sell" if made.buyer_is_maker else "buy",
            "price": _number(_price(made.ticks)),
            "qty": _number(qty_text(made.lots)),
            "ord_type": "market",
            "trade_id": market.first_id + place,
            "timestamp": moment_text(made.time),
        }
        for place, made in enumerate(market.prints[first:], first)
    ]


def _price(ticks: int) -> str:
    return f"{ticks // TICK}.{ticks % TICK}"


def _best(side: Side, sign: int) -> Side:
    return {ticks: side[ticks] for ticks in sorted(side, reverse=sign == 1)[:DEPTH]}


def _news(before: Side, after: Side, whole: Side) -> Side:
    changed = {ticks: lots for ticks, lots in after.items() if before.get(ticks) != lots}
    return {**changed, **{ticks: 0 for ticks in before if ticks not in whole}}


def _book(market: Market, bids: Side, asks: Side, time: int) -> dict[str, Any]:
    return {
        "symbol": market.native,
        "bids": _levels(bids),
        "asks": _levels(asks),
        "checksum": _checksum(*market.marks[-1][1:]),
        "timestamp": moment_text(time),
    }


def _levels(side: Side) -> list[dict[str, Any]]:
    return [{"price": _number(_price(ticks)), "qty": _number(qty_text(lots))} for ticks, lots in side.items()]


def _checksum(bids: Side, asks: Side) -> int:
    """Over the digits of price and quantity without leading zeros: ten asks, then ten bids, the best first."""
    best = [*_best(asks, -1).items(), *_best(bids, 1).items()]
    return crc32("".join(f"{ticks}{lots}00000" for ticks, lots in best).encode())


def _bar(market: Market, place: int, bar: Bar) -> dict[str, Any]:
    o, h, low, c, volume, worth, trades = bar[:7]
    return {
        "symbol": market.native,
        **{
            name: _number(_price(ticks))
            for name, ticks in zip(("open", "high", "low", "close"), (o, h, low, c), strict=True)
        },
        "vwap": _number(f"{_average(volume, worth):.8f}"),
        "volume": _number(qty_text(volume)),
        "trades": trades,
        "interval_begin": moment_text(market.opens(place)),
        "interval": 1,
    }


def _average(volume: int, worth: int) -> float:
    return worth / volume / TICK if volume else 0.0


def _result(rows: Any) -> bytes:
    return msgspec.json.encode({"error": [], "result": {"XXBTZUSD": rows, "last": "1"}})


def _ohlc(market: Market, since: int, time: int) -> list[list[Any]]:
    return [
        [
            market.opens(place) // SECOND,
            *map(_price, bar[:4]),
            f"{_average(bar[4], bar[5]):.8f}",
            qty_text(bar[4]),
            bar[6],
        ]
        for place, bar in market.bars_from(None, 720, time)
        if market.opens(place) // SECOND > since
    ]


def _prints(market: Market, since: int | None, count: str, time: int) -> list[list[Any]]:
    """The newest, or the oldest after ``since`` (ns)."""
    places = list(range(market.trades_by(time)))
    if since is None:
        chosen = places[-int(count) :]
    else:
        chosen = [place for place in places if market.prints[place].time * 1000 > since][: int(count)]
    rows = []
    for place in chosen:
        made = market.prints[place]
        when = _number(f"{made.time // SECOND}.{made.time % SECOND:06d}")
        side = "s" if made.buyer_is_maker else "b"
        rows.append([_price(made.ticks), qty_text(made.lots), when, side, "m", "", market.first_id + place])
    return rows
