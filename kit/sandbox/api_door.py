"""The WebSocket API: the REST endpoints under their method names, and the user's own events (web-socket-api.md)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from kit.clock import SECOND
from kit.sandbox.budgets import RATE_LIMITS
from kit.sandbox.front import Answer
from kit.sandbox.hall import Hall
from kit.sandbox.order_wire import user_events
from kit.sandbox.receipts import Change
from kit.sandbox.refusals import Refusal
from kit.sandbox.sockets import Client, Door
from kit.sandbox.wire import Json

PATH = "/ws-api/v3"
SUBSCRIBE = "userDataStream.subscribe.signature"
UNSUBSCRIBE = "userDataStream.unsubscribe"


class ApiDoor(Door):
    """Connections, and which accounts each of them listens to."""

    messages_per_second = None

    def __init__(self, hall: Hall) -> None:
        super().__init__(hall.faults, hall.wall)
        self._hall = hall
        self._subscriptions: dict[Client, dict[int, str]] = {}
        self._counts: dict[Client, int] = {}

    def knows(self, path: str) -> bool:
        return path == PATH

    def joined(self, client: Client) -> None:
        self._subscriptions[client], self._counts[client] = {}, 0

    def left(self, client: Client) -> None:
        del self._subscriptions[client], self._counts[client]

    def heard(self, client: Client, message: str | bytes) -> None:
        """A request: answered at once, late, wrongly or never, as the faults have it."""
        now = self._hall.touched = self._wall.now()
        wish = _decoded(message)
        name = str(wish.get("method", ""))
        target = f"WS {name}"
        if struck := self._faults.before(target, now):
            refusal = Refusal("TOO_MANY_REQUESTS", 6000, "1 MINUTE")
            refused = Answer(int(struck.kind), refusal.body)
            self._reply(client, wish, refused)
            return
        answer = self._carry_out(client, name, wish)
        if struck := self._faults.after(target, now):
            if struck.kind == "no_answer":
                return
            answer = Answer(int(struck.kind), Refusal("TIMEOUT").body)
        if held := self._faults.delay(target, now):
            asyncio.get_running_loop().call_later(held, self._reply, client, wish, answer)
        else:
            self._reply(client, wish, answer)

    def tell(self, changes: list[Change]) -> None:
        """Send what happened to an account to everybody who listens to it."""
        for client, subscriptions in self._subscriptions.items():
            for number, account in subscriptions.items():
                for change in changes:
                    if change.order.account == account:
                        self._events(client, number, change)

    def _events(self, client: Client, number: int, change: Change) -> None:
        for event in user_events(change, client.stamp):
            told = msgspec.json.encode({"subscriptionId": number, "event": event})
            self._publish(client, f"USER {event['e']}", told)

    def _publish(self, client: Client, target: str, told: bytes) -> None:
        """An event to one who listens, as the faults have it."""
        now = self._wall.now()
        copies = self._faults.copies(target, now)
        held = round(self._faults.delay(target, now) * SECOND) if copies else 0
        for _ in range(copies):
            share = None if client.frozen else self._faults.torn(target, now)
            if share is None:
                self.send(client, told, held)
            else:
                client.tear(told, share)

    def _carry_out(self, client: Client, name: str, wish: dict[str, Any]) -> Answer:
        params = wish.get("params") or {}
        if not isinstance(params, dict):
            return _refused(Refusal("INVALID_JSON"))
        if name == SUBSCRIBE:
            return self._subscribe(client, params)
        if name == UNSUBSCRIBE:
            return self._unsubscribe(client, params)
        return self._hall.call(name, params, client.unit)

    def _subscribe(self, client: Client, params: dict[str, Json]) -> Answer:
        try:
            account = self._hall.front.who(params, self._hall.clock.now())
        except Refusal as refusal:
            return _refused(refusal)
        number = self._counts[client]
        self._counts[client] += 1
        self._subscriptions[client][number] = account
        return Answer(200, {"subscriptionId": number})

    def _unsubscribe(self, client: Client, params: dict[str, Json]) -> Answer:
        """One subscription, or all of them."""
        mine, number = self._subscriptions[client], params.get("subscriptionId")
        if number is None:
            mine.clear()
        elif mine.pop(number, None) is None:
            return _refused(Refusal("INVALID_PARAMETER", "subscriptionId"))
        return Answer(200, {})

    def _reply(self, client: Client, wish: dict[str, Any], answer: Answer) -> None:
        body: dict[str, Json] = {"id": wish.get("id"), "status": answer.status}
        body |= {"result": answer.body} if answer.status == 200 else {"error": answer.body}
        if "x-mbx-used-weight-1m" in answer.headers:
            used = int(answer.headers["x-mbx-used-weight-1m"])
            body["rateLimits"] = [RATE_LIMITS[0] | {"count": used}]
        self.send(client, msgspec.json.encode(body))


def _decoded(message: str | bytes) -> dict[str, Any]:
    try:
        wish = msgspec.json.decode(message)
    except msgspec.MsgspecError:
        return {}
    return wish if isinstance(wish, dict) else {}


def _refused(refusal: Refusal) -> Answer:
    return Answer(refusal.status, refusal.body)
