"""One seed's world: the real supervisor, mirrors and codec between a simulated venue, network, REST door and clock.

Time is a queue of events. A storm of drawn troubles comes first; then everything is healed, the world runs on until
all mirrors are LIVE, the market stands still, and what the mirrors show must be what the venue is. ``log`` tells all
of it, and one seed always tells the same.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kit.clock import SECOND
from kit.errors import KitError
from kit.market.feed import FeedState
from kit.market.mirror import Mirror
from kit.market.strand import Ask, Need
from kit.model import BookDelta, BookSnapshot, Candle, Channel, Quote, Trade
from kit.net.feeder import subscriptions
from kit.net.inquiry import PROBES
from kit.net.link import Allowance
from kit.net.pacing import FOR_READS, FOR_SPARE, Pacer
from kit.net.supervisor import BEAT, Hangup, Open, Send, Supervisor
from kit.venues.base import Call, MarketEvent, Subscription
from tests.sim.binance_voice import BinanceVoice
from tests.sim.door import Door
from tests.sim.errand import Errand, Wanted
from tests.sim.faults import Mix
from tests.sim.laws import SLACK, Witness
from tests.sim.manners import Manners
from tests.sim.network import Network
from tests.sim.venue import START, STEP, Market
from tests.sim.voice import Voice

STORM = 50.0
"""Seconds of trouble."""
RECOVERY = 150.0
"""Seconds after which, everything healed, all must be LIVE."""
STALE_AFTER, MUTE_AFTER = 6.0, 10.0
SNAPSHOTS = (4, 6.0)
"""So many book snapshots in so many seconds, for all instruments together."""
SPARE = 4 * SECOND
"""µs that what is not worth waiting for waits (``kit.net.rest``)."""
BINANCE = BinanceVoice()
BOOKS = (Need.BOOK, Need.AUDIT)
CHANNELS: dict[type[MarketEvent], Channel] = {
    Trade: Channel.TRADE,
    Candle: Channel.CANDLE,
    Quote: Channel.QUOTE,
    BookDelta: Channel.BOOK,
    BookSnapshot: Channel.BOOK,
}


@dataclass(eq=False)
class Seat:
    """One instrument's mirror and who watches it: the supervisor's listener."""

    world: World
    market: Market
    mirror: Mirror
    witness: Witness
    wanted: list[Subscription]
    taken: set[tuple[Channel, int]] = field(default_factory=set)
    """Quotes and book updates that came."""
    up_at: dict[Channel, int] = field(default_factory=dict)
    """When each channel was last confirmed, by our clock."""
    states: dict[Channel, FeedState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.feeds = self.mirror.feeds

    def subscription(self, channel: Channel) -> Subscription:
        return next(sub for sub in self.wanted if sub.channel is channel)

    def shown(self) -> tuple[Any, ...]:
        """What an answer may change."""
        mirror = self.mirror
        return mirror.book.epoch, mirror.quote, mirror.trades.last_id, mirror.candles.version

    def up(self, subscription: Subscription, link: int, now: int) -> None:
        self.up_at[subscription.channel] = now
        self.world.note("up", subscription.native, subscription.channel, link)
        self._guarded(subscription.channel, self.mirror.up, subscription.channel, link, now)

    def down(self, subscription: Subscription, reason: str, now: int) -> None:
        self.world.note("down", subscription.native, subscription.channel, reason)
        self._guarded(subscription.channel, self.mirror.down, subscription.channel, reason, now)

    def take(self, events: Sequence[MarketEvent], now: int) -> None:
        for event in events:
            self._take(event, now)

    def _take(self, event: MarketEvent, now: int) -> None:
        channel = CHANNELS[type(event)]
        if isinstance(event, Quote):
            self.taken.add((channel, event.update_id))
        elif isinstance(event, BookDelta) and event.last_id:
            self.taken.add((channel, event.last_id))
        elif isinstance(event, BookDelta):  # the book is the quote too, and its time says which it is
            self.taken |= {(channel, event.time), (Channel.QUOTE, event.time)}
            self.world.touched[self.market.native, Channel.QUOTE] = None
        self._guarded(channel, self.mirror.take, event, now)

    def _guarded(self, channel: Channel, act: Callable[..., None], *args: Any) -> None:
        """The supervisor keeps a listener's error to itself; here it ends the run."""
        self.world.touched[self.market.native, channel] = None
        try:
            act(*args)
        except Exception as error:
            self.world.error = self.world.error or error
            raise


class World:
    """A seed's world. ``run`` lives it through; what must not be raises AssertionError."""

    def __init__(self, seed: int, voice: Voice = BINANCE, *, mix: Mix | None = None, levels: int | None = None) -> None:
        self.voice, self._codec = voice, voice.codec
        self.seed, self.now, self.offset = seed, START, 0
        self.log: list[tuple[Any, ...]] = []
        self.touched: dict[tuple[str, Channel], None] = {}
        self.mix = Mix.draw(seed, STORM) if mix is None else mix
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._awake = 0
        self._offsets = [(0, 0)]
        self._late: list[tuple[int, int]] = []
        """When frames came that had been on their way for long, and how long: the later, the less."""
        self.error: Exception | None = None
        self._arrived: dict[int, list[bytes]] = {}
        """What a connection has brought at this moment."""
        self._links: set[int] = set()
        """Those that stand, as far as we know."""
        self.halted = 0
        """When the market stood still."""
        self._pacer, self._snapshots = Pacer(), Allowance(*SNAPSHOTS)
        budgets = self._codec.budgets()
        self._pacer.learn(() if isinstance(budgets, Call) else budgets, START)
        random = Random(seed)  # noqa: S311 - the same
        interval = random.choice(voice.intervals)
        begin = START - random.randint(1, 3) * STEP[interval] - random.randint(0, STEP[interval])
        self.limit = levels or random.choice((1000, 1000, 10))
        """Levels a side in a snapshot by REST."""
        rows = [random.choice((40, 3_000)) for _ in range(3)]
        natives = voice.natives[: random.randint(2, 3)]
        self.markets = {n: Market(voice, n, interval, random.randint(0, 2**40), begin) for n in natives}
        self.network = Network(self, self, voice, self.markets, self.mix, seed + 1)
        self.door = Door(self, voice, self.markets, seed + 2)
        self.supervisor = Supervisor(self._codec, seed=seed, mute_after=MUTE_AFTER, lifetime=self.mix.lifetime)
        self.seats = {n: self._seat(market, rows) for n, market in self.markets.items()}

    def _seat(self, market: Market, rows: Sequence[int]) -> Seat:
        native, interval = market.native, market.interval
        candles, trades, quotes = rows
        mirror = Mirror(
            native,
            interval,
            self._codec.streaming,
            stale_after=STALE_AFTER,
            candle_rows=candles,
            trade_rows=trades,
            quote_rows=quotes,
            snapshot_levels=self.limit,
        )
        witness = self.voice.witness(market, mirror)
        return Seat(self, market, mirror, witness, subscriptions(self._codec, native, interval))

    # -- time

    def at(self, time: int, act: Callable[..., None], *args: Any) -> None:
        """Have ``act`` done at ``time``, the venue's."""
        self._count += 1
        heapq.heappush(self._queue, (time, self._count, act, args))

    @property
    def local(self) -> int:
        """What our own clock says."""
        return self.now + self.offset

    def note(self, *words: Any) -> None:
        self.log.append((self.local - START, *words))

    def digest(self) -> str:
        """Equal for equal logs."""
        return hashlib.sha256(repr(self.log).encode()).hexdigest()

    # -- the run

    def run(self) -> World:
        """The storm, the healing, and the quiet after it."""
        self.begin()
        self.live_until(START + round(STORM * SECOND))
        self.heal()
        self.recover()
        return self.settle()

    def begin(self) -> None:
        """The market has been open for a while; now somebody looks."""
        for seat in self.seats.values():
            while seat.market.due <= START:
                seat.market.advance()
            self._next(seat.market)
            seat.mirror.start()
            later = START + self._random.choice((0, 0, self._random.randint(0, 20 * SECOND)))
            self.at(later, self._subscribe, seat)
        for after, trouble in self.mix.plan:
            self.at(START + after, self._trouble, trouble)
        self.at(START, self._beat)

    def live_until(self, end: int) -> None:
        """Let everything happen that happens until ``end``."""
        queue = self._queue
        while queue[0][0] <= end:
            self.now, _, act, args = heapq.heappop(queue)
            act(*args)
            if self.error is not None:
                raise self.error
        self.now = end

    def heal(self) -> None:
        self.note("healed")
        self.network.heal()
        self.door.heal()

    def recover(self) -> None:
        """All come back to LIVE and stay so for longer than anything could be amiss unnoticed."""
        well, deadline = 0, self.now + round(RECOVERY * SECOND)
        while well < 14:
            self.live_until(self.now + SECOND)
            well = well + 1 if self._all_live() else 0
            assert self.now < deadline, f"not LIVE {RECOVERY:.0f} s after everything was healed: {self.where()}"

    def _all_live(self) -> bool:
        return all(seat.mirror.at(self.local) is FeedState.LIVE for seat in self.seats.values())

    def settle(self) -> World:
        """The market stands still; all that is on its way arrives, and a quiet market is LIVE all the same."""
        self.note("halted")
        self.halted = self.now
        for market in self.markets.values():
            market.halt(self.now)
            self._next(market)
        self.live_until(self.now + 25 * SECOND)
        deadline = self.now + 30 * SECOND  # a channel that was mute is found out by what the last trade said
        while not self._all_live() and self.now < deadline:
            self.live_until(self.now + SECOND)
        assert self._all_live(), f"not LIVE at rest: {self.where()}"
        for seat in self.seats.values():
            seat.witness.finish()
            lost = {number for name, number in self.network.losses if name.startswith(seat.market.native)}
            unseeable = seat.witness.unseeable(lost, self.network.mutes, seat.taken)
            seat.witness.check_gaps(seat.taken | unseeable, self._clock_said, self._lag())
        Manners(self.voice).read(self.log)
        return self

    def _clock_said(self, time: int) -> int:
        """What our clock said at the venue's ``time``."""
        return time + next(offset for since, offset in reversed(self._offsets) if since <= time)

    def _lag(self) -> int:
        """How much later than its cause a message may come, or how much older than its time an answer may be, µs."""
        held_up = any(kind in ("stall", "sleep") for _, kind in self.mix.plan)
        return 30 * SECOND if held_up else 3 * SECOND

    def where(self) -> str:
        """Where each mirror stands."""
        return "; ".join(
            f"{native} {' '.join(f'{c} {f.state} {f.reason}' for c, f in seat.mirror.feeds.items())}"
            for native, seat in self.seats.items()
        )

    # -- the market

    def _next(self, market: Market) -> None:
        self.at(market.due, self._move, market)

    def _move(self, market: Market) -> None:
        if market.due > self.now:  # it was halted meanwhile
            self._next(market)
            return
        for said in market.advance():
            if said.at == self.now:
                self.network.publish(said)
            else:
                self.at(said.at, self.network.publish, said)
        self._next(market)

    # -- the kit, told of what happens

    def _subscribe(self, seat: Seat) -> None:
        self.note("subscribe", seat.market.native)
        self.supervisor.subscribe(seat.wanted, seat, self.local)
        self._act()

    def _beat(self) -> None:
        self.at(self.now + round(BEAT * SECOND), self._beat)
        if self.now < self._awake:
            return
        self._act()
        for seat in self.seats.values():
            seat.mirror.tick(self.local)
            self._look(seat)
            draw = self._random.random()
            if draw < 0.01:
                seat.witness.keep_frames()
            elif draw < 0.02:
                seat.mirror.audit(self.local)

    def _act(self) -> None:
        """Do what the supervisor says."""
        for action in self.supervisor.step(self.local):
            self.note(type(action).__name__, *action)
            match action:
                case Open(link=link):
                    self.network.open(link)
                case Send(link=link, text=text):
                    self.network.send(link, text)
                case Hangup(link=link):
                    self._links.discard(link)
                    self.network.hang_up(link)
        self._look_at_touched()
        for seat in () if self._links else self.seats.values():
            live = [channel for channel, feed in seat.feeds.items() if feed.state is FeedState.LIVE]
            assert not live, f"{seat.market.native}: {live} are LIVE without a connection"

    def _look(self, seat: Seat, *channels: Channel) -> None:
        """After anything that changed a mirror: ask what it asks, and see whether what it shows is true."""
        if seat.mirror.restless:
            for ask in seat.mirror.asks(self.local):
                self._ask(seat, ask)
        for channel in channels or Channel:
            late = self._lateness(seat.feeds[channel].stale_after + SLACK)
            state = seat.witness.look(channel, self.local, self.now, late)
            if state is not seat.states.get(channel):
                seat.states[channel] = state
                self.note("state", seat.market.native, channel, state)

    def _lateness(self, within: int) -> int:
        """How late frames came ``within`` µs, at most: a feed is as young as they, whatever they tell of."""
        return next((each for at, each in self._late if at >= self.now - within), 0)

    def _came_late(self, by: int) -> None:
        late = self._late
        while late and late[-1][1] <= by:
            late.pop()
        if not late or late[-1][0] < self.now:
            late.append((self.now, by))

    def _look_at_touched(self) -> None:
        while self.touched:
            touched, self.touched = self.touched, {}
            for native, channel in touched:
                self._look(self.seats[native], channel)

    def hear_opened(self, link: int) -> None:
        if self._asleep(self.hear_opened, link):
            return
        self._links.add(link)
        self.note("opened", link)
        self.supervisor.opened(link, self.local)
        self._act()

    def hear_frame(self, link: int, frame: bytes, told: tuple[str, int], sent: int) -> None:
        if self._asleep(self.hear_frame, link, frame, told, sent):
            return
        if self.now - sent > SECOND:
            self._came_late(self.now - sent)
        self.note("frame", link, *told)
        if link not in self._arrived:
            self.at(self.now, self._hand_on, link)
        self._arrived.setdefault(link, []).append(frame)

    def _hand_on(self, link: int) -> None:
        """What comes at one moment is read together."""
        if frames := self._arrived.pop(link, None):
            self.supervisor.received(link, frames, self.local)
            self._look_at_touched()

    def hear_ended(self, link: int, reason: str, retry_after: float) -> None:
        if self._asleep(self.hear_ended, link, reason, retry_after):
            return
        self._hand_on(link)
        self._links.discard(link)
        self.note("ended", link, reason, retry_after)
        self.supervisor.ended(link, reason, self.local, retry_after)
        self._act()

    def _asleep(self, act: Callable[..., None], *args: Any) -> bool:
        """While the machine sleeps nothing is heard; what came is heard when it wakes."""
        if self.now < self._awake:
            self.at(self._awake, act, *args)
            return True
        return False

    # -- questions to REST

    def _ask(self, seat: Seat, ask: Ask) -> None:
        self.note("ask", seat.market.native, ask.need, ask.start)
        if ask.need is Need.RENEWAL:
            self.supervisor.renew(seat.subscription(ask.channel), self.local)
            self._act()
        elif ask.need in BOOKS and not self._snapshots.take(self.local):
            seat.mirror.failed(ask, self.local, "waiting for its turn to ask for the book", 1.0)
        else:
            self._go_on(seat, Errand(ask, self.local, self.offset))

    def _go_on(self, seat: Seat, errand: Errand) -> None:
        """The next exchange that the question takes; after the last one it is answered."""
        native, rows = seat.market.native, seat.mirror.candles.capacity
        try:
            value = errand.told(self._codec, native, seat.market.interval, rows=rows, levels=self.limit)
        except Wanted as wanted:
            self._leave(seat, errand, wanted.call)
        except KitError as error:
            seat.mirror.failed(errand.ask, self.local, str(error))
        else:
            self._answer(seat, errand.ask, value)

    def _leave(self, seat: Seat, errand: Errand, call: Call[Any]) -> None:
        """Send a question once the venue's limits let it."""
        wait = self._pacer.wait(call.weight, self.local, share=FOR_SPARE if call.spare else FOR_READS)
        if call.spare and wait > SPARE:
            seat.mirror.failed(errand.ask, self.local, "held back", wait / SECOND)
            return
        if wait:
            self.at(self.now + wait, self._leave, seat, errand, call)
            return
        ticket = self._pacer.send(call.weight, self.local)
        self.note("rest", call.path)

        def done(status: int, headers: Mapping[str, str], body: bytes) -> None:
            self._pacer.answered(ticket, {})
            self._answered(seat, errand, call, status, headers, body)

        self.door.ask(call, done)

    def _answered(
        self, seat: Seat, errand: Errand, call: Call[Any], status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        if self._asleep(self._answered, seat, errand, call, status, headers, body):
            return
        self.note("answer", seat.market.native, errand.ask.need, status)
        failure = self._codec.failure(call, status, headers, body) if status else None
        wait = failure.retry_after if failure is not None and failure.retry_after else 0.0
        if wait:
            self._pacer.hold(self.local + round(wait * SECOND), order=False)
        if not status or failure is not None:
            seat.mirror.failed(errand.ask, self.local, f"HTTP {status}", wait)
        else:
            self._read(seat, errand, call, body)
        self._look(seat)

    def _read(self, seat: Seat, errand: Errand, call: Call[Any], body: bytes) -> None:
        try:
            errand.answers.append(call.read(body))
        except KitError as error:
            seat.mirror.failed(errand.ask, self.local, str(error))
        else:
            self._go_on(seat, errand)

    def _answer(self, seat: Seat, ask: Ask, value: Any) -> None:
        if ask.need in BOOKS:
            seat.witness.told(value, self.limit, audit=ask.need is Need.AUDIT)
        before = seat.shown()
        proved = seat.mirror.answer(ask, value, self.local)
        late = ask.need not in PROBES and ask.at < seat.up_at.get(ask.channel, 0)
        assert not late or seat.shown() == before, f"an answer from before the last connection was taken: {ask}"
        if proved:
            self.supervisor.vouch(self.local)

    # -- troubles

    def _trouble(self, kind: str) -> None:
        self.note("trouble", kind)
        for place in (self.network, self.door, self):
            act = getattr(place, kind, None)
            if act is not None:
                act()
                return
        raise AssertionError(f"nobody can {kind}")

    def jump(self) -> None:
        """Our clock is set forward."""
        self.offset += self._random.randint(SECOND // 2, 40 * SECOND)
        self._offsets.append((self.now, self.offset))

    def sleep(self) -> None:
        """The machine sleeps; its clock does not."""
        self._awake = self.now + self._random.randint(SECOND, 25 * SECOND)
