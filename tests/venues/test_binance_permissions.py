"""What Binance says that a key may do."""

from __future__ import annotations

import json

import pytest

from kit.errors import BadAnswer
from kit.venues.base import Auth, Effect
from kit.venues.binance import BINANCE
from kit.venues.permissions import Permissions

TOLD = {
    "ipRestrict": False,
    "createTime": 1623840271000,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": True,
    "enableMargin": False,
    "enableFutures": False,
    "permitsUniversalTransfer": True,
    "enableVanillaOptions": False,
    "enableFixApiTrade": False,
    "enableFixReadOnly": True,
    "enableSpotAndMarginTrading": False,
    "enablePortfolioMarginTrading": True,
}
"""The example of Binance's own documentation (wallet, API key permission)."""


def read(**changed: object) -> Permissions:
    return BINANCE.permissions().read(json.dumps(TOLD | changed).encode())


def test_the_question_is_signed_and_changes_nothing() -> None:
    call = BINANCE.permissions()
    assert (call.method, call.path) == ("GET", "/sapi/v1/account/apiRestrictions")
    assert (call.auth, call.effect) == (Auth.SIGNED, Effect.READ)


def test_the_documented_answer_is_read() -> None:
    assert read() == Permissions(withdraw=False, trade=False, transfer=True, bound=False)
    assert read(enableSpotAndMarginTrading=True, ipRestrict=True).trade
    assert read(ipRestrict=True).bound
    quiet = read(enableInternalTransfer=False, permitsUniversalTransfer=False)
    assert not quiet.transfer


def test_a_key_that_can_withdraw_is_known_for_it() -> None:
    assert read(enableWithdrawals=True).withdraw


@pytest.mark.parametrize("missing", ["enableWithdrawals", "enableSpotAndMarginTrading"])
def test_an_answer_that_does_not_say_is_not_taken_for_a_no(missing: str) -> None:
    body = json.dumps({name: value for name, value in TOLD.items() if name != missing}).encode()
    with pytest.raises(BadAnswer):
        BINANCE.permissions().read(body)
