"""The live gateway's guard: the address decides, not a name."""

from __future__ import annotations

import pytest

from kit.broker.live import forbid_real_money
from kit.errors import LiveForbidden
from kit.venues.base import Hosts
from kit.venues.binance import BINANCE


def at(rest: str, *, real_money: bool = False) -> Hosts:
    return Hosts(rest=rest, stream="ws://127.0.0.1:1", real_money=real_money)


@pytest.mark.parametrize("environment", ["testnet", "demo"])
def test_play_money_is_open(environment: str) -> None:
    forbid_real_money(BINANCE.environments[environment], BINANCE)


@pytest.mark.parametrize("rest", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9"])
def test_the_sandbox_is_open(rest: str) -> None:
    forbid_real_money(at(rest), BINANCE)


@pytest.mark.parametrize("environment", ["live", "data"])
def test_the_real_venue_is_closed(environment: str) -> None:
    with pytest.raises(LiveForbidden, match=r"no real money is moved.*kit\.paper"):
        forbid_real_money(BINANCE.environments[environment], BINANCE)


@pytest.mark.parametrize(
    "hosts",
    [
        at("https://api.binance.com"),
        at("https://api1.binance.com/testnet.binance.vision"),
        at("https://testnet.binance.vision@api.binance.com"),
        at("https://testnet.binance.vision.example.org"),
        at("https://localhost.example.org"),
        at("http://127.0.0.1.example.org"),
        at("http://127.0.0.1:8080", real_money=True),
        at("https://testnet.binance.vision", real_money=True),
        at("https://10.0.0.7"),
        at(""),
    ],
)
def test_an_address_that_only_looks_harmless_is_closed(hosts: Hosts) -> None:
    with pytest.raises(LiveForbidden):
        forbid_real_money(hosts, BINANCE)
