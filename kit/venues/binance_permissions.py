"""Binance: what a key may do, as ``GET /sapi/v1/account/apiRestrictions`` tells it.

The endpoint is the live host's alone: testnet and demo mode have none of ``/sapi`` (testnet/general-info.md).
"""

from __future__ import annotations

import msgspec

from kit.venues.base import Auth, Call
from kit.venues.permissions import Permissions
from kit.venues.wire import decoder, reading

PATH = "/sapi/v1/account/apiRestrictions"


class _Restrictions(msgspec.Struct, rename="camel"):
    """Withdrawing and trading must be said; what is not said of the rest is not allowed."""

    enable_withdrawals: bool
    enable_spot_and_margin_trading: bool
    enable_internal_transfer: bool = False
    permits_universal_transfer: bool = False
    ip_restrict: bool = False


_restrictions = decoder(_Restrictions)


def permissions() -> Call[Permissions]:
    """The question. It weighs 1, on a budget that the wallet API has of its own."""
    return Call("GET", PATH, reading(_read, "Binance's apiRestrictions"), auth=Auth.SIGNED)


def _read(body: bytes) -> Permissions:
    told = _restrictions(body)
    return Permissions(
        withdraw=told.enable_withdrawals,
        trade=told.enable_spot_and_margin_trading,
        transfer=told.enable_internal_transfer or told.permits_universal_transfer,
        bound=told.ip_restrict,
    )
