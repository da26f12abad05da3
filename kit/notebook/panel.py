"""An account on screen: what it holds, what works in the market, and its kill switch.

A kernel hears of a click between two cells. While one runs, the page says after some seconds that nobody answers, and
names the way that needs no answer: ``kit halt`` in a terminal, which the account's watch notices whatever cell runs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from kit.errors import KitError
from kit.notebook.chart import DOWN, FORMING
from kit.notebook.pump import Pump
from kit.notebook.static import card, heading, pill, table
from kit.orders.lifecycle import OrderRecord
from kit.runtime import runtime

if TYPE_CHECKING:
    from kit.broker.broker import Broker
    from kit.notebook.widgets import AccountPanel

SOONEST = 0.5
"""Seconds between two pictures of an account that much happens to."""
EVERY = 2.0
"""Seconds between two pictures of an account that nothing happens to: its positions' worth moves."""
OPEN_ORDER = ["symbol", "side", "type", "qty", "price", "stop", "status", "filled", "created", "id"]


class Panel:
    """One account's panel; ``tick`` sends what is new and is called by one thread only."""

    def __init__(self, broker: Broker) -> None:
        from kit.notebook.widgets import AccountPanel  # ipywidgets: when first shown

        self.broker = broker
        self._drawn, self._seen = -math.inf, ""
        self._acting: threading.Thread | None = None
        self.widget: AccountPanel = AccountPanel(account=broker.account)
        self.widget.on_msg(self._heard)
        self.tick(time.monotonic())

    @property
    def ended(self) -> bool:
        return bool(self.widget.ended)

    def tick(self, now: float) -> None:
        """Send the newest picture where it may differ from the last one."""
        if self.broker.closed:
            self.close("closed in this process")
            return
        if now - self._drawn < SOONEST or (now - self._drawn < EVERY and repr(self.broker) == self._seen):
            return
        self._seen, self._drawn = repr(self.broker), now
        self.widget.halted, self.widget.picture = self.broker.halted, account_html(self.broker)

    def failed(self, error: Exception) -> None:
        """Say that the picture could not be drawn; the last one stays, and so does the switch."""
        self.widget.note = f"this panel fails · {type(error).__name__}: {error}"

    def close(self, reason: str = "this panel was closed") -> None:
        """Follow no longer; the last picture stays, with ``reason`` in the switch's place."""
        acting, self._acting = self._acting, None
        if acting is not None and acting is not threading.current_thread():
            acting.join(timeout=5)
        with suppress(Exception):  # a kernel on its way out has nobody left to tell
            self.widget.ended = self.widget.ended or reason

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        shown = self.widget._repr_mimebundle_()
        return {**(shown[0] if shown else {}), **still(self.broker)}

    def _heard(self, widget: object, content: Mapping[str, object], buffers: object) -> None:
        """A click. What it asks for may take seconds of network, so it is done beside the kernel's own thread."""
        act = {"halt": self._halt, "resume": self._resume}.get(str(content.get("verb")))
        if act is not None:
            name = f"kit-panel-{self.broker.account}"
            self._acting = threading.Thread(target=self._act, args=(act,), name=name, daemon=True)
            self._acting.start()

    def _act(self, act: Callable[[], str]) -> None:
        try:
            self.widget.note = act()
        except KitError as error:
            self.widget.note = "\n".join([str(error), *getattr(error, "__notes__", ())])
        finally:
            self.widget.halted = "" if self.broker.closed else self.broker.halted
            self.widget.answered += 1

    def _halt(self) -> str:
        return repr(self.broker.halt("from the panel"))

    def _resume(self) -> str:
        self.broker.resume()
        return "orders may leave again"


def account_panel(broker: Broker) -> Panel:
    """A panel of ``broker``, followed until it closes. The newest panel of an account is the one that follows."""
    pump = runtime.get(Pump, "views", Pump)
    panel = Panel(broker)
    for older in pump.views:
        if isinstance(older, Panel) and older.broker is broker:
            pump.remove(older)
            older.close("continues in a newer cell")
    pump.add(panel)
    return panel


def still(broker: Broker) -> dict[str, str]:
    """What stands in for a panel where no widget runs."""
    return {"text/html": account_html(broker), "text/plain": repr(broker)}


def account_html(broker: Broker) -> str:
    """An account: what it holds, what it is in, and what still works in the market."""
    positions = broker.positions
    about = f"account {escape(broker.account)}, session {escape(broker.session)}, on {escape(broker.terms.venue)}"
    return card(
        heading(f"<b>{escape(broker.terms.kind.capitalize())}</b>", origin(broker.environment), about),
        heading(escape(broker.notice)) if broker.notice else "",
        heading(pill(f"HALTED: {broker.halted}", DOWN)) if not broker.closed and broker.halted else "",
        section("Balances", broker.balances),
        section("Positions", positions[positions["qty"] != 0]),
        titled("Open orders", table(OPEN_ORDER, [_open_order(record) for record in broker.desk.open_orders])),
    )


def _open_order(record: OrderRecord) -> dict[str, Any]:
    request = record.request
    return {
        **{name: getattr(request, name) for name in ("symbol", "side", "type", "qty", "price", "stop")},
        "status": record.status,
        "filled": record.filled,
        "created": pd.Timestamp(record.created, unit="us", tz="UTC"),
        "id": record.client_id,
    }


def section(title: str, frame: pd.DataFrame) -> str:
    """A frame as a small table under a title."""
    named = frame.reset_index() if frame.index.name is not None else frame
    columns = [str(name) for name in named.columns]
    rows = (dict(zip(columns, row, strict=True)) for row in named.itertuples(index=False, name=None))
    return titled(title, table(columns, rows))


def titled(title: str, content: str) -> str:
    """Ready HTML under a title."""
    return f'<div style="margin-top:6px;font-weight:600">{escape(title)}</div>{content}'


def origin(environment: str) -> str:
    """The pill that says where prices and money come from; real money in red."""
    return pill(environment, DOWN if environment == "LIVE" else FORMING)
