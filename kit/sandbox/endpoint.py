"""What one endpoint is, and how a request becomes its answer: the same for REST and the WebSocket API. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from kit.sandbox.exchange import Exchange
from kit.sandbox.params import SIGNED, Args, Param
from kit.sandbox.wire import Json, Stamp


class Security(Enum):
    """What a caller must show."""

    NONE = "none"
    SIGNED = "signed"


@dataclass(frozen=True)
class Context:
    """What an endpoint may look at. ``account`` is empty for public endpoints; ``now`` is µs."""

    exchange: Exchange
    now: int
    stamp: Stamp
    account: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint. ``weight`` counts against the address; ``method_name`` is its WebSocket API name, if any."""

    method: str
    path: str
    run: Callable[[Context, Args], Json]
    params: tuple[Param, ...] = ()
    security: Security = Security.NONE
    weight: int | Callable[[Args], int] = 1
    method_name: str = ""
    free_on_success: bool = False
    """Orders and cancels that succeed cost no weight (since 2026-04-02)."""

    @property
    def specs(self) -> tuple[Param, ...]:
        """Every parameter it reads."""
        return self.params + (SIGNED if self.security is Security.SIGNED else ())

    def cost(self, args: Args) -> int:
        """Its weight for these parameters."""
        return self.weight if isinstance(self.weight, int) else self.weight(args)
