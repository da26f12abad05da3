"""A strategy: parameters as class attributes, ``init`` once, ``next`` on every closed bar.

    class Cross(kit.Strategy):
        fast: int = 10
        slow: int = 30

        def init(self):
            self.f = self.indicator(kit.sma, self.candles.close, self.fast)
            self.s = self.indicator(kit.sma, self.candles.close, self.slow)

        def next(self):
            self.target(1.0 if self.f[-1] > self.s[-1] else 0.0)

The same object runs in a backtest, on paper and live: it sees closed bars and places orders through
a ``Trader``, and can't tell which it is.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from kit.errors import UnknownName, UsageError
from kit.model import Instrument, OrderRequest, Side, TimeInForce
from kit.orders.lifecycle import OrderRecord
from kit.orders.request import Amount, requested

Floats = npt.NDArray[np.float64]
COLUMNS = ("open", "high", "low", "close", "volume")


class Trader(Protocol):
    """What a strategy may ask and do; one instrument of one account."""

    @property
    def instrument(self) -> Instrument:
        """What is traded."""
        ...

    @property
    def position(self) -> Decimal:
        """Quantity held, in the base asset."""
        ...

    @property
    def cash(self) -> Decimal:
        """Free quote currency."""
        ...

    @property
    def equity(self) -> Decimal:
        """Cash and position at the last price, in the quote currency."""
        ...

    def target(self, share: float, time: int) -> OrderRecord | None:
        """Bring the position to ``share`` of equity by a market order; None when it is there."""
        ...

    def order(self, request: OrderRequest, time: int) -> OrderRecord:
        """Place an order decided at ``time`` (µs)."""
        ...

    def cancel_all(self) -> None:
        """Cancel every open order of the strategy."""
        ...


@dataclass
class Cursor:
    """How much of the data is in the past: rows before ``end``."""

    end: int = 0


class Line:
    """A column or an indicator, seen up to now: ``[-1]`` is the last closed bar's value.

    Indices and slices count within the past; numpy reads it as a read-only float64 array.
    """

    __slots__ = ("_cursor", "_name", "_values")

    def __init__(self, name: str, values: Floats, cursor: Cursor) -> None:
        self._name, self._cursor = name, cursor
        self.load(values)

    def load(self, values: Floats) -> None:
        """Put ``values`` in place of what was there; the line shows as many as the cursor allows."""
        self._values = values.view()
        self._values.flags.writeable = False

    @property
    def loaded(self) -> Floats:
        """Every value, those still to come in a backtest too: for what computes indicators, not for decisions."""
        return self._values

    def __len__(self) -> int:
        return self._cursor.end

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Floats: ...
    def __getitem__(self, index: int | slice) -> float | Floats:
        end = self._cursor.end
        if isinstance(index, slice):
            return self._values[:end][index]
        at = index + end if index < 0 else index
        if not 0 <= at < end:
            raise IndexError(f"{self._name}[{index}]: only {end} bars are in the past")
        return float(self._values[at])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self._values[: self._cursor.end], dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        last = f", last {self[-1]:g}" if len(self) else ""
        return f"<{self._name}: {len(self)} values{last}>"


@dataclass
class _Indicator:
    line: Line
    function: Callable[..., npt.ArrayLike]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def compute(self, end: int | None = None) -> Floats:
        given = [a.loaded[:end] if isinstance(a, Line) else a for a in self.arguments]
        return np.asarray(self.function(*given, **self.options), dtype=np.float64)


class Candles:
    """The closed bars so far: a ``Line`` a column, and their open times as ``index``."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.times = np.empty(0, dtype=np.int64)
        empty = np.empty(0)
        self.open, self.high, self.low, self.close, self.volume = (Line(c, empty, cursor) for c in COLUMNS)

    @property
    def index(self) -> pd.DatetimeIndex:
        """Open times, UTC."""
        return pd.DatetimeIndex(self.times[: self._cursor.end].view("M8[us]")).tz_localize("UTC")

    def __len__(self) -> int:
        return self._cursor.end


@dataclass
class _State:
    cursor: Cursor = field(default_factory=Cursor)
    indicators: list[_Indicator] = field(default_factory=list)
    trader: Trader | None = None
    time: int = 0
    in_init: bool = False


class Strategy:
    """Derive from it: annotated class attributes are the parameters, ``init`` and ``next`` the logic."""

    def __init__(self, **params: object) -> None:
        known = self.parameters()
        for name, value in params.items():
            if name not in known:
                untyped = hasattr(self, name)
                hint = f"({name} has no type: a parameter is written as in {name}: int = 10)" if untyped else ""
                raise UnknownName(f"parameter of {type(self).__name__}", name, known, hint)
            setattr(self, name, _checked(type(self).__name__, name, value, known[name]))
        self._state = _State()
        self.candles = Candles(self._state.cursor)

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        """Name -> type of every annotated class attribute that has a default."""
        hints = typing.get_type_hints(cls)
        return {n: t for n, t in hints.items() if not n.startswith("_") and hasattr(cls, n) and n != "candles"}

    @property
    def params(self) -> dict[str, Any]:
        """The parameters' values."""
        return {name: getattr(self, name) for name in self.parameters()}

    def init(self) -> None:
        """Declare indicators; called once."""

    def next(self) -> None:
        """Decide; called on every closed bar once every indicator has a value."""
        raise UsageError(f"{type(self).__name__} has no next(): there is nothing to decide")

    def indicator(self, function: Callable[..., npt.ArrayLike], *arguments: object, **options: object) -> Line:
        """``function(*arguments)`` as a line that grows with the bars.

        Lines among the arguments are handed over as float64 arrays; the result has one value a bar.
        A function that would change an earlier value when a later bar arrives looks into the future
        and is refused with a UsageError.
        """
        if not self._state.in_init:
            raise UsageError("indicator() belongs in init(): there every bar's value is computed once")
        name = getattr(function, "__name__", type(function).__name__)
        line = Line(name, np.empty(0), self._state.cursor)
        made = _Indicator(line, function, arguments, options)
        values = made.compute()
        rows = len(self.candles.times)
        if values.shape != (rows,):
            raise UsageError(
                f"indicator {name} gave {values.shape}, and needs one value for each of {rows} closed bars"
            )
        _refuse_foresight(name, made, values)
        line.load(values)
        self._state.indicators.append(made)
        return line

    @property
    def time(self) -> pd.Timestamp:
        """When the decision is made: the close of the last bar, UTC."""
        return pd.Timestamp(self._state.time, unit="us", tz="UTC")

    @property
    def instrument(self) -> Instrument:
        """What is traded, with its steps: ``instrument.price(x)`` and ``instrument.qty(x)`` are amounts it takes."""
        return self._trader.instrument

    @property
    def position(self) -> float:
        """Quantity held, in the base asset; less than a lot may be left of one that was sold, for fees paid in it."""
        return float(self._trader.position)

    @property
    def cash(self) -> float:
        """Free quote currency."""
        return float(self._trader.cash)

    @property
    def equity(self) -> float:
        """Cash and position at the last close, in the quote currency."""
        return float(self._trader.equity)

    def target(self, share: float) -> OrderRecord | None:
        """Hold ``share`` (0 to 1) of equity in the instrument; an order only when the share changes."""
        try:
            wanted = float(share)
        except (TypeError, ValueError):
            wanted = float("nan")
        if not 0 <= wanted <= 1:
            raise UsageError(f"target({share!r}): a share of equity is between 0 and 1 on a spot account")
        return self._trader.target(wanted, self._state.time)

    def buy(
        self,
        qty: Amount,
        *,
        price: Amount | None = None,
        stop: Amount | None = None,
        tif: TimeInForce | str = TimeInForce.GTC,
        post_only: bool = False,
    ) -> OrderRecord:
        """Buy ``qty`` of the base asset: at market, or with a limit ``price`` and/or ``stop``.

        BadOrder for amounts between the instrument's steps: ``self.instrument`` rounds them.
        """
        return self._order(Side.BUY, qty, price, stop, tif, post_only)

    def sell(
        self,
        qty: Amount,
        *,
        price: Amount | None = None,
        stop: Amount | None = None,
        tif: TimeInForce | str = TimeInForce.GTC,
        post_only: bool = False,
    ) -> OrderRecord:
        """Sell ``qty`` of the base asset: at market, or with a limit ``price`` and/or ``stop``.

        BadOrder for amounts between the instrument's steps: ``self.instrument`` rounds them.
        """
        return self._order(Side.SELL, qty, price, stop, tif, post_only)

    def cancel_all(self) -> None:
        """Cancel every open order of this strategy."""
        self._trader.cancel_all()

    def _order(
        self,
        side: Side,
        qty: Amount,
        price: Amount | None,
        stop: Amount | None,
        tif: TimeInForce | str,
        post_only: bool,
    ) -> OrderRecord:
        symbol = self._trader.instrument.symbol
        request = requested(symbol, side, qty, price=price, stop=stop, tif=tif, post_only=post_only)
        return self._trader.order(request, self._state.time)

    @property
    def _trader(self) -> Trader:
        if self._state.trader is None:
            raise UsageError("orders and balances are for next(): in init() there is no market yet")
        return self._state.trader

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"


def made(strategy: object) -> Strategy:
    """``strategy`` if it is one; UsageError says how to make one of a class."""
    if isinstance(strategy, Strategy):
        if not hasattr(strategy, "_state"):
            raise UsageError(
                f"{type(strategy).__name__} has an __init__ of its own that does not call super().__init__(); "
                "parameters need none: they are class attributes with a type and a default"
            )
        return strategy
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        raise UsageError(f"{strategy.__name__} is a class: make one of it, with its parameters: {strategy.__name__}()")
    raise UsageError(f"{strategy!r} is no strategy: derive a class from kit.Strategy and make one of it")


class Runner:
    """Walks a strategy over bars: all loaded at once in a backtest, and live each as it closes."""

    def __init__(self, strategy: Strategy, trader: Trader) -> None:
        self._strategy, self._trader = strategy, trader
        self._state = strategy._state  # noqa: SLF001 - the runner is the strategy's other half
        if self._state.trader is not None or self._state.in_init:
            raise UsageError(f"this {strategy!r} has run already; make a new one: it carries state from the first run")
        self._begun = False

    def load(self, times: npt.NDArray[np.int64], columns: Mapping[str, Floats]) -> None:
        """Put these bars (open times µs, columns open…volume) before the strategy and compute its indicators."""
        candles = self._strategy.candles
        candles.times = times
        for name in COLUMNS:
            getattr(candles, name).load(columns[name])
        self._state.cursor.end = len(times)
        if self._begun:
            for made in self._state.indicators:
                made.line.load(made.compute())
            return
        self._state.in_init = True
        self._strategy.init()
        self._state.in_init = False
        self._state.trader = self._trader
        self._begun = True

    @property
    def warm(self) -> int:
        """The first row at which every indicator has a value."""
        rows = len(self._strategy.candles.times)
        first = 0
        for made in self._state.indicators:
            known = np.flatnonzero(~np.isnan(made.line.loaded))
            first = max(first, int(known[0]) if known.size else rows)
        return first

    def decide(self, row: int, time: int) -> None:
        """Let the strategy decide at ``time`` (µs) with rows up to and including ``row`` in the past."""
        self._state.cursor.end = row + 1
        self._state.time = time
        self._strategy.next()


def _refuse_foresight(name: str, made: _Indicator, values: Floats) -> None:
    """Compute again on shorter pasts: a causal function gives the same last value."""
    rows = len(values)
    for end in {rows // 2, rows * 3 // 4, rows - 1}:
        if end < 1:
            continue
        known = made.compute(end)
        if known.shape != (end,) or not np.isclose(known[-1], values[end - 1], rtol=1e-9, equal_nan=True):
            raise UsageError(
                f"indicator {name} looks into the future: its value at bar {end} changes when later bars are known, "
                "so its backtest would be a lie. Use only values up to the bar itself."
            )


def _checked(owner: str, name: str, value: object, kind: Any) -> object:
    """``value`` if it is of the annotated type (an int will do for a float), else a UsageError."""
    plain = typing.get_origin(kind) or kind
    if not isinstance(plain, type) or (isinstance(value, plain) and not (plain is int and isinstance(value, bool))):
        return value
    if plain is float and isinstance(value, (int, np.integer, np.floating)) and not isinstance(value, bool):
        return float(value)
    if plain is int and isinstance(value, np.integer):
        return int(value)
    raise UsageError(f"{owner}.{name} is {getattr(kind, '__name__', kind)}, not {value!r}")
