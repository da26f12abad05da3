"""Binance's rules about client ids, judged twice: the simulated venue and the sandbox answer the same questions."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from kit.clock import MINUTE
from kit.model import OrderRequest, OrderType, Side
from kit.sandbox.auth import Credential, KeyKind
from kit.sandbox.exchange import Exchange
from kit.sandbox.front import Front, Request
from kit.sandbox.synthetic import Synthetic
from kit.venues.base import Call, Key
from kit.venues.binance import BINANCE
from tests.sim_orders.market import BTC
from tests.sim_orders.test_conformance import Bench
from tests.sim_orders.test_sim_orders import VOICES

KEY = Key("vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A", "s" * 64)
Verdict = tuple[int, int | None, str]


class Sandbox:
    """The sandbox's exchange behind its front door, without a process."""

    def __init__(self) -> None:
        market = Synthetic(7)
        self.exchange, self.now = Exchange(market), market.begins + MINUTE
        self.cash = Decimal(100_000)
        self.exchange.open_account("me", {"USDT": self.cash}, self.now)
        self.exchange.register(Credential(KEY.id, "me", KeyKind.HMAC, KEY.secret))
        self.front = Front(self.exchange)
        self.instrument = market.instruments["BTCUSDT"]
        quote = market.quote("BTCUSDT", now=self.now)
        self.price = self.instrument.price(quote.bid)

    def ask(self, call: Call[Any]) -> tuple[int, Any]:
        signed = BINANCE.sign(call, KEY, self.now)
        text = BINANCE.encode(signed.params)
        query, body = ("", text) if call.method == "POST" else (text, "")
        answer = self.front.answer(Request(call.method, call.path, query, body, KEY.id), self.now)
        return answer.status, json.loads(json.dumps(answer.body))


class Emulation:
    """The simulated venue in Binance's words."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(VOICES["binance-wire"], folder)
        self.instrument = BTC
        self.price = self.bench.world.venue.markets[BTC.symbol].price(0)
        self.cash = self.bench.world.venue.total["USDT"]

    def ask(self, call: Call[Any]) -> tuple[int, Any]:
        door, now = self.bench.world.door, self.bench.world.agenda.now
        status, _, body = door._answer(self.bench.voice.asked(call), now)
        return status, json.loads(body)


def story(judge: Sandbox | Emulation) -> list[Verdict]:
    """One order's life in questions: how each is answered."""
    instrument, price = judge.instrument, judge.price
    far = OrderRequest(
        symbol=instrument.symbol,
        side=Side.BUY,
        type=OrderType.LIMIT,
        qty=Decimal("0.2"),
        price=instrument.price(price * Decimal("0.9")),
    )
    near = msgspec.structs.replace(far, price=instrument.price(price * Decimal("1.05")))
    dear = msgspec.structs.replace(far, qty=instrument.qty(judge.cash / price * 2))
    codec = BINANCE
    calls: list[Call[Any]] = [
        codec.query(instrument, "x1"),
        codec.cancel(instrument, "x1"),
        codec.order(instrument, far, "x1"),
        codec.order(instrument, far, "x1"),
        codec.query(instrument, "x1"),
        codec.cancel(instrument, "x1"),
        codec.cancel(instrument, "x1"),
        codec.query(instrument, "x1"),
        codec.order(instrument, near, "x1"),
        codec.order(instrument, near, "x1"),
        codec.cancel(instrument, "x1"),
        codec.query(instrument, "x1"),
        codec.order(instrument, dear, "x2"),
        codec.query(instrument, "x2"),
    ]
    verdicts: list[Verdict] = []
    for call in calls:
        status, body = judge.ask(call)
        words = body.get("status", body.get("msg", ""))
        verdicts.append((status, body.get("code"), words))
    return verdicts


def test_the_sandbox_and_the_simulated_venue_agree_about_binances_rules(tmp_path: Path) -> None:
    emulation = Emulation(tmp_path)
    try:
        assert story(emulation) == story(Sandbox())
    finally:
        emulation.bench.world.close()
