"""What people look at: charts, live views, and the cell that an order stands in. Nothing below imports this room."""

from __future__ import annotations

import sys
from typing import Any

from kit.notebook.nest import nest_asyncio
from kit.runtime import runtime


def install(shell: Any) -> None:
    """Give ``shell`` the kit's displays and let its cells answer for their orders. A second call does nothing."""
    from kit.notebook import display  # not before there is something to show
    from kit.notebook.cell import CellIdentity

    if runtime.find(CellIdentity, "cells") is None:
        cells = runtime.get(CellIdentity, "cells", lambda: CellIdentity(shell))
        runtime.cell_intent, runtime.intent_refused = cells.intent, cells.refused
        display.register(shell)


def install_if_ipython() -> None:
    """``install`` into the IPython that runs this process, if one does; costs nothing where there is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        install(shell)


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext kit``: displays, cell identity and nested asyncio."""
    install(shell)
    nest_asyncio()


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext kit``: takes displays and cell identity back. Nested asyncio stays until the process ends."""
    from kit.notebook import display  # not before there is something to show
    from kit.notebook.cell import CellIdentity

    cells = runtime.find(CellIdentity, "cells")
    if cells is not None:
        runtime.forget(cells)
        cells.close()
        runtime.cell_intent, runtime.intent_refused = (lambda subject, terms="": None), (lambda intent: None)
        display.unregister(shell)
