"""An account's orders by client id: those at hand, and those of the past, read from the journal when asked for.

A day's trading touches few of the orders that an account has ever placed. The others cost their name in memory.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import Generic, TypeVar

from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Entry, Intended, fold
from kit.store.journal import Journal

V = TypeVar("V")


class Past:
    """The orders of one journal whose intents stand up to entry ``upto``; what came later is put in by the ledger."""

    def __init__(self, journal: Journal, upto: int) -> None:
        self._journal, self._upto = journal, upto
        self.names: dict[str, None] = dict.fromkeys(journal.names(upto))
        """Every client id, oldest first."""
        self.loaded: dict[str, tuple[OrderRecord, Intended]] = {}
        self.records: Mapping[str, OrderRecord] = Shelf(self, 0)
        self.intents: Mapping[str, Intended] = Shelf(self, 1)

    def put(self, record: OrderRecord, intent: Intended) -> None:
        """A new order."""
        self.loaded[record.client_id] = record, intent
        self.names[record.client_id] = None

    def get(self, client_id: str) -> tuple[OrderRecord, Intended] | None:
        """The order and its intent, read at its first mention; None when there is none."""
        if client_id not in self.loaded and client_id in self.names:
            self._take(self._journal.history(client_id, upto=self._upto))
        return self.loaded.get(client_id)

    def everything(self) -> list[tuple[str, tuple[OrderRecord, Intended]]]:
        """All orders, oldest first; what is not at hand is read in one go."""
        if len(self.loaded) < len(self.names):
            at_hand = set(self.loaded)
            entries = self._journal.entries(upto=self._upto)
            self._take(entry for entry in entries if entry.client_id not in at_hand)
        return [(name, self.loaded[name]) for name in list(self.names)]

    def _take(self, entries: Iterable[Entry]) -> None:
        records: dict[str, OrderRecord] = {}
        intents: dict[str, Intended] = {}
        for entry in entries:
            fold(records, entry)
            if isinstance(entry, Intended):
                intents[entry.client_id] = entry
        for name, record in records.items():
            self.loaded.setdefault(name, (record, intents[name]))


class Shelf(Mapping[str, V], Generic[V]):
    """One side of the orders, the records or the intents, as a mapping by client id, oldest first."""

    def __init__(self, past: Past, side: int) -> None:
        self._past, self._side = past, side

    def __getitem__(self, client_id: str) -> V:
        found = self._past.get(client_id)
        if found is None:
            raise KeyError(client_id)
        return found[self._side]  # type: ignore[return-value]  # the side says which of the two it is

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._past.names

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._past.names))

    def __len__(self) -> int:
        return len(self._past.names)

    def items(self) -> ItemsView[str, V]:
        return self._all().items()

    def values(self) -> ValuesView[V]:
        return self._all().values()

    def _all(self) -> dict[str, V]:
        return {name: pair[self._side] for name, pair in self._past.everything()}  # type: ignore[misc]  # as above
