"""What runs in the browser: live chart, account panel and, once per kernel, plotly.js. Imported when first shown."""

from __future__ import annotations

from importlib.resources import files

import anywidget
import ipywidgets
import traitlets

HERE = files("kit.notebook")


class PlotlySource(anywidget.AnyWidget):
    """plotly.js of the installed plotly, sent to a page once and shared by its charts. Never shown itself."""

    _esm = "export default {}"
    text = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(text=files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8"))


class LiveChart(anywidget.AnyWidget):
    """One live chart. ``bars`` holds what a reloaded page needs; what moves goes as messages (``live_view.js``)."""

    _esm = HERE.joinpath("live_view.js").read_text(encoding="utf-8")
    _css = HERE.joinpath("live_view.css").read_text(encoding="utf-8")

    plotly = traitlets.Instance(PlotlySource).tag(sync=True, **ipywidgets.widget_serialization)
    head = traitlets.Dict().tag(sync=True)
    """symbol, interval, badge, badge's tone, price decimals, bar length in ms."""
    bars = traitlets.Bytes().tag(sync=True)
    """Closed bars: float64, six columns one after the other: open time in ms, open, high, low, close, volume."""
    ended = traitlets.Unicode().tag(sync=True)
    """Why nothing more will come; empty while it follows."""


class AccountPanel(anywidget.AnyWidget):
    """One account and its kill switch (``panel.js``). A click comes as a message whose ``verb`` is halt or resume."""

    _esm = HERE.joinpath("panel.js").read_text(encoding="utf-8")
    _css = HERE.joinpath("panel.css").read_text(encoding="utf-8")

    account = traitlets.Unicode().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)
    """The account as HTML."""
    halted = traitlets.Unicode().tag(sync=True)
    """Why it is halted; empty when it is not."""
    note = traitlets.Unicode().tag(sync=True)
    """What came of the last click."""
    answered = traitlets.Int(0).tag(sync=True)
    """How many clicks have been answered."""
    ended = traitlets.Unicode().tag(sync=True)
    """Why nothing more will come; empty while it follows."""
