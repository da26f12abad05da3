"""Faults as data: what goes wrong, when, how often, for whom. Pure and seeded.

A plan is JSON: ``{"seed": 7, "faults": [{"at": 5.0, "kind": "drop"}, …]}``. The kinds:

``drop``         every socket is cut; for ``for`` seconds nobody may reconnect (503, with ``retry_after`` if given)
``mute``         sockets stay open, answer pings and say nothing; with a ``match`` only these streams are silent, and
                 subscribing to them is still confirmed
``freeze``       the market-stream connections open by then are half open: nothing goes in or out any more, not even a
                 pong, until each is cut after ``for`` seconds (at the latest when its pong is overdue, 80 s)
``shutdown``     the market-stream connections open by then are told ``serverShutdown`` and cut ``for`` seconds later
                 (600, about as at the venue); new connections are welcome meanwhile and stay
``lag``          the market-stream connections open by then get everything ``ms`` late, in order; others don't
``gap``          frames are lost: depth frames, or those of a ``match``
``duplicate``    frames are sent twice
``tear``         a frame breaks off somewhere in the middle, and its connection with it
``refuse``       a SUBSCRIBE message is answered with an error, and none of its streams is subscribed to
``delay``        a request is answered ``ms`` late, or the frames of a ``match`` are held back and all others behind
                 them: a depth snapshot then is newer than the diffs, with ``"GET /api/v3/depth"`` older
``429 418``      a request is turned away before anything happened
``500 502 503 504 no_answer``
                 a request is carried out, and its sender is not told: an order is at the exchange

Fields of a fault:

``at``           seconds after the plan is put in force before the fault can strike (default 0)
``for``          seconds it stays in force, or as said above
``times``        how often it strikes (``gap``, ``tear``, ``refuse`` and what costs a request its answer: once unless
                 said; the others: until cleared)
``match``        what it strikes: ``"POST /api/v3/order"``, ``"GET /api/v3/*"``, ``"WS order.place"``,
                 ``"STREAM btcusdt@depth*"`` or, of what an account's own stream tells, ``"USER executionReport"``, with
                 ``*`` for anything (default: everything of its kind, and nothing of an account's own stream)
``chance``       the share of what matches that it strikes (requests, frames, connections), drawn from the plan's seed
                 (default 1)
``ms``           how long a ``delay`` or ``lag`` holds things back
``retry_after``  seconds a ``429`` or ``418`` (default 1) or a ``drop`` asks to wait
``hang``         seconds a ``no_answer`` keeps the connection open in silence before it closes it
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
_CONNECTIONS = (*_COMMON, "for", "chance")
_MATCHED = (*_COMMON, "for", "match", "times", "chance")
KINDS: dict[str, tuple[str, ...]] = {
    "drop": (*_COMMON, "for", "retry_after"),
    "mute": (*_COMMON, "for", "match"),
    "freeze": _CONNECTIONS,
    "shutdown": _CONNECTIONS,
    "lag": (*_CONNECTIONS, "ms"),
    "gap": _MATCHED,
    "duplicate": _MATCHED,
    "tear": _MATCHED,
    "refuse": _MATCHED,
    "delay": (*_MATCHED, "ms"),
    **dict.fromkeys(BEFORE, (*_MATCHED, "retry_after")),
    **dict.fromkeys(AFTER[:-1], _MATCHED),
    "no_answer": (*_MATCHED, "hang"),
}
"""Kind -> the fields it takes."""
ONCE = ("gap", "tear", "refuse", *BEFORE, *AFTER)
"""Kinds that strike once unless told otherwise."""
STREAMS = ("mute", "gap", "duplicate", "tear", "refuse")
"""Kinds that befall streams and never a request."""
FRAMES = ("STREAM ", "USER ")
"""How a match begins that names frames: the market's, and an account's own."""
LASTS = {"shutdown": 600.0}
"""Seconds a kind stays in force unless told otherwise."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong. Times are seconds."""

    kind: str
    at: float = 0.0
    duration: float | None = msgspec.field(name="for", default=None)
    match: str = "*"
    times: int | None = None
    chance: float = 1.0
    ms: float = 0.0
    retry_after: int | None = None
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
    return msgspec.structs.replace(made, retry_after=1) if kind in BEFORE and made.retry_after is None else made


def _check(made: Fault) -> None:
    numbers = {
        "at": made.at,
        "for": made.duration or 0,
        "ms": made.ms,
        "hang": made.hang,
        "retry_after": made.retry_after or 0,
    }
    for name, value in numbers.items():
        if not 0 <= value < float("inf"):
            raise UsageError(f"{name}={value} of a {made.kind} fault must be 0 or more")
    if made.times is not None and made.times < 1:
        raise UsageError(f"times={made.times} of a {made.kind} fault must be 1 or more")
    if not 0 < made.chance <= 1:
        raise UsageError(f"chance={made.chance} of a {made.kind} fault must be above 0 and at most 1")
    if "ms" in KINDS[made.kind] and not made.ms:
        raise UsageError(f"a {made.kind} fault needs ms=, how long to hold things back")
    named = ("STREAM ",) if made.kind == "refuse" else FRAMES
    if made.kind in STREAMS and not made.match.startswith((*named, "*")):
        account = "" if made.kind == "refuse" else " or 'USER executionReport'"
        raise UsageError(
            f"match={made.match!r} of a {made.kind} fault must name streams, as in 'STREAM btcusdt@trade'{account}"
        )


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
    told: bool = False

    def live(self, now: int) -> bool:
        return now >= self.begins and (self.ends is None or now < self.ends) and self.left != 0

    @property
    def cleared(self) -> bool:
        """True once it was put out of force."""
        return self.left == 0


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
        lasts = LASTS.get(new.kind) if new.duration is None else new.duration
        ends = None if lasts is None else begins + round(lasts * SECOND)
        times = new.times if new.times is not None or new.kind not in ONCE else 1
        self._armed.append(Armed(new, begins, ends, times))

    def clear(self) -> None:
        """Put every fault out of force."""
        for each in self._armed:
            each.left = 0
        self._armed.clear()

    # -- requests

    def before(self, target: str, now: int) -> Fault | None:
        """What answers a request in place of the exchange: a 429 or 418."""
        return self._strike(BEFORE, target, now)

    def after(self, target: str, now: int) -> Fault | None:
        """What comes back in place of the answer to a request that was carried out."""
        return self._strike(AFTER, target, now)

    def delay(self, target: str, now: int) -> float:
        """Seconds to hold an answer (or a frame, ``STREAM …`` or ``USER …``) back."""
        struck = self._strike(("delay",), target, now)
        return struck.ms / 1000 if struck else 0.0

    # -- streams: a target is ``STREAM …`` or ``USER …``

    def strikes(self, kind: str, target: str, now: int) -> bool:
        """True when a fault of ``kind`` (one of ``STREAMS``) befalls this frame, or this stream's subscription, now."""
        return self._strike((kind,), target, now) is not None

    def copies(self, target: str, now: int) -> int:
        """How often this frame is sent: once, unless it is lost or comes twice."""
        if self.strikes("mute", target, now) or self.strikes("gap", target, now):
            return 0
        return 2 if self.strikes("duplicate", target, now) else 1

    def torn(self, target: str, now: int) -> float | None:
        """How much of this frame, as a share, is still sent before its connection breaks; None: all, and it holds."""
        return self._random.random() if self.strikes("tear", target, now) else None

    # -- sockets

    def muted(self, now: int) -> bool:
        """True while sockets stay open and say nothing at all."""
        return any(each.fault.kind == "mute" and each.fault.match == "*" and each.live(now) for each in self._armed)

    def begun(self, kind: str, now: int) -> list[Armed]:
        """The faults of a kind whose time has come, each told once."""
        due = [each for each in self._armed if each.fault.kind == kind and not each.told and now >= each.begins]
        for each in due:
            each.told = True
        return due

    def drawn(self, each: Armed) -> bool:
        """Whether it strikes one more of those it may strike."""
        return each.fault.chance >= 1 or self._random.random() < each.fault.chance

    def drops(self, now: int) -> bool:
        """True once for every drop whose time has come: close every socket now."""
        return bool(self.begun("drop", now))

    def refuses(self, now: int) -> Fault | None:
        """The drop that keeps clients from reconnecting now."""
        live = (each for each in self._armed if each.fault.kind == "drop" and each.ends and each.live(now))
        return next((each.fault for each in live), None)

    def _strike(self, kinds: tuple[str, ...], target: str, now: int) -> Fault | None:
        for each in self._armed:
            if each.fault.kind in kinds and each.live(now) and _matches(each.fault, target) and self.drawn(each):
                if each.left is not None:
                    each.left -= 1
                return each.fault
        return None


def _matches(struck: Fault, target: str) -> bool:
    """``*`` alone means every request, every stream, or every depth stream for a gap, as the kind has it."""
    if struck.match != "*":
        return fnmatchcase(target, struck.match)
    if struck.kind == "gap":
        return "@depth" in target
    return target.startswith("STREAM ") if struck.kind in STREAMS else not target.startswith(FRAMES)
