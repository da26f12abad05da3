from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, Inexact, getcontext, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kit.errors import BadOrder, UsageError
from kit.model import EXACT, Balance, Fill, Instrument, OrderRequest, OrderType, Side
from kit.orders.account import Account, Position, reservation

D = Decimal
BTC = Instrument(symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=D("0.01"), lot=D("0.00001"))
ETH = Instrument(symbol="ETH/USDT", native="ETHUSDT", base="ETH", quote="USDT", tick=D("0.01"), lot=D("0.0001"))


def fill(
    side: Side, qty: str, price: str, fee: str = "0", fee_asset: str = "", *, of: Instrument = BTC, client_id: str = "c"
) -> Fill:
    received = of.base if side is Side.BUY else of.quote
    return Fill(
        id="1",
        client_id=client_id,
        symbol=of.symbol,
        side=side,
        qty=D(qty),
        price=D(price),
        fee=D(fee),
        fee_asset=fee_asset or received,
        time=0,
    )


def bought(qty: str, price: str, fee: str = "0", fee_asset: str = "") -> Fill:
    return fill(Side.BUY, qty, price, fee, fee_asset)


def sold(qty: str, price: str, fee: str = "0", fee_asset: str = "") -> Fill:
    return fill(Side.SELL, qty, price, fee, fee_asset)


def after(*fills: Fill, cash: str = "1000") -> Account:
    account = Account({"USDT": D(cash)})
    for one in fills:
        account.apply(one, BTC)
    return account


def totals(account: Account) -> dict[str, Decimal]:
    return {asset: balance.total for asset, balance in account.balances().items()}


def position(*fills: Fill) -> Position:
    return after(*fills).positions()["BTC/USDT"]


# balances


def test_a_buy_moves_quote_into_base_less_the_fee_in_base() -> None:
    assert totals(after(bought("2", "100", "0.002"))) == {"USDT": D(800), "BTC": D("1.998")}


def test_a_sell_moves_base_into_quote_less_the_fee_in_quote() -> None:
    account = after(bought("2", "100"), sold("1", "110", "0.11"))
    assert totals(account) == {"USDT": D("909.89"), "BTC": D(1)}


def test_a_fee_in_a_third_asset_is_taken_there() -> None:
    account = Account({"USDT": D(1000), "BNB": D(1)})
    account.apply(bought("1", "100", "0.01", "BNB"), BTC)
    assert totals(account) == {"USDT": D(900), "BTC": D(1), "BNB": D("0.99")}
    assert account.positions()["BTC/USDT"].fees == 0


def test_several_instruments_share_one_purse() -> None:
    account = Account({"USDT": D(1000)})
    account.apply(bought("1", "100"), BTC)
    account.apply(fill(Side.BUY, "10", "20", of=ETH), ETH)
    assert totals(account) == {"USDT": D(700), "BTC": D(1), "ETH": D(10)}
    assert set(account.positions()) == {"BTC/USDT", "ETH/USDT"}


# reservations


def test_what_is_reserved_is_not_free_and_comes_back_when_released() -> None:
    account = after()
    account.reserve("a", "USDT", D(300))
    account.reserve("b", "USDT", D(200))
    assert account.balances()["USDT"] == Balance("USDT", D(500), D(500))
    account.release("a", D(100))
    assert account.reserved("a") == 200
    account.release("a")
    account.release("a")
    account.release("never seen")
    assert account.free("USDT") == 800
    account.release("b", D(999))
    assert account.free("USDT") == 1000


def test_reserving_again_replaces_what_was_reserved() -> None:
    account = after()
    account.reserve("a", "USDT", D(300))
    account.reserve("a", "USDT", D(100))
    assert account.free("USDT") == 900


def test_a_negative_reservation_is_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        after().reserve("a", "USDT", D(-1))


def test_a_fill_frees_its_share_of_the_lock_even_when_it_cost_less() -> None:
    """As Binance: after a buy limit at 100 for 2 filled 1 at 90, 100 stay locked for the rest."""
    account = after()
    account.reserve("c", "USDT", D(200), qty=D(2))
    account.apply(bought("1", "90"), BTC)
    assert account.balances()["USDT"] == Balance("USDT", D(810), D(100))
    account.apply(bought("1", "90"), BTC)
    assert account.balances()["USDT"] == Balance("USDT", D(820), D(0))


def test_without_a_quantity_a_fill_frees_what_it_spent() -> None:
    account = after()
    account.reserve("c", "USDT", D(200))
    account.apply(bought("1", "90"), BTC)
    assert account.reserved("c") == 110


def test_a_sell_frees_the_base_it_sold() -> None:
    account = after(bought("2", "100"))
    account.reserve("c", "BTC", D("1.5"))
    account.apply(sold("1", "100"), BTC)
    assert account.balances()["BTC"] == Balance("BTC", D("0.5"), D("0.5"))


def test_a_late_fill_of_a_released_order_is_still_counted() -> None:
    account = after()
    account.reserve("c", "USDT", D(100), qty=D(1))
    account.release("c")
    account.apply(bought("1", "100"), BTC)
    assert account.balances()["USDT"] == Balance("USDT", D(900), D(0))


@pytest.mark.parametrize(
    ("side", "type_", "price", "stop", "locked"),
    [
        (Side.BUY, OrderType.LIMIT, "90", None, ("USDT", "180")),
        (Side.BUY, OrderType.MARKET, None, None, ("USDT", "202")),
        (Side.BUY, OrderType.STOP, None, "120", ("USDT", "242.4")),
        (Side.BUY, OrderType.STOP, None, "90", ("USDT", "202")),
        (Side.BUY, OrderType.STOP_LIMIT, "125", "120", ("USDT", "250")),
        (Side.SELL, OrderType.LIMIT, "90", None, ("BTC", "2")),
        (Side.SELL, OrderType.MARKET, None, None, ("BTC", "2")),
    ],
)
def test_an_order_locks_the_most_it_may_have_to_give(
    side: Side, type_: OrderType, price: str | None, stop: str | None, locked: tuple[str, str]
) -> None:
    request = OrderRequest(
        symbol="BTC/USDT",
        side=side,
        type=type_,
        qty=D(2),
        price=D(price) if price else None,
        stop=D(stop) if stop else None,
    )
    asset, amount = reservation(BTC, request, D(100))
    assert (asset, amount) == (locked[0], D(locked[1]))


def test_a_market_buy_without_any_price_reserves_nothing_and_says_so() -> None:
    request = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=D(1))
    with pytest.raises(BadOrder, match="needs a price"):
        reservation(BTC, request, None)


# positions


def test_buys_average_their_cost_with_the_fee_in_it() -> None:
    held = position(bought("1", "100", "0.1"), bought("1", "200", "0.1"))
    assert (held.qty, held.cost, held.fees) == (D("1.8"), D(300), D(30))
    assert held.average_price == D(300) / D("1.8")
    assert held.unrealized(D(200)) == D(60)


def test_a_fee_in_quote_is_part_of_the_cost_too() -> None:
    held = position(bought("1", "100", "1", "USDT"))
    assert (held.qty, held.cost, held.fees) == (D(1), D(101), D(1))


def test_selling_half_realizes_half_net_of_both_sides_fees() -> None:
    held = position(bought("2", "100", "2", "USDT"), sold("1", "150", "1"))
    assert held.realized == 150 - 1 - 101
    assert (held.qty, held.cost, held.fees) == (D(1), D(101), D(3))


def test_a_round_trip_ends_flat_and_realizes_exactly_the_cash_it_made() -> None:
    account = after(bought("3", "33.33"), sold("1", "40"), sold("1", "41"), sold("1", "42"))
    held = account.positions()["BTC/USDT"]
    assert (held.qty, held.cost, held.average_price) == (D(0), D(0), D(0))
    assert held.realized == account.total("USDT") - 1000


def test_a_fee_in_base_on_a_sell_leaves_the_position_too() -> None:
    held = position(bought("2", "100"), sold("1", "100", "0.5", "BTC"))
    assert (held.qty, held.cost, held.realized, held.fees) == (D("0.5"), D(50), D(-50), D(50))


def test_what_the_account_began_with_realizes_nothing_when_sold() -> None:
    """Nobody knows what it cost; spot positions don't go short."""
    account = Account({"BTC": D(5)})
    account.apply(sold("2", "100", "0.2"), BTC)
    held = account.positions()["BTC/USDT"]
    assert (held.qty, held.cost, held.realized, held.fees) == (D(0), D(0), D(0), D("0.2"))
    assert totals(account) == {"BTC": D(3), "USDT": D("199.8")}


def test_a_sale_beyond_the_position_realizes_on_the_part_that_was_bought() -> None:
    account = Account({"BTC": D(5), "USDT": D(1000)})
    account.apply(bought("1", "100"), BTC)
    account.apply(sold("4", "150"), BTC)
    held = account.positions()["BTC/USDT"]
    assert (held.qty, held.realized) == (D(0), D(50))


# equity


def test_equity_values_everything_by_either_spelling_of_a_pair() -> None:
    account = Account({"USDT": D(100), "BTC": D(2), "EUR": D(10), "DUST": D(0)})
    assert account.equity({"BTC/USDT": D(50), "USDT/EUR": D("0.5")}, "USDT") == 100 + 100 + 20


def test_an_asset_without_a_price_is_not_worth_zero() -> None:
    with pytest.raises(UsageError, match=r"give a mark for BTC/USDT"):
        Account({"BTC": D(2)}).equity({}, "USDT")


# laws

prices = st.decimals("0.01", "99999.99", places=2)
amounts = st.decimals("0.00001", "99", places=5)
fees = st.decimals("0", "0.00001", places=8)
orders = st.builds(
    lambda side, qty, price, fee: fill(side, str(qty), str(price), str(fee)),
    st.sampled_from(Side),
    amounts,
    prices,
    fees,
)
START = {"USDT": D(10_000_000), "BTC": D(0)}


def folded(fills: Sequence[Fill]) -> Account:
    account = Account(START)
    for one in fills:
        account.apply(one, BTC)
    return account


@given(st.lists(orders, max_size=20))
def test_money_is_conserved_to_the_last_digit(fills: list[Fill]) -> None:
    """What left one asset came into the other, less the fees: recomputed here from the fills, exactly."""
    account = folded(fills)
    with localcontext(EXACT) as context:
        context.traps[Inexact] = True
        quote = sum((-one.side.sign * one.notional for one in fills), START["USDT"])
        base = sum((one.side.sign * one.qty for one in fills), D(0))
        paid = {asset: sum((one.fee for one in fills if one.fee_asset == asset), D(0)) for asset in ("BTC", "USDT")}
        assert account.total("USDT") == quote - paid["USDT"]
        assert account.total("BTC") == base - paid["BTC"]


@given(st.lists(orders, max_size=20))
def test_the_same_fills_make_the_same_account(fills: list[Fill]) -> None:
    one, other = folded(fills), folded(fills)
    assert one.balances() == other.balances()
    assert one.positions() == other.positions()


@given(st.lists(orders, max_size=20))
def test_a_notebooks_own_decimal_context_changes_nothing(fills: list[Fill]) -> None:
    plain = folded(fills)
    with localcontext() as context:
        context.prec = 5
        narrow = folded(fills)
    assert narrow.balances() == plain.balances()
    assert narrow.positions() == plain.positions()


def test_the_callers_decimal_context_is_given_back_whatever_happens() -> None:
    account = Account(START)
    with localcontext(prec=5) as own:
        account.reserve("a", "USDT", D("1.2345678"), qty=D(1))
        assert getcontext() is own
        with pytest.raises(UsageError):
            account.reserve("a", "USDT", D(-1))
        assert getcontext() is own
    assert account.reserved("a") == D("1.2345678")
    assert EXACT.prec == 60


@given(st.lists(orders, max_size=20))
def test_realized_less_cost_is_always_the_cash_that_came_in(fills: list[Fill]) -> None:
    """The P&L identity, as long as nothing is sold that was not bought."""
    account = Account(START)
    for one in fills:
        held = account.positions().get("BTC/USDT", Position(symbol="BTC/USDT"))
        if one.side is Side.SELL and one.qty > held.qty:
            continue
        account.apply(one, BTC)
        held = account.positions()["BTC/USDT"]
        with localcontext(EXACT):
            assert held.realized - held.cost == account.total("USDT") - START["USDT"]
            mark = one.price
            assert account.equity({"BTC/USDT": mark}, "USDT") == START["USDT"] + held.realized + held.unrealized(mark)
        assert held.qty == account.total("BTC")
        assert held.qty > 0 or held.cost == 0


class Purse(RuleBasedStateMachine):
    """Orders reserve, fill and let go in any order; the locks are always the sum of what is outstanding."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account({"USDT": D(1_000_000), "BTC": D(1000)})
        self.open: dict[str, tuple[Side, Decimal, Decimal]] = {}
        self.count = 0

    @rule(side=st.sampled_from(Side), qty=amounts, price=prices)
    def place(self, side: Side, qty: Decimal, price: Decimal) -> None:
        self.count += 1
        client_id = str(self.count)
        request = OrderRequest(symbol="BTC/USDT", side=side, type=OrderType.LIMIT, qty=qty, price=price)
        asset, amount = reservation(BTC, request, None)
        if amount <= self.account.free(asset):
            self.account.reserve(client_id, asset, amount, qty=qty)
            self.open[client_id] = (side, qty, price)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.integers(1, 10), better=st.integers(0, 100))
    def fill(self, data: st.DataObject, share: int, better: int) -> None:
        client_id = data.draw(st.sampled_from(sorted(self.open)))
        side, left, limit = self.open[client_id]
        qty = left if share == 10 else (left * share / 10).quantize(D("0.00001"))
        price = limit if side is Side.SELL else max(limit - D(better) / 100, D("0.01"))
        self.account.apply(fill(side, str(qty), str(price), client_id=client_id), BTC)
        if qty == left:
            del self.open[client_id]
        else:
            self.open[client_id] = (side, left - qty, limit)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        client_id = data.draw(st.sampled_from(sorted(self.open)))
        self.account.release(client_id)
        del self.open[client_id]

    @invariant()
    def locks_are_what_is_outstanding(self) -> None:
        locked = {"USDT": D(0), "BTC": D(0)}
        for side, left, limit in self.open.values():
            locked["USDT" if side is Side.BUY else "BTC"] += left * limit if side is Side.BUY else left
        for asset, amount in locked.items():
            assert self.account.balances()[asset].locked == amount

    @invariant()
    def nothing_is_spent_that_is_not_there(self) -> None:
        for balance in self.account.balances().values():
            assert balance.free >= 0
            assert balance.locked >= 0


TestPurse = Purse.TestCase
