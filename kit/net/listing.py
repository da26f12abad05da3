"""What is traded at a venue, as far as it was asked for, found by any spelling."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence

from kit.errors import UnknownName, UsageError, VenueRefused
from kit.model import Instrument
from kit.net.rest import Rest

_SEPARATORS = re.compile(r"[/\-_:\s]+")


class Listing:
    """A venue's instruments. Safe to use from any thread."""

    def __init__(self, rest: Rest) -> None:
        self._rest, self._codec, self._spelling = rest, rest.codec, rest.codec.spelling
        self._lock = threading.Lock()
        self._complete = False
        self._by_words: dict[tuple[str, ...], list[Instrument]] = {}
        """By base and quote, by both as one word, and by the native name; in capitals."""

    def all(self) -> list[Instrument]:
        """Everything, asked anew."""
        listed = self._rest.do(self._codec.instruments())
        with self._lock:
            self._by_words.clear()
            self._note(listed)
            self._complete = True
        return listed

    def find(self, symbol: str) -> Instrument:
        """The instrument that goes by ``symbol``; asked for once, and with one question where the spelling allows.

        UnknownName suggests the nearest; UsageError where one word (ABCD) may be two instruments.
        """
        words = self._spelling.assets(_words(symbol))
        found = self._known(words) or self._asked(words)
        if not found:
            listed = self.all()
            found = self._known(words)
            if not found:
                natively = len(words) < 2 and not self._spelling.separator
                known = [instrument.native if natively else instrument.symbol for instrument in listed]
                raise UnknownName("symbol", symbol, known, f"(venue.instruments() lists all {len(listed)})")
        if len(found) > 1:
            which = " or ".join(instrument.symbol for instrument in found)
            raise UsageError(f"symbol {symbol!r} may be {which}; write it with a slash. Nothing more was asked")
        return found[0]

    def _known(self, words: Sequence[str]) -> list[Instrument]:
        """What goes by these words, as far as it has been asked for."""
        spelled = {tuple(words)}
        if len(words) == 1:
            if self._spelling.separator and not self._complete:
                return []  # of which instruments it may be the name only the whole list shows
            spelled = {(word,) for word in self._spelling.joined(words[0])}
        with self._lock:
            return [instrument for each in spelled for instrument in self._by_words.get(each, [])]

    def _asked(self, words: Sequence[str]) -> list[Instrument]:
        """What the venue says goes by these words, where they tell the native name."""
        separator = self._spelling.separator
        if self._complete or len(words) not in ((2,) if separator else (1, 2)):
            return []
        try:
            listed = self._rest.do(self._codec.instruments([separator.join(words)]))
        except VenueRefused:  # no such symbol; if it refuses us altogether, asking for all of them will show it
            return []
        with self._lock:
            self._note(listed)
        return self._known(words)

    def _note(self, listed: Iterable[Instrument]) -> None:
        for instrument in listed:
            base, quote = instrument.base.upper(), instrument.quote.upper()
            for words in {(base, quote), (base + quote,), tuple(_words(instrument.native))}:
                others = [known for known in self._by_words.get(words, []) if known.native != instrument.native]
                self._by_words[words] = [*others, instrument]


def _words(text: object) -> list[str]:
    return [word for word in _SEPARATORS.split(str(text).upper()) if word]
