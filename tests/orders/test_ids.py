from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kit.errors import UsageError
from kit.orders.ids import ALPHABET, LENGTH, Intent, client_id
from kit.venue import CODECS
from kit.venues.base import MarketCodec

RULES = {
    "binance": r"[a-zA-Z0-9-_]{1,36}",  # newClientOrderId as fix-api.md states it
    "kraken": r"[ -~]{1,18}",  # cl_ord_id, free text: guides/general/clordid
    "coinbase": r"[ -~]{1,36}",  # any text; its documentation shows UUIDs
    "alpaca": r"[ -~]{1,128}",  # client_order_id
}
"""What each venue takes as a client order id."""

SQL = (
    "ALTER AND BEGIN BY CREATE DELETE DROP EXEC FROM INSERT INTO JOIN LIKE OR ORDER SELECT SET TABLE UNION UPDATE WHERE"
)

names = st.text(max_size=12)
intents = st.builds(
    Intent, parts=st.lists(names, min_size=1, max_size=4).map(tuple), again=st.integers(0, 1000), implicit=st.booleans()
)


@pytest.mark.parametrize(
    ("account", "intent", "made"),
    [
        ("paper", Intent.keyed("first"), "mddf3z9p7ztstzbg66"),
        ("paper", Intent(("key", "first"), again=1), "gp5838gz2cv69xnctj"),
        ("paper", Intent(("strategy", "Cross", "BTC/USDT", "1767225600000000", "0")), "v9mzdr6q2z60lg6x8c"),
        (
            "paper",
            Intent(("cell", "id:a1b2c3d4", "broker.buy('BTC/USDT', 0.01)", "buy BTC/USDT", "0"), implicit=True),
            "c3k6rvp2321mz8z0b4",
        ),
        ("paper", Intent(("amend", "mddf3z9p7ztstzbg66")), "z3qqspgg0gwqmm5qzc"),
    ],
)
def test_an_intent_has_the_same_id_on_every_machine_and_for_ever(account: str, intent: Intent, made: str) -> None:
    """A changed value here would place the orders of every running account a second time; so would a salted hash."""
    assert client_id(account, "default", intent) == made


def test_text_beyond_ascii_has_its_id_too() -> None:
    assert client_id("konto-ö", "s", Intent(("cell", "3", "0"), again=2, implicit=True)) == "ksf5sjhjn1k1tfq8xj"


def test_a_key_that_cannot_be_written_down_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing was sent"):
        Intent.keyed("\ud800")


@given(names, names, intents)
def test_an_id_fits_every_venue_and_spells_no_sql(account: str, session: str, intent: Intent) -> None:
    made = client_id(account, session, intent)
    assert len(made) == LENGTH == 18
    assert set(made) <= set(ALPHABET)
    assert [venue for venue, rule in RULES.items() if not re.fullmatch(rule, made)] == []
    assert not any(word in made.upper() for word in SQL.split())


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_says_that_it_takes_such_ids(codec: MarketCodec) -> None:
    assert set(ALPHABET) <= set(codec.client_id_alphabet)
    assert codec.client_id_length >= LENGTH


def test_the_alphabet_has_no_vowel_so_it_spells_no_word() -> None:
    assert not set(ALPHABET) & set("aeiouy")
    assert len(set(ALPHABET)) == len(ALPHABET)


def test_two_intents_meet_in_one_id_once_in_hundreds_of_millions_of_accounts() -> None:
    """By the birthday bound, with a thousand million orders in each."""
    bits = LENGTH * math.log2(len(ALPHABET))
    assert bits > 88
    assert (1e9**2 / 2) / 2**bits < 1 / 700e6


def test_every_character_of_an_id_carries_its_share() -> None:
    """Any four neighbours meet as often as chance has it: no place repeats another, none is uneven."""
    count, values = 20_000, len(ALPHABET) ** 4
    made = [client_id("paper", "default", Intent.keyed(str(number))) for number in range(count)]
    expected = count * (count - 1) / 2 / values
    for begin in range(LENGTH - 3):
        seen = Counter(text[begin : begin + 4] for text in made)
        meetings = sum(n * (n - 1) // 2 for n in seen.values())
        assert abs(meetings - expected) < 5 * math.sqrt(expected), (begin, meetings, expected)
    assert len(set(made)) == count


@given(st.tuples(names, names, intents), st.tuples(names, names, intents))
def test_different_intents_have_different_ids(one: tuple[str, str, Intent], other: tuple[str, str, Intent]) -> None:
    assume((*one[:2], one[2].parts, one[2].again) != (*other[:2], other[2].parts, other[2].again))
    assert client_id(*one) != client_id(*other)


@given(st.lists(names, min_size=2, max_size=4), st.data())
def test_moving_text_between_parts_makes_another_intent(parts: list[str], data: st.DataObject) -> None:
    """("ab", "c") and ("a", "bc") say different things, though they read the same in one breath."""
    text = "".join(parts)
    cut = data.draw(st.integers(0, len(text)))
    other = (text[:cut], text[cut:])
    assume(other != tuple(parts))
    assert client_id("a", "s", Intent(tuple(parts))) != client_id("a", "s", Intent(other))


@given(names, intents)
def test_whether_somebody_named_the_intent_is_not_part_of_it(account: str, intent: Intent) -> None:
    named = Intent(intent.parts, intent.again, implicit=not intent.implicit)
    assert client_id(account, "s", intent) == client_id(account, "s", named)


def test_again_is_one_more_intent_and_once_is_always_new() -> None:
    first, second = Intent.keyed("k"), Intent(("key", "k"), again=1)
    assert client_id("a", "s", first) != client_id("a", "s", second)
    assert Intent.once() != Intent.once()
