"""The seam between an order and whoever executes it: accepted, refused or unknown.

A paper account, a live account and a backtest differ behind this seam and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kit.model import Balance, Instrument, OrderRequest, OrderState, Report, ReportKind
from kit.venues.contract import Contract


@dataclass(frozen=True)
class Accepted:
    """The order is at the venue; ``reports`` say what has already happened to it."""

    reports: Sequence[Report] = ()


@dataclass(frozen=True)
class Refused:
    """The order is not at the venue and never was; ``reason`` says why."""

    reason: str
    code: int | str | None = None


@dataclass(frozen=True)
class Unknown:
    """The order may be at the venue. It reserves exposure until somebody asks with its client id."""

    reason: str


Outcome = Accepted | Refused | Unknown


def outcome_of(reports: Sequence[Report]) -> Accepted | Refused:
    """What a simulated venue's answer to an order comes to: refused when one of its reports says so."""
    refused = next((report for report in reports if report.kind is ReportKind.REJECTED), None)
    return Refused(refused.reason) if refused else Accepted(reports)


class Gateway(Protocol):
    """Who executes orders. Later reports arrive through the listener, on any thread."""

    contract: Contract
    """What it promises about client ids."""

    def listen(self, listener: Callable[[Report], None]) -> None:
        """Send every report that is not part of an outcome to ``listener``."""
        ...

    def submit(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Outcome:
        """Place the order. Never raises for what a venue or a network may do."""
        ...

    def cancel(self, instrument: Instrument, client_id: str) -> Outcome:
        """Ask for a cancel; ``Refused`` when there is nothing left to cancel."""
        ...

    def query(self, instrument: Instrument, client_id: str, since: int) -> OrderState | None:
        """The order, meant at ``since`` (µs), as the venue knows it, wherever that has to be looked up; None when it
        knows none. Raises Unreached when it can't be asked."""
        ...

    def open_orders(self) -> list[OrderState]:
        """Every open order of the account; raises Unreached when it can't be asked."""
        ...

    def balances(self) -> list[Balance]:
        """What the venue says the account holds; raises Unreached when it can't be asked."""
        ...

    def close(self) -> None: ...
