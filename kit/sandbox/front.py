"""The front door: a request in, its answer out, for REST and the WebSocket API alike. Pure.

In the venue's order: is the address within its budget, is there such an endpoint, can the parameters be
read, who is asking and is it signed in time, and only then what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kit.sandbox import auth
from kit.sandbox.budgets import AddressBudget
from kit.sandbox.endpoint import Context, Endpoint, Security
from kit.sandbox.exchange import Exchange
from kit.sandbox.params import SIGNED, Args, pairs, parse
from kit.sandbox.private import PRIVATE
from kit.sandbox.public import PUBLIC
from kit.sandbox.refusals import Refusal
from kit.sandbox.wire import Json, Stamp, microseconds, milliseconds

ENDPOINTS: dict[tuple[str, str], Endpoint] = {(each.method, each.path): each for each in PUBLIC + PRIVATE}
METHODS: dict[str, Endpoint] = {each.method_name: each for each in PUBLIC + PRIVATE if each.method_name}
PLACING = ("order.place", "order.cancelReplace")
"""WebSocket API names of what counts as an order."""


@dataclass(frozen=True)
class Request:
    """One HTTP request: raw query and body, as they were signed."""

    method: str
    path: str
    query: str = ""
    body: str = ""
    key: str | None = None
    unit: str | None = None
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What goes back. ``body`` is JSON-able."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


def unit_stamp(unit: str | None) -> Stamp:
    """How times are spelled for ``X-MBX-TIME-UNIT`` / ``?timeUnit=``."""
    match (unit or "MILLISECOND").upper():
        case "MILLISECOND":
            return milliseconds
        case "MICROSECOND":
            return microseconds
    raise Refusal("INVALID_TIME_UNIT")


class Front:
    """Budgets, credentials and the way to the endpoints of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.addresses: dict[str, AddressBudget] = {}

    def budget(self, address: str) -> AddressBudget:
        """What this address has used."""
        return self.addresses.setdefault(address, AddressBudget())

    def answer(self, request: Request, now: int) -> Answer:
        """The answer to an HTTP request that arrives at ``now`` (µs)."""
        budget = self.budget(request.address)
        try:
            budget.admit(now)
            endpoint = ENDPOINTS.get((request.method, request.path))
            if endpoint is None:
                return Answer(404, _not_found(request, now), budget.headers(now))
            return self._serve(endpoint, request, budget, now)
        except Refusal as refusal:
            return _refused(refusal, budget, now)

    def _serve(self, endpoint: Endpoint, request: Request, budget: AddressBudget, now: int) -> Answer:
        args = _read(endpoint, request, budget, now)
        account = ""
        if endpoint.security is Security.SIGNED:
            credential = auth.identify(self.exchange.keys, request.key)
            auth.verify(credential, *auth.payload(request.query, request.body))
            auth.check_time(args, now)
            account = credential.account
        return self._run(endpoint, args, Context(self.exchange, now, unit_stamp(request.unit), account), budget)

    def call(self, name: str, params: Mapping[str, Json], now: int, *, unit: str | None = None) -> Answer:
        """The answer to a WebSocket API request: the same endpoints under their method names."""
        budget = self.budget("127.0.0.1")
        try:
            budget.admit(now)
            endpoint = _method(name)
            account = self.who(params, now) if endpoint.security is Security.SIGNED else ""
            texts = {key: auth.spelled(value) for key, value in params.items() if key != "apiKey"}
            args = parse(endpoint.specs, texts)
            budget.charge(endpoint.cost(args), now)
            return self._run(endpoint, args, Context(self.exchange, now, unit_stamp(unit), account), budget)
        except Refusal as refusal:
            return _refused(refusal, budget, now)

    def who(self, params: Mapping[str, Json], now: int) -> str:
        """The account of a signed WebSocket API request; refuses a bad key, signature or time."""
        credential = auth.identify(self.exchange.keys, params.get("apiKey"))
        signed = {key: auth.spelled(value) for key, value in params.items()}
        if "signature" not in signed:
            raise Refusal("MANDATORY", "signature")
        auth.verify(credential, auth.sorted_payload(signed), signed["signature"])
        known: dict[str, str] = {key: signed[key] for key in ("timestamp", "recvWindow", "signature") if key in signed}
        auth.check_time(parse(SIGNED, known), now)
        return credential.account

    def _run(self, endpoint: Endpoint, args: Args, context: Context, budget: AddressBudget) -> Answer:
        """Do what was asked for, give its weight back where success is free, and say what has been used."""
        body = endpoint.run(context, args)
        if endpoint.free_on_success:
            budget.charge(-endpoint.cost(args), context.now)
        counts: dict[str, str] = {}
        if endpoint.method_name in PLACING:
            counts = self.exchange.members[context.account].budget.headers(context.now)
        return Answer(200, body, budget.headers(context.now) | counts)


def _method(name: str) -> Endpoint:
    if name not in METHODS:
        raise Refusal("INVALID_PARAMETER", "method")
    return METHODS[name]


def _read(endpoint: Endpoint, request: Request, budget: AddressBudget, now: int) -> Args:
    """The parameters; reading them costs the endpoint's weight, failing to read them 1."""
    try:
        args = parse(endpoint.specs, pairs(request.query, "" if request.method == "GET" else request.body))
    except Refusal:
        budget.charge(1, now)
        raise
    budget.charge(endpoint.cost(args), now)
    return args


def _refused(refusal: Refusal, budget: AddressBudget, now: int) -> Answer:
    wait = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    return Answer(refusal.status, refusal.body, budget.headers(now) | wait)


def _not_found(request: Request, now: int) -> dict[str, Json]:
    return {"timestamp": now // 1000, "status": 404, "error": "Not Found", "path": request.path}
