"""A small Coinbase on loopback: Advanced Trade's market streams and the public REST that goes with them."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.asyncio.server import ServerConnection

from kit.clock import DAY, MINUTE, SECOND
from tests.net.loopback import Bar, Loopback, Print

MAKER = {"buy": "SELL", "sell": "BUY"}
_SIDES = {"bids": "bid", "asks": "offer"}
_STEPS = {"ONE_MINUTE": MINUTE, "ONE_DAY": DAY}


def iso(time: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class TinyCoinbase(Loopback):
    """Frames are counted per connection; bars without trades are not told; lists come newest first."""

    SEPARATOR = "-"

    def __init__(self) -> None:
        self.numbers: Counter[ServerConnection] = Counter()
        self.refuses = ""
        """Words with which the next subscription is refused."""
        self.corrected: dict[int, str] = {}
        """Bars of which REST tells another volume, by open time."""
        super().__init__()

    # -- streams

    def tell_trade(self, native: str, print_: Print) -> None:
        self.publish("market_trades", native, lambda socket: self._trades(socket, "update", native, [print_]))

    def tell_level(self, native: str, side: str, price: str, qty: str) -> None:
        change = self._change(side, price, qty)
        self.publish("level2", native, lambda socket: self._book(socket, "update", native, [change]))

    def heed(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        if self.refuses and message["channel"] != "heartbeats":
            words, self.refuses = self.refuses, ""
            self.write(socket, json.dumps({"type": "error", "message": words}))
            return
        channel, channels = message["channel"], self.subscribed[socket]
        for native in message.get("product_ids", ["all"]):
            if message["type"] == "unsubscribe":
                channels.discard((channel, native))
                continue
            channels.add((channel, native))
            if channel == "market_trades":
                self.write(socket, self._trades(socket, "snapshot", native, self.markets[native].prints[-100:]))
            elif channel == "level2":
                self.write(socket, self._book(socket, "snapshot", native, self._levels(native)))
        told: dict[str, list[str]] = {}
        for name, native in sorted(channels):
            told.setdefault(name, []).append(native)
        self.write(socket, self._frame(socket, "subscriptions", [{"subscriptions": told}]))

    def _frame(self, socket: ServerConnection, channel: str, events: list[dict[str, Any]]) -> str:
        number, self.numbers[socket] = self.numbers[socket], self.numbers[socket] + 1
        frame = {"channel": channel, "timestamp": iso(self.now), "sequence_num": number, "events": events}
        return json.dumps(frame, separators=(",", ":"))

    def _trades(self, socket: ServerConnection, kind: str, native: str, prints: list[Print]) -> str:
        rows = [self._row(native, each) for each in reversed(prints)]
        return self._frame(socket, "market_trades", [{"type": kind, "trades": rows}])

    def _row(self, native: str, each: Print) -> dict[str, str]:
        return {"trade_id": str(each.id), "product_id": native, "price": each.price, "size": each.qty,
                "side": MAKER[each.side], "time": iso(each.time)}  # fmt: skip

    def _levels(self, native: str) -> list[dict[str, str]]:
        market = self.markets[native]
        sides = (("bids", market.bids), ("asks", market.asks))
        return [self._change(side, *level) for side, levels in sides for level in levels.items()]

    def _change(self, side: str, price: str, qty: str) -> dict[str, str]:
        return {"side": _SIDES[side], "event_time": iso(self.now), "price_level": price, "new_quantity": qty}

    def _book(self, socket: ServerConnection, kind: str, native: str, changes: list[dict[str, str]]) -> str:
        return self._frame(socket, "l2_data", [{"type": kind, "product_id": native, "updates": changes}])

    # -- REST

    def rest(self, name: str, path: str, params: dict[str, list[str]]) -> Any:
        given = {key: values[0] for key, values in params.items()}
        if name == "time":
            return {"iso": iso(self.now), "epochMillis": str(self.now // 1000)}
        if name == "products":
            return {"products": [self._product(n) for n in self.markets if n in params.get("product_ids", [n])]}
        if name == "product_book":
            bids, asks = self.markets[given["product_id"]].best(int(given["limit"]))
            sides = {
                side: [{"price": p, "size": q} for p, q in rows] for side, rows in (("bids", bids), ("asks", asks))
            }
            return {"pricebook": {"product_id": given["product_id"], "time": iso(self.now), **sides}}
        native = path.split("/")[-2]
        if native not in self.markets:
            return 404, {"error": "NOT_FOUND", "message": "unknown product"}
        return self._candles(native, given) if name == "candles" else self._ticker(native, given)

    def _product(self, native: str) -> dict[str, Any]:
        base, _, quote = native.partition("-")
        return {"product_id": native, "product_type": "SPOT", "base_currency_id": base, "status": "online",
                "quote_currency_id": quote, "base_increment": "0.00000001", "price_increment": "0.01",
                "base_min_size": "0.0001", "base_max_size": "1000", "quote_min_size": "1", "quote_max_size": "9000000",
                }  # fmt: skip

    def _candles(self, native: str, given: dict[str, str]) -> Any:
        step, first, last = _STEPS[given["granularity"]], int(given["start"]) * SECOND, int(given["end"]) * SECOND
        if (last - first) // step > 350:
            return 400, {"error": "INVALID_ARGUMENT", "message": "number of candles requested should be less than 350"}
        found: dict[int, Bar] = {}
        for each in self.markets[native].prints:
            opened = each.time // step * step
            if first <= opened <= last:
                found.setdefault(opened, Bar(opened, [])).prints.append(each)
        rows = [
            {"start": str(bar.time // SECOND), "open": o, "high": h, "low": low, "close": c,
             "volume": self.corrected.get(bar.time, str(bar.volume))}
            for bar in found.values()
            for o, h, low, c in [bar.ohlc]
        ]  # fmt: skip
        return {"candles": rows[::-1]}

    def _ticker(self, native: str, given: dict[str, str]) -> Any:
        """The newest of a range, 100 at most, whatever is asked for."""
        first, last = int(given.get("start", 0)) * SECOND, int(given.get("end", 2**40)) * SECOND
        chosen = [each for each in self.markets[native].prints if first <= each.time < last]
        rows = [self._row(native, each) for each in reversed(chosen[-min(int(given["limit"]), 100) :])]
        return {"trades": rows, "best_bid": "1", "best_ask": "2"}
