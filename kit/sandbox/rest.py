"""The REST door: HTTP requests to the hall and its answers back, with the faults in force in between.

``/api`` and ``/sapi`` are the venue's. ``/sandbox`` is the sandbox's own: health, faults, keys and stop.
Changing anything there needs the header ``X-Sandbox-Token``, which is the default account's secret.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from kit.errors import UsageError
from kit.sandbox.faults import Fault, fault
from kit.sandbox.front import Answer, Request
from kit.sandbox.hall import Hall
from kit.sandbox.refusals import Refusal

METHODS = ["GET", "POST", "PUT", "DELETE"]


class RestDoor:
    """The ASGI app of one hall.

    ``abort`` cuts a request's connection; ``stop`` ends the process; ``facts`` is what health tells;
    ``latency`` (s) is how long a request is under way before it arrives.
    """

    def __init__(
        self,
        hall: Hall,
        *,
        abort: Callable[[HttpRequest], None],
        stop: Callable[[], None],
        facts: Mapping[str, object],
        latency: float = 0.0,
    ) -> None:
        self._hall = hall
        self._abort = abort
        self._stop = stop
        self._facts = facts
        self._latency = latency
        self.app = Starlette(
            routes=[
                Route("/sandbox/health", self._health),
                Route("/sandbox/faults", self._with_token(self._add_fault), methods=["POST"]),
                Route("/sandbox/faults", self._with_token(self._clear_faults), methods=["DELETE"]),
                Route("/sandbox/keys", self._with_token(self._add_key), methods=["POST"]),
                Route("/sandbox/stop", self._with_token(self._end), methods=["POST"]),
                Route("/{path:path}", self._venue, methods=METHODS),
            ]
        )

    # -- the venue's --------------------------------------------------------------------------------------------------

    async def _venue(self, http: HttpRequest) -> Response:
        hall, target = self._hall, f"{http.method} {http.url.path}"
        request = await _request(http)
        if self._latency:
            await asyncio.sleep(self._latency)
        now = hall.touched = hall.wall.now()
        if struck := hall.faults.before(target, now):
            return _json(_turned_away(struck))
        answer = hall.answer(request)
        if held := hall.faults.delay(target, now):
            await asyncio.sleep(held)
        if struck := hall.faults.after(target, now):
            return await self._lost(struck, http)
        return _json(answer)

    async def _lost(self, struck: Fault, http: HttpRequest) -> Response:
        """What the client gets instead of the answer to something that was carried out."""
        if struck.kind != "no_answer":
            return _json(_server_error(struck))
        await asyncio.sleep(struck.hang)
        self._abort(http)
        await asyncio.sleep(0)  # let the loop see the connection gone, so that nothing more is written to it
        return Response()

    # -- the sandbox's own --------------------------------------------------------------------------------------------

    def _with_token(self, act: Callable[[HttpRequest], Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        async def guarded(http: HttpRequest) -> Response:
            given = http.headers.get("x-sandbox-token", "")
            if not hmac.compare_digest(given.encode(), self._hall.credential.material.encode()):
                return _plain({"error": "X-Sandbox-Token must be the default account's secret"}, 401)
            try:
                return await act(http)
            except UsageError as error:
                return _plain({"error": str(error)}, 400)

        return guarded

    async def _health(self, _http: HttpRequest) -> Response:
        self._hall.touched = self._hall.wall.now()
        return _plain({**self._facts, "ended": self._hall.exchange.closed(self._hall.clock.now())})

    async def _add_fault(self, http: HttpRequest) -> Response:
        self._hall.faults.add(fault(await _object(http)), self._hall.wall.now())
        return _plain({})

    async def _clear_faults(self, _http: HttpRequest) -> Response:
        self._hall.faults.clear()
        return _plain({})

    async def _add_key(self, http: HttpRequest) -> Response:
        """``{"account": name, "public_key": PEM?, "cash": {asset: amount}?}``: a new key, and the account when new."""
        wish = await _object(http)
        account, public = wish.get("account"), wish.get("public_key")
        if not isinstance(account, str) or not account or not isinstance(public, str | None):
            raise UsageError('a key needs "account", a name, and may have "public_key", an Ed25519 public key in PEM')
        if account not in self._hall.exchange.members:
            self._hall.new_account(account, _cash(wish.get("cash")))
        made = self._hall.new_key(account, public)
        return _plain({"key": made.key, "secret": "" if public else made.material})

    async def _end(self, _http: HttpRequest) -> Response:
        self._stop()
        return _plain({})


async def _request(http: HttpRequest) -> Request:
    raw: bytes = http.scope["query_string"]
    return Request(
        method=http.method,
        path=http.url.path,
        query=raw.decode("latin-1"),
        body=(await http.body()).decode("utf-8", "replace"),
        key=http.headers.get("x-mbx-apikey"),
        unit=http.headers.get("x-mbx-time-unit"),
        address=http.client.host if http.client else "",
    )


async def _object(http: HttpRequest) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await http.body(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise UsageError(f"the body is not a JSON object: {error}") from None


def _cash(given: object) -> dict[str, Decimal] | None:
    if given is None:
        return None
    try:
        return {str(asset): Decimal(str(amount)) for asset, amount in dict(given).items()}  # type: ignore[call-overload]
    except (TypeError, ValueError, InvalidOperation):
        raise UsageError('"cash" is {"ASSET": "amount", …}') from None


def _turned_away(struck: Fault) -> Answer:
    """A 429 or 418 that the plan orders, in the venue's words."""
    if struck.kind == "429":
        refusal = Refusal("TOO_MANY_REQUESTS", 6000, "1 MINUTE")
    else:
        refusal = Refusal("BANNED", "further notice")
    return Answer(refusal.status, refusal.body, {"retry-after": str(struck.retry_after)})


def _server_error(struck: Fault) -> Answer:
    """A 5xx that says nothing about what happened; 504 in the venue's own words, the others as a proxy's page."""
    if struck.kind == "504":
        refusal = Refusal("TIMEOUT")
        return Answer(refusal.status, refusal.body)
    return Answer(int(struck.kind), None)


def _json(answer: Answer) -> Response:
    if answer.body is None:
        return Response(f"<html><body>{answer.status}</body></html>", answer.status, media_type="text/html")
    body = msgspec.json.encode(answer.body)
    return Response(body, answer.status, dict(answer.headers), media_type="application/json;charset=UTF-8")


def _plain(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
