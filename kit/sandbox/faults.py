"""Faults as data: what goes wrong, when, how often, for whom. Pure and seeded.

A plan is JSON: ``{"seed": 7, "faults": [{"at": 5.0, "kind": "drop"}, …]}``. Fields of a fault:

``kind``         one of ``KINDS``
``at``           seconds after the plan is put in force before the fault can strike (default 0)
``for``          seconds it stays in force (``drop``: seconds during which reconnecting is refused)
``times``        how often it strikes (``drop``, ``gap``, ``429`` …: once unless said; the others: until cleared)
``match``        what it strikes: ``"POST /api/v3/order"``, ``"GET /api/v3/*"``, ``"WS order.place"`` or
                 ``"STREAM btcusdt@depth*"``, with ``*`` for anything (default: everything of its kind)
``chance``       the share of matching requests it strikes, drawn from the plan's seed (default 1)
``ms``           how long a ``delay`` holds an answer or a frame back
``retry_after``  seconds a ``429`` or ``418`` asks to wait
``hang``         seconds a ``no_answer`` keeps the connection open in silence before it closes it

``500`` … ``504`` and ``no_answer`` strike after the request was carried out: an order is at the exchange and
its sender is not told. ``429`` and ``418`` strike before: nothing happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import Any

import msgspec

from kit.clock import SECOND
from kit.errors import UnknownName, UsageError

BEFORE = ("429", "418")
AFTER = ("500", "502", "503", "504", "no_answer")
_COMMON = ("kind", "at")
_REQUEST = (*_COMMON, "for", "match", "times", "chance")
KINDS: dict[str, tuple[str, ...]] = {
    "drop": (*_COMMON, "for"),
    "mute": (*_COMMON, "for"),
    "delay": (*_REQUEST, "ms"),
    "gap": (*_COMMON, "for", "match", "times"),
    **dict.fromkeys(BEFORE, (*_REQUEST, "retry_after")),
    **dict.fromkeys(AFTER[:-1], _REQUEST),
    "no_answer": (*_REQUEST, "hang"),
}
"""Kind -> the fields it takes."""
ONCE = ("gap", *BEFORE, *AFTER)
"""Kinds that strike once unless told otherwise."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong. Times are seconds."""

    kind: str
    at: float = 0.0
    duration: float | None = msgspec.field(name="for", default=None)
    match: str = "*"
    times: int | None = None
    chance: float = 1.0
    ms: float = 0.0
    retry_after: int = 1
    hang: float = 0.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A seed and the faults drawn with it."""

    seed: int = 0
    faults: tuple[Fault, ...] = ()


def fault(given: Mapping[str, Any]) -> Fault:
    """One fault from its fields. UnknownName for a kind or field nobody knows, UsageError for a value that can't be."""
    kind = str(given.get("kind", ""))
    if kind not in KINDS:
        raise UnknownName("fault", kind, KINDS)
    for name in given:
        if name not in KINDS[kind]:
            raise UnknownName(f"field of a {kind} fault", name, KINDS[kind])
    try:
        made = msgspec.convert(dict(given) | {"kind": kind}, Fault)
    except msgspec.ValidationError as error:
        raise UsageError(f"the {kind} fault can't be read: {error}") from None
    _check(made)
    return made


def _check(made: Fault) -> None:
    numbers = {"at": made.at, "for": made.duration or 0, "ms": made.ms, "hang": made.hang}
    for name, value in numbers.items():
        if not 0 <= value < float("inf"):
            raise UsageError(f"{name}={value} of a {made.kind} fault must be 0 or more")
    if made.times is not None and made.times < 1:
        raise UsageError(f"times={made.times} of a {made.kind} fault must be 1 or more")
    if not 0 < made.chance <= 1:
        raise UsageError(f"chance={made.chance} of a {made.kind} fault must be above 0 and at most 1")
    if made.kind == "delay" and not made.ms:
        raise UsageError("a delay fault needs ms=, how long to hold things back")


def plan(text: str | bytes) -> Plan:
    """A plan from JSON text; errors as of ``fault``."""
    try:
        given = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise UsageError(f"the fault plan is not a JSON object: {error}") from None
    for name in given:
        if name not in ("seed", "faults"):
            raise UnknownName("field of a fault plan", name, ("seed", "faults"))
    seed, listed = given.get("seed", 0), given.get("faults", [])
    if not isinstance(seed, int) or not isinstance(listed, list) or not all(isinstance(f, dict) for f in listed):
        raise UsageError('a fault plan is {"seed": an integer, "faults": [objects]}')
    return Plan(seed=seed, faults=tuple(fault(each) for each in listed))


@dataclass
class Armed:
    """A fault in force. Times are µs; ``left`` counts the strikes it still has."""

    fault: Fault
    begins: int
    ends: int | None
    left: int | None
    dropped: bool = False

    def live(self, now: int) -> bool:
        return now >= self.begins and (self.ends is None or now < self.ends) and self.left != 0


class Faults:
    """The faults in force and their dice."""

    def __init__(self, planned: Plan, now: int) -> None:
        self._random = Random(planned.seed)  # noqa: S311 - dice of a simulation, not secrets
        self._armed: list[Armed] = []
        for each in planned.faults:
            self.add(each, now)

    def add(self, new: Fault, now: int) -> None:
        """Put a fault in force; its clock starts at ``now``."""
        begins = now + round(new.at * SECOND)
        ends = None if new.duration is None else begins + round(new.duration * SECOND)
        times = new.times if new.times is not None or new.kind not in ONCE else 1
        self._armed.append(Armed(new, begins, ends, times))

    def clear(self) -> None:
        """Put every fault out of force."""
        self._armed.clear()

    def before(self, target: str, now: int) -> Fault | None:
        """What answers a request in place of the exchange: a 429 or 418."""
        return self._strike(BEFORE, target, now)

    def after(self, target: str, now: int) -> Fault | None:
        """What comes back in place of the answer to a request that was carried out."""
        return self._strike(AFTER, target, now)

    def delay(self, target: str, now: int) -> float:
        """Seconds to hold an answer (or a ``STREAM …`` frame) back."""
        struck = self._strike(("delay",), target, now)
        return struck.ms / 1000 if struck else 0.0

    def skips(self, stream: str, now: int) -> bool:
        """True when this depth frame is to be lost."""
        return self._strike(("gap",), f"STREAM {stream}", now) is not None

    def muted(self, now: int) -> bool:
        """True while sockets stay open and say nothing."""
        return any(each.fault.kind == "mute" and each.live(now) for each in self._armed)

    def drops(self, now: int) -> bool:
        """True once for every drop whose time has come: close every socket now."""
        due = [each for each in self._armed if each.fault.kind == "drop" and not each.dropped and now >= each.begins]
        for each in due:
            each.dropped = True
        return bool(due)

    def refuses(self, now: int) -> bool:
        """True while a drop keeps clients from reconnecting."""
        return any(
            each.fault.kind == "drop" and each.begins <= now < (each.ends or each.begins) for each in self._armed
        )

    def _strike(self, kinds: tuple[str, ...], target: str, now: int) -> Fault | None:
        for each in self._armed:
            if each.fault.kind in kinds and each.live(now) and _matches(each.fault, target) and self._drawn(each):
                if each.left is not None:
                    each.left -= 1
                return each.fault
        return None

    def _drawn(self, each: Armed) -> bool:
        return each.fault.chance >= 1 or self._random.random() < each.fault.chance


def _matches(struck: Fault, target: str) -> bool:
    """``*`` alone means requests, or depth frames for a gap; frames are named by ``STREAM …`` only."""
    if struck.match == "*":
        return struck.kind == "gap" or not target.startswith("STREAM ")
    return fnmatchcase(target, struck.match)
