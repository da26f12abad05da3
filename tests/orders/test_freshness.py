"""How current everything must be for an order to leave, and what falls short is told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import SECOND
from kit.errors import UnknownName, UsageError
from kit.market.feed import FeedState, Picture
from kit.orders.freshness import NAMES, Freshness, Sight, overlooked, shortfalls

LIVE = Picture(FeedState.LIVE, 0.5, None)


def short(sight: Sight, demands: Freshness = Freshness()) -> list[str]:  # noqa: B008 - frozen
    return [shortfall.name for shortfall in shortfalls("BTC/USDT", sight, demands)]


def test_what_is_current_falls_short_of_nothing() -> None:
    assert short(Sight(LIVE)) == []


@pytest.mark.parametrize("state", [state for state in FeedState if state is not FeedState.LIVE])
def test_a_feed_that_is_not_live_is_named_with_its_state(state: FeedState) -> None:
    (missing,) = shortfalls("BTC/USDT", Sight(Picture(state, 0.5, None)), Freshness())
    assert missing.name == "feed"
    assert f"BTC/USDT is {state}" in missing.words


def test_an_old_quote_says_how_old_it_is_and_how_old_it_may_be() -> None:
    (missing,) = shortfalls("BTC/USDT", Sight(Picture(FeedState.LIVE, 3.25, None)), Freshness(quote=3))
    assert (missing.name, missing.measured, missing.allowed) == ("quote", 3.25, 3)
    assert "3.25 s ago" in missing.words
    assert "at most 3 s" in missing.words


def test_an_account_that_was_not_compared_says_why() -> None:
    (missing,) = shortfalls("BTC/USDT", Sight(LIVE, unreconciled="the venue was away"), Freshness())
    assert missing.name == "account"
    assert "the venue was away" in missing.words


@pytest.mark.parametrize("uncertainty", [None, 1_000_001])
def test_a_clock_that_is_not_known_well_enough_holds_orders_back(uncertainty: int | None) -> None:
    assert short(Sight(LIVE, uncertainty=uncertainty)) == ["clock"]


def test_a_clock_within_the_bound_does() -> None:
    assert short(Sight(LIVE, uncertainty=SECOND)) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quote": 0}, r"quote=0: seconds, above 0, such as quote=10"),
        ({"quote": "5"}, r"quote='5': seconds"),
        ({"quote": True}, r"quote=True: seconds"),
        ({"clock": -1}, r"clock=-1: seconds, above 0, such as clock=1"),
        ({"clock": float("nan")}, r"clock=nan: seconds"),
        ({"clock": float("inf")}, r"clock=inf: seconds"),
        ({"quote": 30}, r"quote=30: a live frame is STALE after 10 s.*at most 10; despite='feed'"),
    ],
)
def test_a_demand_that_means_nothing_is_refused_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Freshness(**given)


def test_demands_are_the_same_however_their_seconds_are_typed() -> None:
    assert Freshness(quote=2, clock=1) == Freshness(quote=np.float64(2))


@given(
    state=st.sampled_from(FeedState),
    age=st.floats(0, 100),
    unreconciled=st.sampled_from(["", "why"]),
    uncertainty=st.none() | st.integers(0, 5 * SECOND),
)
def test_each_demand_is_judged_by_itself(
    state: FeedState, age: float, unreconciled: str, uncertainty: int | None
) -> None:
    names = short(Sight(Picture(state, age, None), unreconciled, uncertainty))
    assert ("feed" in names) is (state is not FeedState.LIVE)
    assert ("quote" in names) is (age > 10)
    assert ("account" in names) is bool(unreconciled)
    assert ("clock" in names) is (uncertainty is None or uncertainty > SECOND)
    assert set(names) <= set(NAMES)


def test_what_is_to_be_overlooked_is_named_rightly_or_refused() -> None:
    assert overlooked("quote") == ("quote",)
    assert overlooked(["feed", "quote"]) == ("feed", "quote")
    assert overlooked(()) == ()
    with pytest.raises(UnknownName, match=r"quotes.*did you mean 'quote'.*nothing was sent"):
        overlooked("quotes")
