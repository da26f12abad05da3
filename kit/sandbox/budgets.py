"""Rate limits: what each address and account may ask per window, counted and announced as Binance does. Pure.

Windows are fixed and aligned to the clock. Going over the request weight is answered 429; whoever
goes on asking inside the same window is banned (418), for longer each time (rest-api.md, "IP Limits").
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kit.clock import DAY, MINUTE, SECOND
from kit.sandbox.refusals import Refusal

WEIGHT_LIMIT = 6_000
RAW_LIMIT = 300_000
PATIENCE = 10
"""Refused requests in one window before the address is banned. (Binance does not publish its number.)"""
FIRST_BAN = 2 * MINUTE
LONGEST_BAN = 3 * DAY
ORDER_LIMITS = ((10 * SECOND, 100, "10s", "10 SECOND"), (DAY, 200_000, "1d", "1 DAY"))
"""(window, orders, header letters, words)."""

RATE_LIMITS: list[dict[str, object]] = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_LIMIT},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": RAW_LIMIT},
]
"""As exchangeInfo lists them."""


@dataclass
class Window:
    """A count that starts again at every multiple of ``length``."""

    length: int
    began: int = 0
    used: int = 0

    def at(self, now: int) -> Window:
        """This window, emptied when ``now`` lies in a later one."""
        if now - now % self.length != self.began:
            self.began, self.used = now - now % self.length, 0
        return self

    def seconds_left(self, now: int) -> int:
        """Whole seconds until the count starts again, at least 1."""
        return max(1, -(-(self.began + self.length - now) // SECOND))


@dataclass
class AddressBudget:
    """What one IP address has used."""

    weight: Window = field(default_factory=lambda: Window(MINUTE))
    raw: Window = field(default_factory=lambda: Window(5 * MINUTE))
    refused: Window = field(default_factory=lambda: Window(MINUTE))
    banned_until: int = 0
    bans: int = 0

    def admit(self, now: int) -> None:
        """Count one request; refuse it when the address is banned or over its budget."""
        if now < self.banned_until:
            raise self._banned(now)
        self.raw.at(now).used += 1
        if self.weight.at(now).used >= WEIGHT_LIMIT or self.raw.used > RAW_LIMIT:
            raise self._over(now)

    def charge(self, weight: int, now: int) -> None:
        """Count a request's weight (negative: give it back)."""
        window = self.weight.at(now)
        window.used = max(0, window.used + weight)

    def headers(self, now: int) -> dict[str, str]:
        used = str(self.weight.at(now).used)
        return {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}

    def _over(self, now: int) -> Refusal:
        self.refused.at(now).used += 1
        if self.refused.used > PATIENCE:
            self.banned_until = now + min(LONGEST_BAN, FIRST_BAN << self.bans)
            self.bans += 1
            return self._banned(now)
        refusal = Refusal("TOO_MANY_REQUESTS", WEIGHT_LIMIT, "1 MINUTE")
        refusal.retry_after = self.weight.seconds_left(now)
        return refusal

    def _banned(self, now: int) -> Refusal:
        refusal = Refusal("BANNED", self.banned_until // 1000)
        refusal.retry_after = max(1, -(-(self.banned_until - now) // SECOND))
        return refusal


@dataclass
class OrderBudget:
    """What one account has ordered. A filled order gives its count back (faqs/order_count_decrement.md)."""

    windows: list[Window] = field(default_factory=lambda: [Window(length) for length, *_ in ORDER_LIMITS])

    def admit(self, now: int) -> None:
        """Count one new order; refuse it when a window is full."""
        for window, (_, most, _, words) in zip(self.windows, ORDER_LIMITS, strict=True):
            if window.at(now).used >= most:
                raise Refusal("TOO_MANY_ORDERS", most, words)
        for window in self.windows:
            window.used += 1

    def give_back(self, now: int) -> None:
        for window in self.windows:
            window.at(now).used = max(0, window.used - 1)

    def headers(self, now: int) -> dict[str, str]:
        rows = zip(self.windows, ORDER_LIMITS, strict=True)
        return {f"x-mbx-order-count-{letters}": str(window.at(now).used) for window, (_, _, letters, _) in rows}

    def usage(self, now: int) -> list[dict[str, object]]:
        """As GET /api/v3/rateLimit/order answers."""
        orders = [limit for limit in RATE_LIMITS if limit["rateLimitType"] == "ORDERS"]
        rows = zip(orders, self.windows, strict=True)
        return [limit | {"count": window.at(now).used} for limit, window in rows]
