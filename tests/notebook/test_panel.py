"""An account's panel: it follows, and its switch halts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pytest

import kit
from kit.broker.halting import Halting
from kit.errors import StoreError
from kit.notebook.panel import Panel, account_html, account_panel
from kit.notebook.pump import Pump
from kit.runtime import runtime
from kit.venue import Venue
from tests.notebook.browser import NEEDED

Test = Callable[..., None]


@pytest.fixture
def broker(sandbox_venue: Venue) -> Iterator[kit.Broker]:
    opened = kit.paper(sandbox_venue, account="shown", cash=10_000)
    yield opened
    opened.close()


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = runtime.get(Pump, "views", Pump)
    yield pump
    runtime.forget(pump)
    pump.close()


def later(panel: Panel) -> float:
    return time.monotonic() + 10


def click(panel: Panel, verb: str) -> None:
    """As the page does; until the answer is there."""
    before = panel.widget.answered
    panel.widget._handle_custom_msg({"verb": verb}, [])
    deadline = time.monotonic() + 20
    while panel.widget.answered == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_panel_shows_what_works_in_the_market_and_follows(broker: kit.Broker) -> None:
    panel = Panel(broker)
    assert "SANDBOX" in panel.widget.picture
    assert ">10000<" in panel.widget.picture
    order = broker.buy("BTC/USDT", "0.01", price=20_000, key="a")
    panel.tick(later(panel))
    assert order.id in panel.widget.picture
    order.cancel()
    panel.tick(later(panel) + 10)
    assert order.id not in panel.widget.picture


def test_the_switch_halts_cancels_and_says_what_came_of_it(broker: kit.Broker) -> None:
    order = broker.buy("BTC/USDT", "0.01", price=20_000, key="a")
    panel = Panel(broker)
    click(panel, "halt")
    assert order.status == "canceled"
    assert panel.widget.halted == "from the panel"
    assert f"canceled: buy 0.01 BTC/USDT limit 20000 ({order.id})" in panel.widget.note
    assert "nothing of it is open any more" in panel.widget.note
    assert "HALTED: from the panel" in account_html(broker)
    with pytest.raises(kit.errors.Halted):
        broker.buy("BTC/USDT", "0.01", key="b")
    click(panel, "resume")
    assert (panel.widget.halted, panel.widget.note) == ("", "orders may leave again")


def test_a_halt_from_elsewhere_shows(broker: kit.Broker) -> None:
    panel = Panel(broker)
    broker.halt("by another hand")
    panel.tick(later(panel))
    assert panel.widget.halted == "by another hand"
    broker.resume()


def test_what_goes_wrong_is_said_beside_the_switch(broker: kit.Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(reason: str) -> Halting:
        error = StoreError("no room on the disk")
        error.add_note("nothing of it is open any more")
        raise error

    panel = Panel(broker)
    monkeypatch.setattr(broker, "halt", full)
    click(panel, "halt")
    assert panel.widget.note == "no room on the disk\nnothing of it is open any more"
    panel.failed(ZeroDivisionError("by zero"))
    assert "this panel fails" in panel.widget.note


def test_an_unknown_word_from_a_page_does_nothing(broker: kit.Broker) -> None:
    panel = Panel(broker)
    panel.widget._handle_custom_msg({"verb": "close"}, [])
    panel.widget._handle_custom_msg({}, [])
    assert panel.widget.answered == 0


def test_the_newest_panel_of_an_account_is_the_one_that_follows(broker: kit.Broker, pump: Pump) -> None:
    first = account_panel(broker)
    second = account_panel(broker)
    assert first.widget.ended == "continues in a newer cell"
    assert pump.views == [second]


def test_a_closed_account_ends_its_panel_and_keeps_the_picture(broker: kit.Broker) -> None:
    panel = Panel(broker)
    picture = panel.widget.picture
    broker.close()
    panel.tick(later(panel))
    assert panel.ended
    assert (panel.widget.ended, panel.widget.picture) == ("closed in this process", picture)


def test_where_no_widget_runs_the_picture_stands_in(broker: kit.Broker) -> None:
    bundle = Panel(broker)._repr_mimebundle_()
    assert {"text/html", "text/plain"} <= bundle.keys()
    assert "application/vnd.jupyter.widget-view+json" in bundle


# -- the page


def in_a_browser(test: Test) -> Test:
    """Every mark that such a test needs."""
    for mark in NEEDED:
        test = mark(test)
    return test


MODEL = """
globalThis.model = {
  values: { account: "shown", picture: "<b>10000 USDT</b>", halted: "", note: "", answered: 0, ended: "" },
  sent: [], heard: {},
  get(name) { return this.values[name]; },
  set(name, value) { this.values[name] = value; (this.heard[`change:${name}`] ?? []).forEach((each) => each()); },
  on(name, each) { (this.heard[name] ??= []).push(each); },
  off(name, each) { this.heard[name] = (this.heard[name] ?? []).filter((other) => other !== each); },
  send(message) { this.sent.push(message.verb); },
};
"""


@dataclass
class Page:
    """The panel in a browser, its kernel played by the test; time passes when it says so."""

    page: Any

    def js(self, code: str) -> Any:
        return self.page.evaluate(code)

    @property
    def button(self) -> str:
        return str(self.page.inner_text("button"))

    @property
    def note(self) -> str:
        return str(self.page.inner_text("[role=status]"))


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    shown = browser.new_page()
    shown.clock.install()
    source = files("kit.notebook").joinpath("panel.js").read_text(encoding="utf-8")
    told = source.replace("export default", "const panel =").replace("export ", "")
    began = "return panel.render({ model, el: document.querySelector('#here') })"
    shown.set_content("<div id='here'></div>")
    shown.add_script_tag(content=MODEL)
    shown.add_script_tag(content=f"globalThis.away = (() => {{ {told}; {began}; }})()")
    yield Page(shown)
    shown.close()


@in_a_browser
def test_in_a_page_a_halt_takes_one_click_and_a_resume_two(page: Page) -> None:
    assert (page.button, page.page.inner_text("b")) == ("HALT", "10000 USDT")
    page.page.click("button")
    assert (page.button, page.js("model.sent")) == ("halting …", ["halt"])
    assert page.page.is_disabled("button")
    page.js("model.set('halted', 'from the panel'); model.set('note', 'nothing is open'); model.set('answered', 1)")
    assert (page.button, page.note) == ("resume", "nothing is open")
    page.page.click("button")
    assert (page.button, page.js("model.sent")) == ("resume: click again", ["halt"])
    page.page.clock.run_for(5000)
    assert page.button == "resume", "one click alone is forgotten"
    page.page.click("button")
    page.page.click("button")
    assert page.js("model.sent") == ["halt", "resume"]
    page.js("model.set('ended', 'closed in this process'); model.set('answered', 2)")
    assert page.button == "closed in this process"
    assert page.page.is_disabled("button")


@in_a_browser
def test_in_a_page_a_kernel_that_does_not_answer_is_said_with_the_way_that_needs_none(page: Page) -> None:
    page.page.click("button")
    page.page.clock.run_for(7000)
    assert "`kit halt shown` in a terminal" in page.note
    assert page.button == "HALT", "it may be asked again"
    page.js("away(); model.set('note', 'late')")
    assert "kit halt" in page.note, "a panel that is gone hears nothing"
