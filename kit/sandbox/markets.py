"""Which market a sandbox has: decided once, kept in its file, the same ever after."""

from __future__ import annotations

import msgspec

from kit.clock import Clock, WallClock
from kit.sandbox.home import Terms, agree
from kit.sandbox.market import Market
from kit.sandbox.store import Store
from kit.sandbox.synthetic import Synthetic

DEFAULT_SEED = 7


def open_market(asked: Terms, store: Store) -> tuple[Market, Clock, Terms]:
    """The sandbox's market, the clock its exchange lives by, and its terms, which the first start decides."""
    terms = _settled(asked, store)
    clock = WallClock()
    if terms.replay is None:
        return Synthetic(terms.seed if terms.seed is not None else DEFAULT_SEED), clock, terms
    raise NotImplementedError


def _settled(asked: Terms, store: Store) -> Terms:
    kept = store.get("terms")
    if kept is not None:
        has = msgspec.json.decode(kept, type=Terms)
        agree(asked, has, store.name)
        return has
    seed = None if asked.replay else DEFAULT_SEED if asked.seed is None else asked.seed
    terms = msgspec.structs.replace(asked, seed=seed)
    store.put("terms", msgspec.json.encode(terms).decode())
    return terms
