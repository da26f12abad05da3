"""A venue: its language, its hosts and our connections to it. ``connect`` gives one; its verbs give plain frames.

Every frame's ``attrs`` say where it comes from (``environment`` is SANDBOX for the embedded, simulated exchange). Times
are UTC; a time without a zone is read as UTC. Ranges are half-open: ``start`` belongs to them, ``end`` does not, so
``start="2026-01-01", end="2026-02-01"`` is January.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from kit.clock import Clock, WallClock
from kit.errors import BadRange, UnknownName, UsageError
from kit.market import candles as bars
from kit.market import tables
from kit.market.candles import Moment
from kit.market.feed import FeedState
from kit.model import Instrument, Quote
from kit.net import keys, paging
from kit.net.history import History
from kit.net.listing import Listing
from kit.net.progress import shown
from kit.net.rest import Rest
from kit.runtime import home, runtime
from kit.venues.base import Codec, Hosts, Key, MarketCodec, Subscription
from kit.venues.binance import BINANCE
from kit.venues.coinbase import COINBASE
from kit.venues.kraken import KRAKEN

if TYPE_CHECKING:
    from kit.net.live import Live
    from kit.net.loop import Loop
    from kit.net.recorder import Recorder
    from kit.net.stream import Streams
    from kit.sandbox.launcher import Handle

CODECS: Mapping[str, MarketCodec] = {codec.name: codec for codec in (BINANCE, COINBASE, KRAKEN)}
NEWEST = 500
"""How many candles come when neither a start nor a limit is given."""
OPENING = 10.0
"""Seconds that ``live`` waits for its first picture."""

_CONNECTING = threading.Lock()


class Venue:
    """One environment of a venue. Safe to use from any thread; ``close`` ends its connections and live frames."""

    def __init__(
        self,
        codec: MarketCodec,
        environment: str,
        hosts: Hosts,
        *,
        key: Key | None = None,
        sandbox: Handle | None = None,
        clock: Clock | None = None,
        rest: Rest | None = None,
    ) -> None:
        self.name, self.environment = codec.name, environment.upper()
        self.codec, self.hosts, self.sandbox = codec, hosts, sandbox
        self._clock = clock or WallClock()
        self.rest = rest or Rest(codec, hosts, key=key, clock=self._clock, home=home)
        self._history, self._listing = History(codec, self.rest, self._clock), Listing(self.rest)
        self._lock = threading.Lock()
        self._streams: list[Streams] = []
        self._tapes: list[Recorder] = []
        self._lives: list[Live] = []
        self._closed = False

    # -- what is traded, and when

    def instruments(self) -> pd.DataFrame:
        """Everything that is traded here, asked anew: index ``symbol`` (BASE/QUOTE); steps and minima as floats."""
        return tables.instruments(self._listing.all(), self._origin())

    def instrument(self, symbol: str) -> Instrument:
        """An instrument with its trading rules, by any spelling (BTC/USDT, btc-usdt, BTCUSDT; XBT/USD at Kraken).

        It is asked for once; ``instruments()`` asks anew. UnknownName suggests the nearest; UsageError where one word
        (ABCD) may be two instruments.
        """
        return self._listing.find(symbol)

    def time(self) -> pd.Timestamp:
        """The venue's clock, now."""
        self.rest.sync()
        return pd.Timestamp(self.rest.clock.now(), unit="us", tz="UTC")

    # -- market data

    def candles(
        self,
        symbol: str,
        interval: str = "1m",
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        limit: int | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Candles that open in [start, end): a frame of ``kit.market.candles``.

        Without ``start`` they are the newest ``limit`` (default 500) before ``end`` (default: now); with it all of
        them, or the first ``limit``. The bar that still forms has ``closed`` False. Bars that the venue does not have
        are listed in ``attrs["holes"]``; no bar at all is an empty frame. What takes over a second shows a bar.
        Coinbase has no bars without trades, so where few are traded fewer than ``limit`` come; Kraken has the newest
        720 only.

        Raises UnknownName for a symbol or interval nobody knows, BadRange for a range that can't be.
        """
        self._check_interval(interval)
        first, last = _range(start, end, limit)
        instrument = self.instrument(symbol)
        now = self._history.now(last)
        _refuse_future(start, first, now)
        until = now if last is None else min(last, now)
        most = limit or (NEWEST if first is None else bars.bar_count(first, until, interval))
        pages = self._history.candles(instrument.native, interval, first, last, limit if first is not None else most)
        title = f"{instrument.symbol} {interval}"
        columns = bars.join(list(shown(pages, _rows, title, most, self._clock, wanted=progress)))
        cut = first is not None and len(columns["time"]) == limit
        holes = _holes(columns["time"], interval, first, int(columns["time"][-1]) + 1 if cut else until, now)
        attrs = bars.labels(instrument.symbol, interval, self.name, self.environment, holes, instrument)
        return bars.frame(columns, columns["closed"], attrs) if len(columns["time"]) else bars.empty(attrs)

    def trades(
        self,
        symbol: str,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        limit: int | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Public trades: index ``time`` (several may share one), columns ``id price qty side``; side is the taker's.

        Without ``start`` they are the newest ``limit`` (default 1000), with it all in [start, end), or the first
        ``limit``. No trades: an empty frame. Raises UnknownName and BadRange as ``candles`` does.
        """
        first, last = _range(start, end, limit)
        if first is None and last is not None:
            raise BadRange(f"trades up to end={end!s} need a start= as well; nothing was asked")
        if first is not None and first > self.rest.clock.now():  # as far as is known: then the venue is asked
            _refuse_future(start, first, self._history.now())
        instrument = self.instrument(symbol)
        pages = self._history.trades(instrument.native, first, last, limit)
        came = shown(pages, len, f"{instrument.symbol} trades", limit, self._clock, wanted=progress)
        return tables.trades(paging.ascending(came), {"symbol": instrument.symbol, **self._origin()})

    def book(self, symbol: str, limit: int = 100) -> pd.DataFrame:
        """The order book now, ``limit`` levels a side: columns ``side`` (bid, then ask) ``price qty``, best first."""
        _check_limit(limit)
        instrument = self.instrument(symbol)
        snapshot = self.rest.do(self.codec.book(instrument.native, limit))
        return tables.book(snapshot, limit, {"symbol": instrument.symbol, **self._origin()})

    def quote(self, symbol: str) -> Quote:
        """Best bid and ask now."""
        instrument = self.instrument(symbol)
        quote = self.rest.do(self.codec.quote(instrument.native))
        return msgspec.structs.replace(quote, symbol=instrument.symbol)

    def live(self, symbol: str, interval: str = "1m", *, coalesce: float = 0.0) -> Live:
        """Frame, trades, quote and book that follow the market in the background; asked again, it is the same one.

        ``coalesce`` (s) looks at the socket only so often: with 0.005 a busy market costs a fraction of the CPU and
        comes up to 5 ms later, which ``live.latency`` shows. Leave it 0 where freshness counts.

        Waits up to ``OPENING`` seconds for its first picture; what is missing then comes in the background, and
        ``live.state`` and ``live.reason`` say so.
        """
        from kit.net.live import Live
        from kit.net.loop import Loop

        self._check_interval(interval)
        instrument = self.instrument(symbol)
        loop = runtime.get(Loop, "streams", Loop)
        name = f"{self.title} {instrument.symbol} {interval}" + (f" every {coalesce:g} s" if coalesce else "")
        live = runtime.get(Live, name, partial(self._open, loop, instrument, interval, float(coalesce)))
        if live.state in (FeedState.CONNECTING, FeedState.SYNCING):
            live.ready(OPENING)
        return live

    def record(self, path: str | Path) -> Recorder:
        """Write every frame and REST answer of this venue to a tape, byte for byte, until the tape is closed.

        ``kit replay`` plays it. Where live frames are open already, their books are asked for again, so that the tape
        has what they were built from. Raises UsageError where there is a file at ``path`` already, StoreError where
        nothing can be written.
        """
        from kit.net.recorder import Recorder

        name = "sandbox" if self.environment == "SANDBOX" else self.name  # simulated data says so on tape too
        recorder = Recorder(name, path, self._clock)
        with self._lock:
            self._tapes = [*(tape for tape in self._tapes if tape.recording), recorder]
            self.rest.witnesses = tuple(self._tapes)
            streams, lives = list(self._streams), list(self._lives)
        for each in streams:
            each.witness(recorder)
        for live in lives:
            live.retell()
        return recorder

    def followed(self, symbol: str) -> Live | None:
        """The first live frame of BASE/QUOTE that is still open here, whatever its interval; None opens none."""
        with self._lock:
            lives = list(self._lives)
        return next((live for live in lives if live.symbol == symbol and live.state != "CLOSED"), None)

    def close(self) -> None:
        """Close the live frames opened here, and every connection. May be called twice."""
        runtime.forget(self)
        with self._lock:
            self._closed = True
            lives, streams, tapes = list(self._lives), list(self._streams), list(self._tapes)
        for live in lives:
            live.close()
        for each in streams:
            each.close()
        for tape in tapes:
            tape.close()
        self.rest.close()

    @property
    def title(self) -> str:
        """What this venue, and what runs on it, is called in the runtime."""
        return f"{self.name} {self.environment} {self.hosts.rest}"

    @property
    def trading(self) -> Codec:
        """The venue's language of orders and accounts; UsageError where only its market data is spoken."""
        if isinstance(self.codec, Codec):
            return self.codec
        raise UsageError(
            f"of {self.name} the kit reads the market data and does not speak orders and accounts yet; nothing was "
            "sent. Trade on paper there, with kit.paper(venue)"
        )

    def __repr__(self) -> str:
        simulated = ", simulated" if self.environment == "SANDBOX" else ""
        key = ", with a key" if self.rest.key else ""
        return f"<venue {self.name} · {self.environment}{simulated} · {self.hosts.rest}{key}>"

    # -- inside

    def _open(self, loop: Loop, instrument: Instrument, interval: str, coalesce: float) -> Live:
        from kit.net.feeder import subscriptions
        from kit.net.live import Live

        wanted = subscriptions(self.codec, instrument.native, interval)
        with self._lock:
            if self._closed:
                raise UsageError(f"{self!r} is closed; kit.connect() opens another")
            live = Live(
                self.codec,
                self.rest,
                self._roomy(loop, wanted, coalesce),
                loop=loop,
                clock=self._clock,
                instrument=instrument,
                interval=interval,
                environment=self.environment,
                on_close=self._forget,
                record=self.record,
            )
            self._lives.append(live)
        return live

    def _roomy(self, loop: Loop, wanted: Iterable[Subscription], coalesce: float) -> Streams:
        """A connection that can carry these too; a new one when none can."""
        from kit.net.stream import Streams

        for streams in self._streams:
            carried = {sub for live in self._lives if live.streams is streams for sub in live.subscriptions}
            if streams.coalesce == coalesce and len(carried.union(wanted)) <= self.codec.streaming.channels:
                return streams
        seed = os.getpid() + len(self._streams)
        new = Streams(self.codec, self.hosts, loop=loop, clock=self._clock, seed=seed, coalesce=coalesce)
        for tape in self._tapes:
            new.witness(tape)
        self._streams.append(new)
        return new

    def _forget(self, live: Live) -> None:
        runtime.forget(live)
        with self._lock:
            self._lives = [kept for kept in self._lives if kept is not live]

    def _origin(self) -> Mapping[str, str]:
        return {"venue": self.name, "environment": self.environment}

    def _check_interval(self, interval: str) -> None:
        if str(interval) not in self.codec.intervals:
            raise UnknownName("interval", interval, self.codec.intervals, "(1m is a minute, 1M a month)")


def connect(
    name: str | None = None,
    *,
    environment: str | None = None,
    sandbox: str | None = None,
    seed: int | None = None,
    replay: str | Path | None = None,
    speed: float | None = None,
) -> Venue:
    """A venue by name: "sandbox" (the default) is the embedded, simulated exchange, found running or started.

    "binance" is Binance's market-data host, which needs no key; ``environment`` ("testnet", "demo", "live") chooses
    another, with the key of ``kit.net.keys`` if there is one. "kraken" and "coinbase" are read without a key and have
    nothing but market data here; paper accounts trade on it. ``sandbox`` names one of several sandboxes; ``seed`` or
    ``replay`` (a recording) and its ``speed`` say what market it has. The same arguments give the same venue again.
    """
    chosen = "sandbox" if name is None else str(name).lower()
    options = {"sandbox": sandbox, "seed": seed, "replay": replay, "speed": speed}
    given = {option: value for option, value in options.items() if value is not None}
    if chosen == "sandbox":
        if environment is not None:
            raise UsageError(f'the sandbox has no environment {environment!r}; connect("binance", environment=…) has')
        _check_sandbox(sandbox, seed)
        return _kept(_sandbox(given))
    if given:
        raise UsageError(f"only the sandbox takes {'= and '.join(given)}=; nothing was connected")
    if chosen not in CODECS:
        raise UnknownName("venue", name, ["sandbox", *CODECS])
    codec, wanted = CODECS[chosen], "data" if environment is None else str(environment).lower()
    if wanted not in codec.environments:
        raise UnknownName("environment", environment, codec.environments)
    key = None if wanted == "data" else keys.find(chosen, wanted)
    return _kept(Venue(codec, wanted, codec.environments[wanted], key=key))


def _sandbox(options: Mapping[str, Any]) -> Venue:
    from kit.sandbox import launcher

    name = options.get("sandbox", "default")
    handle = launcher.ensure(name, **{option: value for option, value in options.items() if option != "sandbox"})
    return Venue(BINANCE, "sandbox", handle.hosts, key=handle.key, sandbox=handle)


def _kept(venue: Venue) -> Venue:
    """The venue that already runs under this one's title with the same hosts and key, else this one."""
    with _CONNECTING:
        running = runtime.find(Venue, venue.title)
        if running is None or running.hosts != venue.hosts or not _same_key(running.rest.key, venue.rest.key):
            runtime.replace(venue.title, venue)
            return venue
    running.sandbox = venue.sandbox
    venue.rest.close()
    return running


def _same_key(one: Key | None, other: Key | None) -> bool:
    return (one and (one.id, one.secret)) == (other and (other.id, other.secret))


def _range(start: Moment | None, end: Moment | None, limit: int | None) -> tuple[int | None, int | None]:
    """A user's range in µs; raises BadRange where it can't be one."""
    if limit is not None:
        _check_limit(limit)
    first = None if start is None else bars.moment(start, "start")
    last = None if end is None else bars.moment(end, "end")
    if first is not None and last is not None and last < first:
        raise BadRange(f"end={end!s} is before start={start!s}; nothing was asked")
    return first, last


def _refuse_future(start: Moment | None, first: int | None, now: int) -> None:
    if first is not None and first > now:
        raise BadRange(f"start={start!s} lies in the future: the venue's clock says {bars.iso(now)}; nothing was asked")


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1:
        raise BadRange(f"limit={limit!r} is no count of rows: it must be a whole number from 1 on; nothing was asked")


def _check_sandbox(name: object, seed: object) -> None:
    if name is not None and not isinstance(name, str):
        raise UsageError(f"sandbox={name!r:.60}: a sandbox is named in text; nothing was started")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
        raise UsageError(f"seed={seed!r}: a sandbox's seed is a whole number; nothing was started")


def _rows(page: Mapping[str, Any]) -> int:
    return len(page["time"])


def _holes(times: bars.Times, interval: str, first: int | None, until: int, now: int) -> list[list[str]]:
    """Which bars are missing up to ``until``; the one that forms at ``now`` may not have begun yet, and is no hole."""
    if first is None:
        if not len(times):
            return []
        first = int(times[0])
    return bars.holes(times, interval, first, min(until, bars.floor_time(now, interval)))
