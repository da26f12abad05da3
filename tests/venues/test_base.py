"""What holds of every venue's addresses."""

from __future__ import annotations

import pytest

from kit.venues.base import on_this_machine


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "ws://localhost:1/stream", "HTTP://LOCALHOST", "http://[::1]:9", "http://127.9.9.9"],
)
def test_a_loopback_address_is_on_this_machine(url: str) -> None:
    assert on_this_machine(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.binance.com",
        "http://localhost.example.com",
        "http://127.0.0.1@evil.example",
        "http://[::1",
        "",
        "::1",
    ],
)
def test_no_other_address_is(url: str) -> None:
    assert not on_this_machine(url)
