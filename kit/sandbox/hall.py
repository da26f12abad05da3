"""Everything one sandbox process holds, and the order in which things happen: match, write down, tell.

All of it runs on one event loop's thread; the rooms it joins are pure, so this is where time is read.
"""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Callable, Mapping
from decimal import Decimal

from kit.clock import SECOND, Clock
from kit.errors import StoreError
from kit.sandbox.auth import Credential, KeyKind
from kit.sandbox.exchange import Exchange
from kit.sandbox.faults import Faults, Plan
from kit.sandbox.front import Answer, Front, Request
from kit.sandbox.market import Market
from kit.sandbox.receipts import Change
from kit.sandbox.refusals import Refusal
from kit.sandbox.store import Store
from kit.sandbox.wire import Json

log = logging.getLogger("kit.sandbox")

DEFAULT_ACCOUNT = "default"
OPENING_QUOTE = Decimal(100_000)
OPENING_BASE = Decimal(1)
"""A new account holds this much of every asset that only prices others, and of every asset that is traded."""
HEARTBEAT = 5 * SECOND
"""How often the time up to which the market was matched is written down, while orders are open."""
_KEY_ALPHABET = string.ascii_letters + string.digits


class Hall:
    """One sandbox: its exchange, front door, file and faults.

    ``clock`` is the exchange's, which a tape kept in its own times sets to another era; ``wall`` is everybody's: faults
    and idleness go by it.
    """

    def __init__(self, market: Market, store: Store, faults: Plan, clock: Clock, wall: Clock) -> None:
        now = clock.now()
        orders, fills = store.orders(), store.fills()
        used = [order.id for order in orders] + [fill.id for fill in fills]
        self.exchange = Exchange(market, first_id=max(used, default=0) + 1)
        self.front = Front(self.exchange)
        self.faults = Faults(faults, wall.now())
        self.clock = clock
        self.wall = wall
        self.touched = wall.now()
        """When a client was last heard of, µs by the wall."""
        self.broken: StoreError | None = None
        """Set when the disk failed: memory is ahead of it, so the process must end."""
        self.tell: Callable[[list[Change]], None] = lambda _changes: None
        """Hears every change once it is durable."""
        self._store = store
        self._beat = 0
        self._open(now)
        self.exchange.restore(orders, fills)
        self.exchange.catch_up(int(store.get("seen") or now), now)
        self.settle()

    @property
    def credential(self) -> Credential:
        """The default account's HMAC key."""
        known = self.exchange.keys.values()
        return next(c for c in known if (c.account, c.kind) == (DEFAULT_ACCOUNT, KeyKind.HMAC))

    def answer(self, request: Request) -> Answer:
        """A REST request, answered once what it did is durable."""
        answer = self.front.answer(request, self.clock.now())
        return answer if self.settle() else self._unknown()

    def call(self, name: str, params: Mapping[str, Json], unit: str | None) -> Answer:
        """A WebSocket API request, likewise."""
        answer = self.front.call(name, params, self.clock.now(), unit=unit)
        return answer if self.settle() else self._unknown()

    def advance(self, now: int) -> None:
        """Follow the market and match; then write down and tell."""
        self.exchange.advance(now)
        self.settle()
        if now - self._beat >= HEARTBEAT and any(member.open for member in self.exchange.members.values()):
            self._beat = now
            self._store.put("seen", now)

    def settle(self) -> bool:
        """Make what has happened durable, then tell it; False when the disk did not take it."""
        changes = self.exchange.take()
        if not changes or self.broken:
            return not self.broken
        try:
            self._store.commit(changes)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - the error says it all; its traceback would only show SQLite
            self.broken = error
            return False
        self.tell(changes)
        return True

    def new_account(self, name: str, cash: Mapping[str, Decimal] | None = None) -> None:
        """Open an account, with the usual opening balances unless told."""
        now = self.clock.now()
        holdings = dict(cash) if cash is not None else self._opening()
        self._store.add_account(name, holdings, now)
        self.exchange.open_account(name, holdings, now)

    def new_key(self, account: str, public_key: str | None = None) -> Credential:
        """A key for an account: HMAC with a fresh secret, or Ed25519 for the public key given in PEM."""
        kind = KeyKind.HMAC if public_key is None else KeyKind.ED25519
        credential = Credential(_random(), account, kind, public_key or _random())
        self._store.add_key(credential)
        self.exchange.register(credential)
        return credential

    def close(self) -> None:
        """Write down how far the market was matched, and let go of the file."""
        if not self.broken:
            self._store.put("seen", self.clock.now())
        self._store.close()

    def _open(self, now: int) -> None:
        for name, cash, created in self._store.accounts():
            self.exchange.open_account(name, cash, created)
        for credential in self._store.credentials():
            self.exchange.register(credential)
        if DEFAULT_ACCOUNT not in self.exchange.members:
            self.new_account(DEFAULT_ACCOUNT)
            self.new_key(DEFAULT_ACCOUNT)
            self._store.put("seen", now)

    def _opening(self) -> dict[str, Decimal]:
        instruments = self.exchange.market.instruments.values()
        bases = {instrument.base for instrument in instruments}
        quotes = {instrument.quote for instrument in instruments} - bases
        return dict.fromkeys(sorted(quotes), OPENING_QUOTE) | dict.fromkeys(sorted(bases), OPENING_BASE)

    def _unknown(self) -> Answer:
        refusal = Refusal("UNEXPECTED_RESP")
        return Answer(refusal.status, refusal.body)


def _random() -> str:
    return "".join(secrets.choice(_KEY_ALPHABET) for _ in range(64))
