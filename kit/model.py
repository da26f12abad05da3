"""The nouns. Frozen values that pass between rooms.

Times are microseconds since the epoch, UTC. Market data is float64, as frames are; whatever an
order, a fill or a balance says is ``Decimal``. Instruments are named ``BASE/QUOTE``.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from enum import StrEnum

import msgspec

from kit.errors import BadOrder, UsageError

ZERO = Decimal(0)
EXACT = Context(prec=60)
"""Wide enough for any sum of price x quantity x fee; a notebook's own decimal context can't narrow it."""

_ONE = Decimal(1)

Level = tuple[float, float]
"""Price and quantity."""
Levels = list[Level]
"""Best price first."""


class Written(Level):
    """A level that remembers the venue's own text: a checksum is over the digits, and a float has lost their zeros."""

    price: str
    qty: str

    @classmethod
    def read(cls, price: str, qty: str) -> Written:
        """The level that the two texts say; ValueError where one is no number."""
        made = cls((float(price), float(qty)))
        made.price, made.qty = price, qty
        return made


class Channel(StrEnum):
    """What a stream can carry of one instrument."""

    TRADE = "trade"
    CANDLE = "candle"
    QUOTE = "quote"
    BOOK = "book"


class Side(StrEnum):
    """Of an order or a fill: ours. Of a public trade: the taker's."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The side that it trades with."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """What an order waits for: a stop is a market order, a stop-limit a limit, once the market trades at its stop."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class TimeInForce(StrEnum):
    """What becomes of what does not fill at once."""

    GTC = "gtc"
    """Good till cancelled: it rests."""
    IOC = "ioc"
    """Immediate or cancel: it ends."""
    FOK = "fok"
    """Fill or kill: all of it fills at once, or nothing does."""


class OrderStatus(StrEnum):
    """Where an order stands; the transitions are in ``kit.orders.lifecycle``."""

    INTENDED = "intended"
    UNKNOWN = "unknown"
    OPEN = "open"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def final(self) -> bool:
        """True when nothing more can happen to the order."""
        return self in _FINAL


_FINAL = {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED}


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """What can be traded and in which steps. A limit of 0 means: not limited."""

    symbol: str
    native: str
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    min_qty: Decimal = ZERO
    max_qty: Decimal = ZERO
    market_min_qty: Decimal = ZERO
    market_max_qty: Decimal = ZERO
    market_lot: Decimal = ZERO
    min_price: Decimal = ZERO
    max_price: Decimal = ZERO
    min_notional: Decimal = ZERO
    max_notional: Decimal = ZERO
    notional_applies_to_market: bool = True
    status: str = "trading"

    def price(self, value: float | Decimal, *, rounding: str = ROUND_HALF_EVEN) -> Decimal:
        """A market-data price as exact money: the nearest multiple of the tick."""
        return on_grid(value, self.tick, rounding)

    def qty(self, value: float | Decimal, *, rounding: str = ROUND_FLOOR) -> Decimal:
        """A quantity as exact money: a multiple of the lot, rounded down unless told otherwise."""
        return on_grid(value, self.lot, rounding)


def on_grid(value: float | Decimal, step: Decimal, rounding: str) -> Decimal:
    """``value`` as a multiple of ``step`` (0: as it is); a float is read by its shortest repr.

    A notebook's own decimal context does not touch it.
    """
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not step:
        return exact
    return EXACT.multiply(EXACT.divide(exact, step).quantize(_ONE, rounding, EXACT), step)


class Candle(msgspec.Struct, frozen=True, gc=False):
    """One bar. ``time`` is its open; ``closed`` is the venue's word that it won't change.

    ``event_time`` is when the venue said so, ``last_trade`` the id of the last print in it; 0 where it is not told.
    """

    symbol: str
    interval: str
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    closed: bool
    event_time: int = 0
    last_trade: int = 0


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One public print. ``side`` is the taker's."""

    symbol: str
    id: int
    price: float
    qty: float
    time: int
    side: Side


class Quote(msgspec.Struct, frozen=True, gc=False):
    """Best bid and ask. ``time`` is 0 where the venue sends none (Binance Spot's bookTicker)."""

    symbol: str
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    update_id: int = 0
    time: int = 0

    @property
    def mid(self) -> float:
        """Halfway between bid and ask."""
        return (self.bid + self.ask) / 2


class BookSnapshot(msgspec.Struct, frozen=True, gc=False):
    """A whole book as of update ``last_id`` (0 where the venue does not count updates).

    ``time`` is the venue's, 0 where it sends none; ``checksum`` is over the book as it then is, where there is one.
    """

    symbol: str
    last_id: int
    bids: Levels
    asks: Levels
    time: int = 0
    checksum: int | None = None


class BookDelta(msgspec.Struct, frozen=True, gc=False):
    """Levels changed by updates ``first_id`` to ``last_id``; quantities are absolute, 0 removes.

    Both ids are 0 where the venue does not count updates; ``checksum`` is over the book after this one.
    """

    symbol: str
    first_id: int
    last_id: int
    bids: Levels
    asks: Levels
    time: int
    checksum: int | None = None


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted: the intent, before any venue has seen it."""

    symbol: str
    side: Side
    type: OrderType
    qty: Decimal
    price: Decimal | None = None
    stop: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False

    def __post_init__(self) -> None:
        needs_price = self.type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        needs_stop = self.type in (OrderType.STOP, OrderType.STOP_LIMIT)
        if needs_price != (self.price is not None):
            raise BadOrder(f"a {self.type} order takes {'a' if needs_price else 'no'} price=; nothing was sent")
        if needs_stop != (self.stop is not None):
            raise BadOrder(f"a {self.type} order takes {'a' if needs_stop else 'no'} stop=; nothing was sent")
        if not isinstance(self.post_only, bool):  # it is written down as it is, and read back as a bool
            raise BadOrder(f"post_only is True or False, not {self.post_only!r}; nothing was sent")
        if self.post_only and (self.type is not OrderType.LIMIT or self.tif is not TimeInForce.GTC):
            raise BadOrder("post_only goes with a GTC limit order only; nothing was sent")


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of one of our orders. ``fee`` is positive when paid, in ``fee_asset``.

    ``venue_id`` is the venue's id of the order; where a venue lists fills without client ids
    (Binance's myTrades) it is all that names the order and ``client_id`` is empty.
    """

    id: str
    client_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    time: int
    maker: bool = False
    venue_id: str = ""

    @property
    def notional(self) -> Decimal:
        """Its worth in the quote asset, before the fee."""
        return self.qty * self.price


class ReportKind(StrEnum):
    """What a venue can tell about an order."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    TRIGGERED = "triggered"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a venue (or the simulator) says about an order, in the order it said them."""

    kind: ReportKind
    client_id: str
    time: int
    venue_id: str = ""
    fill: Fill | None = None
    reason: str = ""


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """An order as a venue answers for it when asked: its status now and how much of it is done."""

    client_id: str
    venue_id: str
    symbol: str
    status: OrderStatus
    request: OrderRequest
    filled: Decimal
    filled_quote: Decimal
    time: int
    reason: str = ""
    fills: tuple[Fill, ...] = ()


class Balance(msgspec.Struct, frozen=True):
    """An asset's amounts: free to use, and locked in open orders."""

    asset: str
    free: Decimal
    locked: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """Free and locked."""
        return self.free + self.locked


class Fees(msgspec.Struct, frozen=True):
    """Commission as a share of the traded amount (0.001 is 0.1 %), taken from what is received.

    A float means its shortest repr. Raises UsageError for a share that can't be one: below 0, or a tenth and more.
    """

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")

    def __post_init__(self) -> None:
        for name in ("maker", "taker"):
            msgspec.structs.force_setattr(self, name, _fee(name, getattr(self, name)))


def _fee(name: str, value: object) -> Decimal:
    try:
        share = Decimal(str(value))
    except InvalidOperation:
        share = Decimal("NaN")
    if not share.is_finite() or not 0 <= share < Decimal("0.1"):
        raise UsageError(
            f"Fees({name}={value!r}): a fee is a share from 0 to below 0.1; 0.001 is 0.1 % of what is traded"
        )
    return share


def worst_price(side: Side, instrument: Instrument, value: float | Decimal) -> Decimal:
    """``value`` on the tick grid, rounded against the taker: up for a buy, down for a sell."""
    return instrument.price(value, rounding=ROUND_CEILING if side is Side.BUY else ROUND_FLOOR)
