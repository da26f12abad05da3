from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from kit.orders.ids import ALPHABET, LENGTH, Intent, client_id

BINANCE = re.compile(r"^[a-zA-Z0-9-_]{1,36}$")
"""newClientOrderId as Binance's fix-api.md states it."""

SQL = (
    "ALTER AND BEGIN BY CREATE DELETE DROP EXEC FROM INSERT INTO JOIN LIKE OR ORDER SELECT SET TABLE UNION UPDATE WHERE"
)

names = st.text(max_size=12)
intents = st.builds(
    Intent, parts=st.lists(names, min_size=1, max_size=4).map(tuple), again=st.integers(0, 1000), implicit=st.booleans()
)


def test_an_intent_has_the_same_id_on_every_machine_and_for_ever() -> None:
    """A changed value here would place the orders of every running account a second time."""
    assert client_id("paper", "default", Intent.keyed("first")) == "mddf3z9p7ztstzbg66"
    assert client_id("konto-ö", "s", Intent(("cell", "3", "0"), again=2, implicit=True)) == "ksf5sjhjn1k1tfq8xj"


@given(names, names, intents)
def test_an_id_fits_every_venue_and_spells_no_sql(account: str, session: str, intent: Intent) -> None:
    made = client_id(account, session, intent)
    assert len(made) == LENGTH == 18
    assert set(made) <= set(ALPHABET)
    assert BINANCE.match(made)
    assert not any(word in made.upper() for word in SQL.split())


def test_the_alphabet_has_no_vowel_so_it_spells_no_word() -> None:
    assert not set(ALPHABET) & set("aeiouy")


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
