"""The exchange, told the time and fed a scripted market: what orders do to accounts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import SECOND
from kit.model import OrderStatus, ReportKind, Side, TimeInForce
from kit.sandbox.exchange import Exchange
from kit.sandbox.receipts import Ticket, VenueOrder
from kit.sandbox.refusals import Refusal

D = Decimal


def ticket(kind: str = "LIMIT", side: str = "buy", client_id: str = "a", **fields: Any) -> Ticket:
    """A ticket in BTCUSDT; amounts as text."""
    amounts: Any = {name: D(value) if type(value) is str else value for name, value in fields.items()}
    return Ticket(native="BTCUSDT", side=Side(side), kind=kind, client_id=client_id, **amounts)


def free(exchange: Exchange, asset: str) -> Decimal:
    return exchange.balances("me")[asset].free


def locked(exchange: Exchange, asset: str) -> Decimal:
    return exchange.balances("me")[asset].locked


def order(exchange: Exchange, client_id: str = "a") -> VenueOrder:
    found = exchange.find("me", "BTCUSDT", None, client_id)
    assert found is not None
    return found


class TestTaking:
    def test_a_market_buy_walks_the_displayed_asks_and_pays_the_fee_in_base(
        self, exchange: Exchange, begins: int
    ) -> None:
        placed = exchange.place("me", ticket("MARKET", qty="3"), begins)
        assert placed.status is OrderStatus.FILLED
        fills = [(f.fill.price, f.fill.qty, f.fill.fee, f.fill.fee_asset) for f in exchange.members["me"].fills]
        assert fills == [(D(101), D(2), D("0.002"), "BTC"), (D(102), D(1), D("0.001"), "BTC")]
        assert free(exchange, "USDT") == D(10_000) - 2 * 101 - 102
        assert free(exchange, "BTC") == D("12.997")

    def test_a_market_sell_pays_the_fee_in_quote(self, exchange: Exchange, begins: int) -> None:
        exchange.place("me", ticket("MARKET", "sell", qty="1"), begins)
        assert free(exchange, "USDT") == D("10099.9")
        assert free(exchange, "BTC") == D(9)

    def test_what_was_taken_stays_taken_until_the_level_changes(self, exchange: Exchange, begins: int) -> None:
        exchange.place("me", ticket("MARKET", qty="2"), begins)
        again = exchange.place("me", ticket("MARKET", client_id="b", qty="1"), begins + SECOND)
        assert exchange.members["me"].fills[-1].fill.price == D(102)
        assert again.status is OrderStatus.FILLED

    def test_a_quote_amount_buys_what_the_book_gives_for_it(self, exchange: Exchange, begins: int) -> None:
        placed = exchange.place("me", ticket("MARKET", quote_qty="303"), begins)
        assert placed.status is OrderStatus.FILLED
        assert placed.filled == D("2.99019")  # 2 at 101, the other 101 at 102, on the lot
        assert placed.filled_quote <= 303

    def test_a_market_order_larger_than_the_book_expires_with_the_rest(self, exchange: Exchange, begins: int) -> None:
        placed = exchange.place("me", ticket("MARKET", "sell", qty="9"), begins)
        assert (placed.status, placed.filled) == (OrderStatus.EXPIRED, D(7))
        assert placed.expiry_reason == "INSUFFICIENT_LIQUIDITY"

    def test_an_ioc_takes_what_is_within_its_price_and_expires(self, exchange: Exchange, begins: int) -> None:
        placed = exchange.place("me", ticket(qty="3", price="101", tif=TimeInForce.IOC), begins)
        assert (placed.status, placed.filled) == (OrderStatus.EXPIRED, D(2))
        assert placed.expiry_reason == "UNFILLED_IOC_QUANTITY_EXPIRED"
        assert locked(exchange, "USDT") == 0

    def test_a_fok_is_all_or_nothing(self, exchange: Exchange, begins: int) -> None:
        placed = exchange.place("me", ticket(qty="3", price="101", tif=TimeInForce.FOK), begins)
        assert (placed.status, placed.filled) == (OrderStatus.EXPIRED, D(0))
        assert placed.expiry_reason == "UNFILLED_FOK_ORDER_EXPIRED"


class TestResting:
    def test_a_resting_limit_locks_what_it_may_cost_and_a_cancel_frees_it(
        self, exchange: Exchange, begins: int
    ) -> None:
        exchange.place("me", ticket(qty="2", price="99.5"), begins)
        assert (free(exchange, "USDT"), locked(exchange, "USDT")) == (D(9801), D(199))
        gone = exchange.cancel("me", order(exchange), begins + SECOND, "stop-it")
        assert (gone.status, gone.cancel_id) == (OrderStatus.CANCELED, "stop-it")
        assert (free(exchange, "USDT"), locked(exchange, "USDT")) == (D(10_000), D(0))

    def test_a_limit_better_than_its_price_frees_the_difference(self, exchange: Exchange, begins: int) -> None:
        exchange.place("me", ticket(qty="1", price="105"), begins)
        assert (free(exchange, "USDT"), locked(exchange, "USDT")) == (D(9899), D(0))

    def test_it_fills_as_maker_at_its_own_price_when_the_market_trades_through(
        self, market: Any, exchange: Exchange, begins: int
    ) -> None:
        market.btc.trade(2 * SECOND, 99.4, 5.0, Side.SELL)
        exchange.place("me", ticket(qty="1", price="99.5"), begins)
        exchange.advance(begins + SECOND)
        assert order(exchange).status is OrderStatus.OPEN
        exchange.advance(begins + 3 * SECOND)
        assert order(exchange).status is OrderStatus.FILLED
        fill = exchange.members["me"].fills[0].fill
        assert (fill.price, fill.maker, fill.time) == (D("99.5"), True, begins + 2 * SECOND)

    def test_a_partial_fill_leaves_the_rest_locked(self, market: Any, exchange: Exchange, begins: int) -> None:
        market.btc.trade(SECOND, 99.4, 0.4, Side.SELL)
        exchange.place("me", ticket(qty="1", price="99.5"), begins)
        exchange.advance(begins + 2 * SECOND)
        assert order(exchange).status is OrderStatus.PARTIAL
        assert locked(exchange, "USDT") == D("0.6") * D("99.5")

    def test_a_stop_triggers_on_a_trade_and_then_takes(self, market: Any, exchange: Exchange, begins: int) -> None:
        market.btc.trade(0, 100.5, 1.0)
        market.btc.trade(SECOND, 99.0, 1.0, Side.SELL).book(SECOND + 1, bids=[(100.0, 0.0)])
        exchange.place("me", ticket("STOP_LOSS", "sell", qty="1", stop="99.5"), begins)
        assert not order(exchange).working
        exchange.advance(begins + 2 * SECOND)
        assert order(exchange).status is OrderStatus.FILLED
        assert exchange.members["me"].fills[0].fill.price == D(99)

    def test_every_change_says_how_the_order_and_balances_stood_then(self, exchange: Exchange, begins: int) -> None:
        exchange.place("me", ticket(qty="3", price="102"), begins)
        changes = exchange.take()
        assert [change.report.kind for change in changes] == [
            ReportKind.ACCEPTED,
            ReportKind.FILLED,
            ReportKind.FILLED,
        ]
        assert [change.order.filled for change in changes] == [D(0), D(2), D(3)]
        accepted_usdt = changes[0].balances[1]
        assert (accepted_usdt.asset, accepted_usdt.locked) == ("USDT", D(306))
        assert exchange.take() == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "code", "words"),
        [
            (ticket(qty="1", price="100.005"), -1013, "Filter failure: PRICE_FILTER"),
            (ticket(qty="0.000015", price="100"), -1013, "Filter failure: LOT_SIZE"),
            (ticket(qty="0.01", price="100"), -1013, "Filter failure: NOTIONAL"),
            (ticket(qty="200", price="100"), -2010, "Account has insufficient balance for requested action."),
            (ticket("MARKET", "sell", qty="11"), -2010, "Account has insufficient balance for requested action."),
            (ticket("LIMIT_MAKER", qty="1", price="101"), -2010, "Order would immediately match and take."),
            (ticket("STOP_LOSS", "sell", qty="1", stop="100.6"), -2010, "Order would trigger immediately."),
        ],
    )
    def test_the_venue_says_no_in_its_own_words(
        self, market: Any, exchange: Exchange, begins: int, asked: Ticket, code: int, words: str
    ) -> None:
        market.btc.trade(0, 100.5, 1.0)
        with pytest.raises(Refusal) as refused:
            exchange.place("me", asked, begins + 1)
        assert (refused.value.code, refused.value.words) == (code, words)
        assert exchange.take() == []
        assert locked(exchange, "USDT") == locked(exchange, "BTC") == 0

    def test_a_client_id_is_unique_among_open_orders_only(self, exchange: Exchange, begins: int) -> None:
        exchange.place("me", ticket(qty="1", price="99"), begins)
        with pytest.raises(Refusal, match="Duplicate order sent"):
            exchange.place("me", ticket(qty="1", price="99"), begins)
        exchange.cancel("me", order(exchange), begins, "c")
        filled = exchange.place("me", ticket("MARKET", qty="1"), begins)
        again = exchange.place("me", ticket("MARKET", qty="1"), begins)
        assert filled.id != again.id
        assert order(exchange).id == again.id

    def test_what_is_not_open_cannot_be_cancelled(self, exchange: Exchange, begins: int) -> None:
        exchange.place("me", ticket("MARKET", qty="1"), begins)
        with pytest.raises(Refusal, match="Unknown order sent"):
            exchange.cancel("me", order(exchange), begins, "c")

    def test_after_the_market_has_ended_orders_are_refused_and_cancels_are_not(
        self, scripted: Any, begins: int
    ) -> None:
        exchange = Exchange(scripted(ends=begins + SECOND))
        exchange.open_account("me", {"USDT": D(1000)}, begins)
        exchange.place("me", ticket(qty="1", price="99"), begins)
        with pytest.raises(Refusal, match="Market is closed"):
            exchange.place("me", ticket(client_id="b", qty="1", price="99"), begins + 2 * SECOND)
        assert exchange.cancel("me", order(exchange), begins + 2 * SECOND, "c").status is OrderStatus.CANCELED

    def test_a_symbol_takes_so_many_orders_and_stops(self, market: Any, exchange: Exchange, begins: int) -> None:
        market.btc.trade(0, 100.0, 1.0)
        for number in range(5):
            exchange.place("me", ticket("STOP_LOSS", "sell", f"s{number}", qty="0.1", stop="90"), begins + 1)
        with pytest.raises(Refusal, match="MAX_NUM_ALGO_ORDERS"):
            exchange.place("me", ticket("STOP_LOSS", "sell", "s5", qty="0.1", stop="90"), begins + 1)


class TestSilence:
    def test_a_suspended_machine_s_market_is_caught_up(self, market: Any, exchange: Exchange, begins: int) -> None:
        market.btc.trade(7200 * SECOND, 98.0, 1.0, Side.SELL).book(7200 * SECOND, bids=[(97.0, 1.0)])
        heard: list[Any] = []
        exchange.place("me", ticket(qty="1", price="99.5"), begins)
        exchange.pit("BTCUSDT").listeners.append(heard.append)
        exchange.advance(begins + 3 * 3600 * SECOND)
        assert order(exchange).status is OrderStatus.FILLED
        assert exchange.members["me"].fills[0].fill.price == D("99.5")
        assert exchange.pit("BTCUSDT").book.last_id == 1001
        assert heard == []

    def test_a_hole_in_the_market_s_book_is_mended_from_its_picture(
        self, market: Any, exchange: Exchange, begins: int
    ) -> None:
        exchange.place("me", ticket(qty="1", price="99.5"), begins)
        market.btc.updates += 5
        market.btc.book(SECOND, asks=[(101.0, 0.0)])
        exchange.advance(begins + 2 * SECOND)
        assert exchange.pit("BTCUSDT").book.asks(1) == [(102.0, 5.0)]

    def test_a_floor_nobody_needs_is_left_alone(self, exchange: Exchange, begins: int) -> None:
        exchange.place("me", ticket("MARKET", qty="1"), begins)
        exchange.advance(begins + SECOND)
        assert exchange.pit("BTCUSDT").at == 0


class TestRestart:
    def test_orders_fills_and_balances_come_back_as_they_were(
        self, market: Any, exchange: Exchange, begins: int
    ) -> None:
        exchange.place("me", ticket("MARKET", client_id="m", qty="1"), begins)
        exchange.place("me", ticket(qty="2", price="99.5"), begins)
        kept = exchange.take()
        again = Exchange(market, first_id=100)
        again.open_account("me", {"USDT": D(10_000), "BTC": D(10)}, begins)
        orders = {change.order.id: change.order for change in kept}
        again.restore(orders.values(), [change.execution for change in kept if change.execution])
        assert again.balances("me") == exchange.balances("me")
        assert again.open_orders("me", None) == exchange.open_orders("me", None)
        assert again.cancel("me", order(again), begins + SECOND, "c").status is OrderStatus.CANCELED

    def test_what_the_market_crossed_meanwhile_is_filled_at_the_order_s_price(
        self, market: Any, exchange: Exchange, begins: int
    ) -> None:
        market.btc.trade(60 * SECOND, 98.0, 1.0, Side.SELL).trade(7200 * SECOND, 97.0, 1.0, Side.SELL)
        exchange.place("me", ticket(qty="0.5", price="99"), begins)
        exchange.place("me", ticket(client_id="deep", qty="0.5", price="97.5"), begins)
        exchange.place("me", ticket(client_id="deeper", qty="0.5", price="96"), begins)
        kept = {change.order.id: change.order for change in exchange.take()}
        again = Exchange(market, first_id=100)
        again.open_account("me", {"USDT": D(10_000), "BTC": D(10)}, begins)
        again.restore(kept.values(), [])
        again.catch_up(begins, begins + 4 * 3600 * SECOND)
        assert [order(again, name).status for name in ("a", "deep", "deeper")] == [
            OrderStatus.FILLED,
            OrderStatus.FILLED,
            OrderStatus.OPEN,
        ]
        assert [each.fill.price for each in again.members["me"].fills] == [D(99), D("97.5")]
        assert [change.order.client_id for change in again.take()] == ["a", "deep"]


@given(
    wishes=st.lists(
        st.tuples(
            st.sampled_from(["buy", "sell"]),
            st.sampled_from(["MARKET", "LIMIT"]),
            st.integers(9_800, 10_400),
            st.integers(5_000, 300_000),
        ),
        max_size=12,
    )
)
def test_money_is_neither_made_nor_lost_and_locks_match_open_orders(
    wishes: list[tuple[str, str, int, int]], scripted: Any, begins: int
) -> None:
    """Whatever is ordered: balances are the opening ones plus fills less fees, and locks are what is open."""
    market = scripted()
    for second in range(1, 12):
        market.btc.trade(second * SECOND, 98.0 + second / 3, 1.0, Side.SELL if second % 2 else Side.BUY)
    exchange = Exchange(market)
    exchange.open_account("me", {"USDT": D(1_000), "BTC": D(5)}, begins)
    for number, (side, kind, price, qty) in enumerate(wishes):
        fields = {"qty": D(qty).scaleb(-5)} | ({"price": D(price).scaleb(-2)} if kind == "LIMIT" else {})
        now = begins + number * SECOND
        exchange.advance(now)
        try:
            exchange.place("me", ticket(kind, side, f"w{number}", **fields), now)
        except Refusal as refusal:
            assert refusal.code in (-2010, -1013)  # noqa: PT017 - refused for money or filters, nothing else
    fills = [each.fill for each in exchange.members["me"].fills]
    usdt = D(1_000) - sum(f.side.sign * f.notional for f in fills) - sum(f.fee for f in fills if f.fee_asset == "USDT")
    btc = D(5) + sum(f.side.sign * f.qty for f in fills) - sum(f.fee for f in fills if f.fee_asset == "BTC")
    held = exchange.balances("me")
    assert (held["USDT"].total, held["BTC"].total) == (usdt, btc)
    opened = exchange.open_orders("me", None)
    rest = {o.id: o.request.qty - o.filled for o in opened}
    assert held["USDT"].locked == sum(rest[o.id] * (o.request.price or 0) for o in opened if o.request.side is Side.BUY)
    assert held["BTC"].locked == sum(rest[o.id] for o in opened if o.request.side is Side.SELL)
    assert min(held["USDT"].free, held["BTC"].free) >= 0
