"""Orders and money together: whatever is said in whatever order, money is conserved and every lock can be explained."""

from __future__ import annotations

from decimal import Decimal, Inexact, localcontext

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from kit.broker.ledger import Ledger
from kit.clock import ManualClock
from kit.model import (
    EXACT,
    ZERO,
    Fill,
    Instrument,
    OrderRequest,
    OrderStatus,
    OrderType,
    Quote,
    Report,
    ReportKind,
    Side,
)
from kit.orders.lifecycle import TABLE, OrderRecord
from kit.store.entries import Intended
from kit.store.journal import Journal

D = Decimal
BTC = Instrument(symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=D("0.01"), lot=D("0.00001"))
CASH = D(1_000_000)
QUOTE = Quote("BTC/USDT", 99.0, 1.0, 101.0, 1.0)
WORDS = [kind for kind in ReportKind if kind is not ReportKind.FILLED]
sides = st.sampled_from(Side)
amounts = st.decimals("0.00001", "9.99999", places=5)
prices = st.decimals("0.01", "999.99", places=2)


class OrdersAndMoney(RuleBasedStateMachine):
    """An account that began with quote only, and buys and sells what it holds; fees are taken from what is received.

    The venue may say anything of any order at any time, repeat itself, and fill more than was asked for.
    """

    orders = Bundle("orders")
    executions = Bundle("executions")

    @initialize()
    def begin(self) -> None:
        self.journal = Journal.in_memory({"USDT": CASH})
        self.ledger, self.now = Ledger(self.journal, ManualClock(1)), 1
        self.executed: dict[tuple[str, str], Fill] = {}

    def teardown(self) -> None:
        self.journal.close()

    @rule(target=orders, side=sides, qty=amounts, price=st.none() | prices)
    def place(self, side: Side, qty: Decimal, price: Decimal | None) -> object:
        """As the desk does: only what can be paid for."""
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        worst = qty * (price or D("102.01")) if side is Side.BUY else qty
        if worst > self.ledger.account.free("USDT" if side is Side.BUY else "BTC"):
            return multiple()
        self.now += 1
        name = f"{self.now}"
        request = OrderRequest(symbol="BTC/USDT", side=side, type=kind, qty=qty, price=price)
        entry = Intended(client_id=name, session="s", parts=("key", name), request=request, quote=QUOTE, time=self.now)
        self.ledger.intend(entry, BTC)
        return name

    @rule(name=orders, word=st.sampled_from(WORDS))
    def hear(self, name: str, word: ReportKind) -> None:
        before = self.ledger.records[name].status
        self._say(Report(kind=word, client_id=name, time=self.now))
        assert self.ledger.records[name].status in TABLE[before].values()

    @rule(name=orders)
    def silence(self, name: str) -> None:
        before = self.ledger.records[name].status
        self.ledger.doubt(name, "no answer")
        assert self.ledger.records[name].status.final == before.final, "silence ends no order and wakes none"

    @rule(target=executions, name=orders, tenths=st.integers(1, 11), better=st.integers(0, 50))
    def fill(self, name: str, tenths: int, better: int) -> object:
        """Part of an order fills, all of it, or a little more than there was."""
        record = self.ledger.records[name]
        qty = (record.request.qty * tenths / 10).quantize(BTC.lot)
        if not qty or not self._payable(record, qty):
            return multiple()
        fill = self._execution(record, qty, better)
        self.executed[name, fill.id] = fill
        self._say(Report(kind=ReportKind.FILLED, client_id=name, time=self.now, fill=fill))
        return fill

    @rule(fill=executions)
    def tell_again(self, fill: Fill) -> None:
        """The stream and the polling both tell everything."""
        self._say(Report(kind=ReportKind.FILLED, client_id=fill.client_id, time=self.now, fill=fill))

    @rule()
    def start_again(self) -> None:
        """The next process folds the same account out of the journal."""
        before = self.ledger
        self.ledger = Ledger(self.journal, ManualClock(1))
        assert dict(self.ledger.records) == dict(before.records)
        assert self.ledger.account.state.total == before.account.state.total
        assert self.ledger.account.positions() == before.account.positions()
        assert self._locks() == {name: before.reserved(name) for name in before.records}

    # -- laws

    @invariant()
    def money_is_conserved(self) -> None:
        """What is held is what was there, and every execution once, to the last digit."""
        with localcontext(EXACT) as context:
            context.traps[Inexact] = True
            base, quote = ZERO, CASH
            for fill in self.executed.values():
                base += fill.side.sign * fill.qty - (fill.fee if fill.fee_asset == "BTC" else ZERO)
                quote -= fill.side.sign * fill.qty * fill.price + (fill.fee if fill.fee_asset == "USDT" else ZERO)
        assert (self.ledger.account.total("BTC"), self.ledger.account.total("USDT")) == (base, quote)

    @invariant()
    def what_is_locked_is_what_open_orders_may_still_spend(self) -> None:
        locks, locked = self._locks(), {"BTC": ZERO, "USDT": ZERO}
        for name, amount in locks.items():
            record = self.ledger.records[name]
            assert amount >= 0
            assert (amount == 0) or not record.status.final, "an order that is over locks nothing"
            assert (name in self.ledger.working) == (not record.status.final)
            locked["USDT" if record.request.side is Side.BUY else "BTC"] += amount
            if record.request.price is not None and not record.status.final:
                each = record.request.price if record.request.side is Side.BUY else 1
                assert amount == record.remaining * each
        assert {asset: self.ledger.account.balances().get(asset, _NOTHING).locked for asset in locked} == locked

    @invariant()
    def profit_and_loss_add_up(self) -> None:
        """Realized less cost is the cash that came in; equity is what was there, realized and unrealized."""
        position = self.ledger.account.positions().get("BTC/USDT")
        if position is None:
            return
        with localcontext(EXACT):
            assert position.realized - position.cost == self.ledger.account.total("USDT") - CASH
            equity = self.ledger.account.equity({"BTC/USDT": D("123.45")}, "USDT")
            assert equity == CASH + position.realized + position.unrealized(D("123.45"))
        assert position.qty == self.ledger.account.total("BTC") >= 0

    @invariant()
    def an_order_has_filled_what_its_executions_say(self) -> None:
        for name, record in self.ledger.records.items():
            own = [fill for (whose, _), fill in self.executed.items() if whose == name]
            assert record.filled == sum((fill.qty for fill in own), ZERO)
            assert (record.status is OrderStatus.FILLED) == (record.filled >= record.request.qty)

    # -- inside

    def _say(self, report: Report) -> None:
        self.now += 1
        self.ledger.on_report(report)

    def _locks(self) -> dict[str, Decimal]:
        return {name: self.ledger.reserved(name) for name in self.ledger.records}

    def _payable(self, record: OrderRecord, qty: Decimal) -> bool:
        """A spot venue fills nothing that the account does not hold."""
        if record.request.side is Side.SELL:
            return qty <= self.ledger.account.total("BTC")
        return qty * (record.request.price or D("102.01")) <= self.ledger.account.total("USDT")

    def _execution(self, record: OrderRecord, qty: Decimal, better: int) -> Fill:
        sign = record.request.side.sign
        price = max((record.request.price or D(100)) - sign * D(better) / 100, D("0.01"))
        asset = "BTC" if record.request.side is Side.BUY else "USDT"
        received = qty if record.request.side is Side.BUY else qty * price
        return Fill(
            id=f"{len(self.executed)}",
            client_id=record.client_id,
            symbol="BTC/USDT",
            side=record.request.side,
            qty=qty,
            price=price,
            fee=(received / 1000).quantize(D("1e-8")),
            fee_asset=asset,
            time=self.now,
        )


class _NoBalance:
    locked = ZERO


_NOTHING = _NoBalance()

OrdersAndMoney.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestOrdersAndMoney = OrdersAndMoney.TestCase
