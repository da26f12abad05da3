"""A small Kraken on loopback: WebSocket v2 and the public REST that goes with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from websockets.asyncio.server import ServerConnection

from kit.clock import MINUTE, SECOND
from tests.net.loopback import Bar, Loopback, Print

REMEMBERED = 720
"""Bars that REST tells, besides the one that forms."""
_REST_NAMES = {"XBTUSD": "BTC/USD", "ETHUSD": "ETH/USD"}
_KEYS = {"BTC/USD": "XXBTZUSD", "ETH/USD": "XETHZUSD"}


def iso(time: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class TinyKraken(Loopback):
    """Bars without trades are told, flat at the last price; the checksum of a book is over its digits."""

    def __init__(self) -> None:
        self.lies: set[str] = set()
        """Instruments whose next checksum is wrong."""
        self.withdrawn: set[str] = set()
        """Instruments that the streams do not know."""
        super().__init__()

    def bars(self, native: str) -> list[Bar]:
        """As Kraken tells them: the quiet minutes too, up to the one that forms."""
        traded, price, found = {bar.time: bar for bar in self.markets[native].bars()}, "", list[Bar]()
        for time in range(min(traded, default=self.now + 1), self.now + 1, MINUTE):
            found.append(traded.get(time) or Bar(time, [], price))
            price = found[-1].ohlc[3]
        return found

    # -- streams

    def tell_trade(self, native: str, print_: Print) -> None:
        self.publish("trade", native, lambda _: self._trades("update", native, [print_]))
        self.publish("ohlc", native, lambda _: self._ohlc("update", native, self.bars(native)[-1:]))

    def tell_level(self, native: str, side: str, price: str, qty: str) -> None:
        sides = {"bids": "", "asks": "", side: f'{{"price":{price},"qty":{qty}}}'}
        text = self._book("update", native, sides["bids"], sides["asks"])
        self.publish("book", native, lambda _: text)

    def heed(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        params, method = message["params"], message["method"]
        for native in params["symbol"]:
            told = {"method": method, "req_id": message["req_id"], "success": native not in self.withdrawn}
            if native in self.withdrawn:
                told |= {"error": f"Currency pair not supported {native}", "symbol": native}
                self.write(socket, json.dumps(told))
                continue
            change = self.subscribed[socket].add if method == "subscribe" else self.subscribed[socket].discard
            change((params["channel"], native))
            told["result"] = {"channel": params["channel"], "symbol": native}
            self.write(socket, json.dumps(told))
            if method == "subscribe":
                self.write(socket, self._snapshot(params["channel"], native))

    def _snapshot(self, channel: str, native: str) -> str:
        if channel == "trade":
            return self._trades("snapshot", native, self.markets[native].prints[-50:])
        if channel == "ohlc":
            return self._ohlc("snapshot", native, self.bars(native)[-3:])
        sides = (",".join(f'{{"price":{p},"qty":{q}}}' for p, q in side) for side in self.markets[native].best(100))
        return self._book("snapshot", native, *sides)

    def _trades(self, kind: str, native: str, prints: list[Print]) -> str:
        rows = ",".join(
            f'{{"symbol":"{native}","side":"{p.side}","price":{p.price},"qty":{p.qty},"ord_type":"market",'
            f'"trade_id":{p.id},"timestamp":"{iso(p.time)}"}}'
            for p in prints
        )
        return f'{{"channel":"trade","type":"{kind}","data":[{rows}]}}'

    def _ohlc(self, kind: str, native: str, bars: list[Bar]) -> str:
        rows = [
            {"symbol": native, "open": float(o), "high": float(h), "low": float(low), "close": float(c), "interval": 1,
             "trades": len(bar.prints), "volume": float(bar.volume), "vwap": vwap(bar),
             "interval_begin": iso(bar.time), "timestamp": iso(bar.time + MINUTE)}
            for bar in bars
            for o, h, low, c in [bar.ohlc]
        ]  # fmt: skip
        return f'{{"channel":"ohlc","type":"{kind}","timestamp":"{iso(self.now)}","data":{json.dumps(rows)}}}'

    def _book(self, kind: str, native: str, bids: str, asks: str) -> str:
        checksum = self._checksum(native)
        if native in self.lies and kind == "update":
            self.lies.discard(native)
            checksum ^= 1
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{native}","bids":[{bids}],"asks":[{asks}],'
            f'"checksum":{checksum},"timestamp":"{iso(self.now)}"}}]}}'
        )

    def _checksum(self, native: str) -> int:
        bids, asks = self.markets[native].best(10)
        digits = "".join(text.replace(".", "").lstrip("0") for level in [*asks, *bids] for text in level)
        return crc32(digits.encode())

    # -- REST

    def rest(self, name: str, path: str, params: dict[str, list[str]]) -> Any:
        given = {key: values[0] for key, values in params.items()}
        if name == "Time":
            return {"error": [], "result": {"unixtime": self.now // SECOND, "rfc1123": ""}}
        if name == "AssetPairs":
            return self._pairs(given.get("pair"))
        native = _REST_NAMES.get(given["pair"])
        if native is None:
            return {"error": ["EQuery:Unknown asset pair"]}
        return {"error": [], "result": {_KEYS[native]: getattr(self, f"rest_{name.lower()}")(native, given), "last": 0}}

    def _pairs(self, asked: str | None) -> Any:
        names = list(_REST_NAMES) if asked is None else asked.split(",")
        if any(name not in _REST_NAMES for name in names):
            return {"error": ["EQuery:Unknown asset pair"]}
        rows = {
            _KEYS[_REST_NAMES[name]]: {"altname": name, "wsname": f"{name[:3]}/USD", "lot_decimals": 8,
                                       "status": "online", "tick_size": "0.01", "ordermin": "0.0001", "costmin": "0.5"}
            for name in names
        }  # fmt: skip
        return {"error": [], "result": rows}

    def rest_ohlc(self, native: str, given: dict[str, str]) -> Any:
        since = int(given.get("since", -1)) * SECOND
        return [
            [bar.time // SECOND, *bar.ohlc, str(vwap(bar)), str(bar.volume), len(bar.prints)]
            for bar in self.bars(native)[-REMEMBERED - 1 :]
            if bar.time > since
        ]

    def rest_trades(self, native: str, given: dict[str, str]) -> Any:
        count, prints = int(given.get("count", 1000)), self.markets[native].prints
        if "since" in given:
            chosen = [p for p in prints if p.time * 1000 > int(given["since"])][:count]
        else:
            chosen = prints[-count:]
        return [[p.price, p.qty, p.time / SECOND, p.side[0], "m", "", p.id] for p in chosen]

    def rest_depth(self, native: str, given: dict[str, str]) -> Any:
        bids, asks = self.markets[native].best(int(given["count"]))
        return {side: [[p, q[:-5], 0] for p, q in levels] for side, levels in (("bids", bids), ("asks", asks))}

    def rest_ticker(self, native: str, given: dict[str, str]) -> Any:
        (bid,), (ask,) = self.markets[native].best(1)
        return {"a": [ask[0], "1", ask[1][:-5]], "b": [bid[0], "1", bid[1][:-5]]}


def vwap(bar: Bar) -> float:
    """The average price, 0 where nothing was traded."""
    return float(bar.worth / bar.volume) if bar.prints else 0.0
