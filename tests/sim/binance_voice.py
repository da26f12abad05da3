"""Binance Spot's wire, spoken by a simulated market (web-socket-streams.md, rest-api.md)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

import msgspec

from kit.clock import SECOND
from kit.model import Channel
from kit.venues.base import Call
from kit.venues.binance import Binance
from tests.sim.laws import Witness
from tests.sim.venue import Market, price_text, qty_text, worth_text
from tests.sim.voice import Bar, Heard, Said, Side, Top, stream

CHANNELS = {"trade": Channel.TRADE, "bookTicker": Channel.QUOTE, "depth": Channel.BOOK, "kline": Channel.CANDLE}
KINDS = {
    "klines": "candles",
    "trades": "trades",
    "historicalTrades": "trades",
    "aggTrades": "touch",
    "depth": "book",
}


class SimBinance(Binance):
    """Binance as it is, with fewer connections allowed, so that the budget is felt."""

    streaming = replace(Binance.streaming, attempts=(6, 20.0))


class BinanceVoice:
    """Every frame in the combined form; bars closed by the venue's word; the book's snapshot only by REST."""

    codec = SimBinance()
    natives = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
    intervals = ("1s", "1m")
    throttle: Mapping[str, int] = {"1s": SECOND, "1m": 2 * SECOND}
    silence = (11.0, 25.0)
    witness = Witness

    # -- streams

    def trades(self, market: Market, first: int) -> list[Said]:
        return [self._trade(market, place) for place in range(first, len(market.prints))]

    def _trade(self, market: Market, place: int) -> Said:
        made, trade, native = market.prints[place], market.first_id + place, market.native
        ms, maker = made.time // 1000, "true" if made.buyer_is_maker else "false"
        frame = (
            f'{{"stream":"{native.lower()}@trade","data":{{"e":"trade","E":{ms},"s":"{native}","t":{trade},'
            f'"p":"{price_text(made.ticks)}","q":"{qty_text(made.lots)}","T":{ms},"m":{maker},"M":true}}}}'
        )
        return Said(market.now, stream(native, Channel.TRADE), frame.encode(), trade)

    def quote(self, market: Market, update: int, top: Top) -> list[Said]:
        native, (bid, bid_lots, ask, ask_lots) = market.native, top
        frame = (
            f'{{"stream":"{native.lower()}@bookTicker","data":{{"u":{update},"s":"{native}","b":"{price_text(bid)}",'
            f'"B":"{qty_text(bid_lots)}","a":"{price_text(ask)}","A":"{qty_text(ask_lots)}"}}}}'
        )
        return [Said(market.now, stream(native, Channel.QUOTE), frame.encode(), update)]

    def changes(self, market: Market, first: int, last: int, bids: Side, asks: Side) -> list[Said]:
        native = market.native
        frame = (
            f'{{"stream":"{native.lower()}@depth@100ms","data":{{"e":"depthUpdate","E":{market.now // 1000},'
            f'"s":"{native}","U":{first},"u":{last},"b":[{_levels(bids)}],"a":[{_levels(asks)}]}}}}'
        )
        return [Said(market.now, stream(native, Channel.BOOK), frame.encode(), last)]

    def bar(self, market: Market, place: int, bar: Bar, at: int, *, closed: bool) -> list[Said]:
        opens, native, interval = market.opens(place), market.native, market.interval
        o, h, low, c, v, q, n, first, last = bar
        frame = (
            f'{{"stream":"{native.lower()}@kline_{interval}","data":{{"e":"kline","E":{at // 1000},"s":"{native}",'
            f'"k":{{"t":{opens // 1000},"T":{(opens + market.step) // 1000 - 1},"s":"{native}","i":"{interval}",'
            f'"f":{first},"L":{last},"o":"{price_text(o)}","c":"{price_text(c)}","h":"{price_text(h)}","l":"{price_text(low)}",'
            f'"v":"{qty_text(v)}","n":{n},"x":{"true" if closed else "false"},"q":"{worth_text(q)}",'
            '"V":"0","Q":"0","B":"0"}}}'
        )
        return [Said(at, stream(native, Channel.CANDLE), frame.encode(), opens)]

    def welcome(self, market: Market, channel: Channel) -> list[Said]:
        return []

    # -- the connection

    def hear(self, text: str) -> Heard:
        message = msgspec.json.decode(text)
        return Heard(message["method"] == "SUBSCRIBE", message["id"], tuple(map(_named, message["params"])))

    def agree(self, heard: Heard, active: Set[str]) -> list[bytes]:
        return [b'{"result":null,"id":%d}' % heard.number]

    def refuse(self, heard: Heard) -> list[tuple[str, bytes]]:
        words = b'{"error":{"code":2,"msg":"Invalid request"},"id":%d}' % heard.number
        return [(",".join(heard.streams), words)]

    def goodbye(self, now: int) -> bytes | None:
        return b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":%d}}' % (now // 1000)

    def heartbeat(self, now: int) -> bytes | None:
        return None

    def counted(self, frame: bytes, number: int) -> bytes:
        return frame

    # -- REST

    def asked(self, call: Call[Any]) -> tuple[str, str]:
        return dict(call.params)["symbol"], KINDS[call.path.rpartition("/")[2]]

    def answer(self, market: Market, call: Call[Any], time: int) -> bytes:
        asked, kind = dict(call.params), call.path.rpartition("/")[2]
        limit = int(asked["limit"])
        match kind:
            case "klines":
                start = int(asked["startTime"]) * 1000 if "startTime" in asked else None
                return _klines(market, start, limit, time)
            case "depth":
                return _depth(market, limit, time)
            case "aggTrades":
                return _aggregate(market, time)
        return _trades(market, int(asked["fromId"]) if "fromId" in asked else None, limit, time)

    def limited(self, wait: int) -> tuple[int, Mapping[str, str], bytes]:
        body = b'{"code":-1003,"msg":"Too much request weight used"}'
        return (418 if wait % 2 else 429), {"Retry-After": str(wait)}, body


def _named(name: str) -> str:
    """btcusdt@depth@100ms -> BTCUSDT book."""
    native, _, rest = name.partition("@")
    return stream(native.upper(), CHANNELS[rest.partition("@")[0].partition("_")[0]])


def _levels(side: Side) -> str:
    return ",".join(f'["{price_text(ticks)}","{qty_text(lots)}"]' for ticks, lots in side.items())


def _klines(market: Market, start: int | None, limit: int, time: int) -> bytes:
    rows = (_row(market, place, bar) for place, bar in market.bars_from(start, limit, time))
    return f"[{','.join(rows)}]".encode()


def _row(market: Market, place: int, bar: Bar) -> str:
    opens = market.opens(place) // 1000
    o, h, low, c = map(price_text, bar[:4])
    return (
        f'[{opens},"{o}","{h}","{low}","{c}","{qty_text(bar[4])}",{opens + market.step // 1000 - 1},'
        f'"{worth_text(bar[5])}",{bar[6]},"0","0","0"]'
    )


def _trades(market: Market, from_id: int | None, limit: int, time: int) -> bytes:
    count = market.trades_by(time)
    first = max(0, count - limit) if from_id is None else max(0, from_id - market.first_id)
    rows = (_trade_row(market, place) for place in range(first, min(count, first + limit)))
    return f"[{','.join(rows)}]".encode()


def _trade_row(market: Market, place: int) -> str:
    made = market.prints[place]
    return (
        f'{{"id":{market.first_id + place},"price":"{price_text(made.ticks)}","qty":"{qty_text(made.lots)}",'
        f'"quoteQty":"0","time":{made.time // 1000},"isBuyerMaker":{str(made.buyer_is_maker).lower()},'
        '"isBestMatch":true}'
    )


def _aggregate(market: Market, time: int) -> bytes:
    """The newest one."""
    count = market.trades_by(time)
    if not count:
        return b"[]"
    made, trade = market.prints[count - 1], market.first_id + count - 1
    return (
        f'[{{"a":{trade},"p":"{price_text(made.ticks)}","q":"{qty_text(made.lots)}","f":{trade},"l":{trade},'
        f'"T":{made.time // 1000},"m":{str(made.buyer_is_maker).lower()},"M":true}}]'
    ).encode()


def _depth(market: Market, limit: int, time: int) -> bytes:
    update = market.update_at(time)
    bids, asks = market.best_at(update, limit)
    return f'{{"lastUpdateId":{update},"bids":[{_levels(bids)}],"asks":[{_levels(asks)}]}}'.encode()
