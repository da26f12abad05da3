"""The account's owner: a drawn program that places, repeats, cancels and amends, and runs its cells again."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

import msgspec

from kit.broker.desk import Desk
from kit.clock import SECOND
from kit.model import OrderRequest, OrderStatus, OrderType, Side, TimeInForce
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from tests.sim_orders.market import INSTRUMENTS

if TYPE_CHECKING:
    from tests.sim_orders.world import World


class Owner:
    """What is meant outlives every process: after a crash the same cells are run again."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self._meant: dict[Intent, OrderRequest] = {}
        self._key = 0

    def request(self) -> OrderRequest:
        """Small enough to be paid for, mostly; near enough to the market to fill now or soon, mostly."""
        random = self._random
        market = self._world.venue.markets[random.choice(list(INSTRUMENTS))]
        side = random.choice((Side.BUY, Side.SELL))
        qty = Decimal(random.choice((200, 300, 500, 900))) / 1000
        symbol, near = market.instrument.symbol, random.randint(-4, 4)
        kind = random.choice(
            (OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP_LIMIT)
        )
        if kind is OrderType.MARKET:
            return OrderRequest(symbol=symbol, side=side, type=kind, qty=qty)
        if kind is OrderType.STOP_LIMIT:
            stop, limit = market.price(side.sign * random.randint(4, 8)), market.price(side.sign * 12)
            return OrderRequest(symbol=symbol, side=side, type=kind, qty=qty, price=limit, stop=stop)
        how = random.choice(("gtc", "gtc", "gtc", "ioc", "fok", "post"))
        return OrderRequest(
            symbol=symbol,
            side=side,
            type=kind,
            qty=qty,
            price=market.price(near),
            tif=TimeInForce.GTC if how == "post" else TimeInForce(how),
            post_only=how == "post",
        )

    def _put(self, desk: Desk, intent: Intent, request: OrderRequest, replaces: str = "") -> OrderRecord:
        self._meant.setdefault(intent, request)
        despite = ("account",) if self._random.random() < self._world.mix.despite else ()
        record = desk.place(self._meant[intent], intent, replaces=replaces, despite=despite)
        self._world.note("placed", record.client_id, record.status)
        self._world.laws.named(intent, record.client_id)
        return record

    def place(self, desk: Desk) -> None:
        self._key += 1
        intent = Intent.keyed(f"k{self._key}")
        if self._random.random() < 0.4:  # the cell is run again, perhaps while it still runs
            self._world.agenda.within(self._random.randint(0, 3 * SECOND), self._world.happen, "rerun")
        self._put(desk, intent, self.request())

    def pair(self, desk: Desk) -> None:
        """Two intents at once."""
        self._world.agenda.within(self._random.randint(0, 100_000), self._world.happen, "place")
        self.place(desk)

    def rerun(self, desk: Desk) -> None:
        if self._meant:
            intent = self._random.choice([*list(self._meant)[-3:], *self._meant])
            self._put(desk, intent, self._meant[intent])

    def again(self, desk: Desk) -> None:
        named = [intent for intent in self._meant if intent.parts[0] == "key"]
        if named:
            first = self._random.choice(named)
            times = sum(entry.parts == first.parts for entry in desk.intents.values())
            self._put(desk, Intent(first.parts, times), self._meant[first])

    def reconcile(self, desk: Desk) -> None:
        if self._world.process is not None:
            self._world.process.compare()

    def cancel(self, desk: Desk) -> None:
        record = self._open(desk)
        if record is not None:
            desk.cancel(record.client_id)

    def amend(self, desk: Desk) -> None:
        """As ``Broker.amend``: what is left of an order goes to another price, if the cancel wins the race."""
        record = self._open(desk)
        if record is None or record.request.type is not OrderType.LIMIT:
            return
        tick = INSTRUMENTS[record.request.symbol].tick
        price = (record.request.price or Decimal(0)) + self._random.choice((-2, -1, 1, 2)) * tick
        amended = msgspec.structs.replace(record.request, price=price, tif=TimeInForce.GTC, post_only=False)
        desk.vet(amended, replaces=record.client_id)
        desk.cancel(record.client_id)
        if record.status is OrderStatus.CANCELED and record.remaining:
            left = msgspec.structs.replace(amended, qty=record.remaining)
            self._put(desk, Intent(("amend", record.client_id)), left, record.client_id)

    def _open(self, desk: Desk) -> OrderRecord | None:
        found = [record for record in desk.open_orders if not desk.being_sent(record.client_id)]
        return self._random.choice(found) if found else None
