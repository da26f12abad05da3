"""Nested asyncio, for the user's side of the fence and only on request: the kit's own path never needs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from kit.errors import UsageError


def nest_asyncio() -> None:
    """Let a cell call ``asyncio.run`` or ``run_until_complete`` although Jupyter's loop is already running.

    Takes nest-asyncio2 where it is installed (ipykernel brings it), else nest-asyncio, which is no longer kept and
    breaks timeouts from Python 3.14 on: there it is refused with UsageError. The patch covers every loop of this
    process until it ends. A second call does nothing.
    """
    import asyncio  # here: it is most of what importing this room would cost

    if hasattr(asyncio, "_nest_patched"):  # both packages leave this mark
        return
    if find_spec("nest_asyncio2"):
        import nest_asyncio2  # only on request

        nest_asyncio2.apply()
    elif sys.version_info < (3, 14) and find_spec("nest_asyncio"):
        import nest_asyncio  # the same

        nest_asyncio.apply()
    else:
        raise UsageError('nested asyncio needs nest-asyncio2 here; install it with: pip install "nest-asyncio2>=1.7"')
