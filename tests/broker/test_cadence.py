"""What is due when, on a clock that only the test moves: no thread, no venue."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.broker.cadence import ECHO, FAST, SILENT, SLOWEST, Cadence, Due, Outlook
from kit.clock import SECOND

NOTHING = Outlook()
OPEN = Outlook(open=frozenset({"a"}))
DOUBT = Outlook(doubtful=frozenset({"a"}))
ONE = Decimal(1)


class Life:
    """An account that is followed from 0 on by a venue that answers at once, or not at all while it is away."""

    def __init__(self, seen: Outlook = NOTHING) -> None:
        self.now, self.seen, self.away = 0, seen, False
        self.cadence = Cadence(0)
        self.done: list[tuple[float, str]] = []

    def run(self, seconds: float) -> list[tuple[float, str]]:
        """What is done within so many seconds, each with when (s)."""
        until, begun = self.now + round(seconds * SECOND), len(self.done)
        while True:
            due = self.cadence.due(self.seen, self.now)
            if due.idle:
                if due.pause is None or self.now + due.pause > until:
                    break
                assert due.pause > 0, "a pause of nothing never ends"
                self.now += due.pause
                continue
            self._do(due)
        self.now = until
        return self.done[begun:]

    def prove(self) -> None:
        """Let the stream begin and tell something."""
        self.cadence.subscribed(self.now)
        self.run(0)
        self.cadence.news(self.now)
        assert self.proven()

    def proven(self) -> bool:
        return self.cadence.proven

    def times(self, seconds: float) -> list[float]:
        began = self.now / SECOND
        return [at - began for at, _ in self.run(seconds)]

    def _do(self, due: Due) -> None:
        self.done.append((self.now / SECOND, self._words(due)))
        for client_id in due.ask:
            self.cadence.asked(client_id, self.now)
        if due.poll:
            self.cadence.polled(self.now)
        if due.renew:
            self.cadence.lost()
        elif due.silent:
            self.seen = Outlook(self.seen.open, self.seen.doubtful, self.seen.short, unreconciled=True)
        elif self.away:
            self.cadence.failed(self.now)
        else:
            self._answer(due)

    def _answer(self, due: Due) -> None:
        if due.reconcile is not None:
            self.cadence.reconciled(due.reconcile, self.now)
            self.seen = Outlook(self.seen.open, self.seen.doubtful, self.seen.short)
        self.cadence.answered(self.now)

    @staticmethod
    def _words(due: Due) -> str:
        ask = f"ask {' '.join(due.ask)}" if due.ask else ""
        words = ["renew" * bool(due.renew), "silent" * due.silent, ask, "poll" * due.poll]
        words.append("reconcile" * (due.reconcile is not None))
        return " ".join(filter(None, words))


def test_where_nothing_is_open_nothing_is_asked() -> None:
    life = Life()
    assert life.cadence.due(NOTHING, 0) == Due(pause=None)
    assert life.run(3600) == []
    life.prove()
    assert life.run(3600) == []
    assert life.cadence.due(NOTHING, life.now).pause is None


def test_without_a_stream_open_orders_are_asked_for_every_two_seconds() -> None:
    assert Life(OPEN).run(6.5) == [(2, "poll"), (4, "poll"), (6, "poll")]


def test_an_idle_hour_is_no_silence() -> None:
    life = Life()
    life.run(3600)
    life.seen = OPEN
    assert life.run(2) == [(3602, "poll")]


def test_a_proven_stream_makes_questions_rare() -> None:
    life = Life(OPEN)
    life.prove()
    assert life.times(65) == [20, 40, 60]


def test_a_stream_is_proven_once_what_was_before_is_known_and_it_has_told_something() -> None:
    life = Life(OPEN)
    life.cadence.subscribed(0)
    life.cadence.news(0)
    assert not life.proven()
    assert life.run(0) == [(0, "reconcile")]
    assert life.proven()
    life.cadence.subscribed(life.now)
    life.run(0)
    assert not life.proven()
    assert life.times(4.5) == [2, 4]
    life.cadence.news(life.now)
    assert life.proven()


def test_a_comparison_that_began_before_the_stream_says_nothing_about_what_was_between() -> None:
    life = Life(OPEN)
    life.cadence.subscribed(0)
    begun = life.cadence.due(OPEN, 0).reconcile
    assert begun is not None
    life.cadence.subscribed(1)  # another connection meanwhile
    life.cadence.reconciled(begun, 2)
    life.cadence.news(2)
    assert not life.proven()
    assert life.run(0) == [(0, "reconcile")]
    assert life.proven()


def test_a_stream_that_is_lost_is_believed_no_more() -> None:
    life = Life(OPEN)
    life.prove()
    life.run(5)
    life.cadence.lost()
    assert life.times(5) == [0, 2, 4]


def test_an_order_nobody_answered_for_is_asked_for_at_once_and_then_after_growing_pauses() -> None:
    life = Life(DOUBT)
    assert life.times(20) == [0, 1, 3, 7, 11, 15, 19]


def test_a_fill_that_is_missing_is_asked_for_at_once() -> None:
    life = Life(OPEN)
    life.prove()
    life.run(1)
    life.seen = Outlook(open=OPEN.open, short=frozenset({"a"}))
    assert life.run(0) == [(1, "ask a")]
    life.seen = OPEN
    assert life.times(10) == []
    life.seen = Outlook(open=OPEN.open, short=frozenset({"a"}))
    assert life.run(0) == [(11, "ask a")]  # another one: at once again


def test_after_an_order_was_answered_for_the_account_is_compared() -> None:
    life = Life(DOUBT)
    life.run(2)
    life.seen = OPEN
    assert life.run(1) == [(2, "reconcile")]
    assert life.run(1) == [(4, "poll")]


def test_while_an_answer_is_missing_there_is_nothing_to_compare() -> None:
    life = Life(Outlook(doubtful=DOUBT.doubtful, unreconciled=True))
    assert life.run(2) == [(0, "ask a"), (1, "ask a")]
    life.seen = Outlook(unreconciled=True)
    assert life.run(0) == [(2, "reconcile")]


def test_what_is_open_beside_a_doubtful_order_is_followed_on() -> None:
    life = Life(Outlook(open=frozenset({"b"}), doubtful=DOUBT.doubtful))
    assert life.run(3) == [(0, "ask a"), (1, "ask a"), (2, "poll"), (3, "ask a")]


def echo(life: Life, what: str) -> Callable[[Decimal, bool], None]:
    """Tells of order ``a`` as an answer or as the stream would."""
    if what == "answer":
        return lambda filled, final: life.cadence.echoes.happened("a", filled, life.now, final=final)
    return lambda filled, final: life.cadence.echoes.told("a", filled, final=final)


@pytest.mark.parametrize("order", ["answer first", "stream first"])
def test_an_answer_that_the_stream_tells_too_is_all_that_is_wanted(order: str) -> None:
    life = Life(OPEN)
    life.prove()
    first, second = ("answer", "stream") if order == "answer first" else ("stream", "answer")
    echo(life, first)(ONE, True)
    life.run(1)
    echo(life, second)(ONE, True)
    assert life.times(22) == [19]
    assert not life.cadence.echoes._told
    assert not life.cadence.echoes._due


def test_a_stream_that_does_not_tell_what_was_answered_is_opened_again_and_questions_are_frequent() -> None:
    life = Life(OPEN)
    life.prove()
    life.run(5)
    echo(life, "answer")(ONE, False)
    assert life.run(5) == [(7, "renew"), (7, "poll"), (9, "poll")]


@pytest.mark.parametrize(("filled", "final"), [(Decimal("0.5"), True), (ONE, False)])
def test_telling_less_than_was_answered_is_not_telling_it(filled: Decimal, final: bool) -> None:
    life = Life(OPEN)
    life.prove()
    echo(life, "answer")(ONE, True)
    echo(life, "stream")(filled, final)
    assert life.run(3)[0] == (ECHO / SECOND, "renew")


def test_another_connection_owes_no_echo_of_what_was_before() -> None:
    life = Life(OPEN)
    life.prove()
    echo(life, "answer")(ONE, True)
    life.prove()
    assert life.times(15) == []


def test_an_account_is_not_believed_after_a_silence_with_something_open() -> None:
    life = Life(OPEN)
    life.run(4)
    life.away = True
    done = life.run(30)
    assert (4 + (FAST + SILENT) / SECOND, "silent") in done
    assert [words for _, words in done].count("silent") == 1
    life.away = False
    assert "reconcile" in [words for _, words in life.run(SLOWEST / SECOND)]
    assert not life.seen.unreconciled


def test_news_are_no_silence() -> None:
    life = Life(OPEN)
    life.prove()
    life.away = True
    for _ in range(20):
        life.cadence.news(life.now)
        assert "silent" not in [words for _, words in life.run(5)]
    assert "silent" in [words for _, words in life.run(40)]


def test_a_venue_that_is_away_is_asked_less_and_less_often() -> None:
    life = Life(OPEN)
    life.away = True
    life.seen = Outlook(open=OPEN.open, unreconciled=True)
    assert life.times(140) == [0, 4, 12, 28, 58, 88, 118]
    life.away = False
    life.run(SLOWEST / SECOND)
    assert life.run(2.5)[-1][1] == "poll"


def test_a_new_doubt_is_asked_about_though_the_venue_is_away_but_not_while_it_says_wait() -> None:
    life = Life(OPEN)
    life.cadence.failed(0)
    life.seen = Outlook(open=OPEN.open, doubtful=frozenset({"b"}))
    assert life.run(0) == [(0, "ask b")]
    limited = Life(DOUBT)
    limited.cadence.failed(0, retry_after=9 * SECOND)
    assert limited.run(10)[0] == (9, "ask a")


steps = st.lists(
    st.tuples(
        st.sampled_from(["subscribed", "lost", "news", "owe", "away", "back", "answer", "stream"]),
        st.sampled_from([NOTHING, OPEN, DOUBT, Outlook(open=frozenset({"b"}), short=frozenset({"b"}))]),
        st.floats(0, 50),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(steps)
def test_whatever_happens_what_is_open_is_asked_for_and_nothing_is_asked_in_a_frenzy(
    history: list[tuple[str, Outlook, float]],
) -> None:
    life = Life()
    for what, seen, seconds in history:
        life.seen = Outlook(seen.open, seen.doubtful, seen.short, life.seen.unreconciled)
        match what:
            case "subscribed":
                life.cadence.subscribed(life.now)
            case "lost":
                life.cadence.lost()
            case "news":
                life.cadence.news(life.now)
            case "owe":
                life.cadence.owe()
            case "away" | "back":
                life.away = what == "away"
            case _:
                echo(life, what)(ONE, True)
        done = life.run(seconds)
        assert len(done) <= 6 + 3 * seconds
        if not life.seen.quiet and seconds > SLOWEST / SECOND + 0.01:
            assert done
