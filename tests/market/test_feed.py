"""A feed's life, as one table, and its age."""

from __future__ import annotations

import math

import pytest

from kit.clock import SECOND
from kit.market.feed import TABLE, Feed, FeedEvent, FeedState
from kit.model import Channel


def fed(*events: FeedEvent) -> Feed:
    feed = Feed(Channel.QUOTE)
    for event in events:
        feed.advance(event)
    return feed


LIVE = (FeedEvent.START, FeedEvent.CONNECTED, FeedEvent.SYNCED)


def test_a_feed_comes_to_life_by_connecting_and_being_synced() -> None:
    feed = Feed(Channel.QUOTE)
    seen = [feed.advance(event) for event in LIVE]
    assert seen == [FeedState.CONNECTING, FeedState.SYNCING, FeedState.LIVE]


@pytest.mark.parametrize("trouble", [FeedEvent.GAP, FeedEvent.SILENT, FeedEvent.DROPPED])
def test_any_trouble_makes_a_live_feed_stale(trouble: FeedEvent) -> None:
    assert fed(*LIVE, trouble).state is FeedState.STALE


def test_only_being_synced_leads_back_from_stale() -> None:
    back = {event for (state, event), after in TABLE.items() if state is FeedState.STALE and after is FeedState.LIVE}
    assert back == {FeedEvent.SYNCED}


def test_only_a_synced_feed_is_live() -> None:
    assert {event for (_, event), after in TABLE.items() if after is FeedState.LIVE} == {FeedEvent.SYNCED}


def test_a_feed_that_was_never_live_does_not_go_stale() -> None:
    assert fed(FeedEvent.START, FeedEvent.CONNECTED, FeedEvent.DROPPED).state is FeedState.CONNECTING


def test_a_closed_feed_stays_closed() -> None:
    feed = fed(*LIVE, FeedEvent.CLOSE)
    assert [feed.advance(event) for event in FeedEvent] == [FeedState.CLOSED] * len(FeedEvent)


def test_every_state_can_be_closed() -> None:
    assert {state for state, event in TABLE if event is FeedEvent.CLOSE} == set(FeedState)


def test_what_cannot_happen_is_an_error() -> None:
    with pytest.raises(ValueError, match="IDLE can't be synced"):
        Feed(Channel.QUOTE).advance(FeedEvent.SYNCED)


def test_the_age_is_infinite_before_any_data_and_counts_from_the_last() -> None:
    feed = Feed(Channel.QUOTE)
    assert feed.age(5 * SECOND) == math.inf
    feed.confirmed(5 * SECOND, exactly=False)
    assert feed.age(7 * SECOND) == 2.0


def test_an_older_proof_does_not_make_a_feed_older() -> None:
    feed = Feed(Channel.QUOTE)
    feed.confirmed(5 * SECOND, exactly=False)
    feed.confirmed(3 * SECOND, exactly=False)
    assert feed.age(5 * SECOND) == 0.0


def test_a_live_feed_reads_stale_once_its_data_is_too_old_though_nobody_has_told_it() -> None:
    feed = Feed(Channel.QUOTE, stale_after=2.0)
    for event in LIVE:
        feed.advance(event)
    feed.confirmed(10 * SECOND, exactly=False)
    assert feed.at(12 * SECOND) is FeedState.LIVE
    assert feed.at(12 * SECOND + 1) is FeedState.STALE
    assert feed.state is FeedState.LIVE


def test_connecting_makes_nothing_younger() -> None:
    feed = fed(*LIVE)
    feed.confirmed(SECOND, exactly=False)
    feed.advance(FeedEvent.DROPPED)
    feed.advance(FeedEvent.CONNECTED)
    assert feed.age(9 * SECOND) == 8.0
