"""The kill switch as a person uses it: a click in JupyterLab."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.notebook.browser import NEEDED, Notebook

pytestmark = [*NEEDED, pytest.mark.soak]  # CI clicks in a plain page (test_panel.py): a Lab costs it half a minute

START = """
import kit
venue = kit.connect(seed=7)
broker = kit.paper(venue, account="clicked")
order = broker.buy("BTC/USDT", 0.01, price=20_000, key="rests")
"""


def test_a_click_halts_the_account_and_two_let_it_go_on(opened: Callable[..., Notebook]) -> None:
    notebook = opened(START, "broker", "print(order.status, broker.halted)")
    watched, page = notebook.watched, notebook.watched.page
    notebook.run(0)
    notebook.run(1)
    watched.until("document.querySelector('.kit-account-switch')?.textContent === 'HALT'")
    assert "clicked" in page.inner_text(".kit-account-picture")
    page.click(".kit-account-switch")
    watched.until("document.querySelector('.kit-account-note').textContent.includes('nothing of it is open any more')")
    watched.until("document.querySelector('.kit-account-picture').textContent.includes('HALTED: from the panel')")
    assert notebook.run(2).strip() == "canceled from the panel"
    page.click(".kit-account-switch")
    page.click(".kit-account-switch")
    watched.until("document.querySelector('.kit-account-note').textContent === 'orders may leave again'")
    assert notebook.run(2).strip() == "canceled"
