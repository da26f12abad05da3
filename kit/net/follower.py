"""A user's callback on a thread of its own: however slow it is, the picture goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kit.errors import Lagged
from kit.net.outbox import Missed, Outbox
from kit.venues.base import MarketEvent

Callback = Callable[[MarketEvent, int], object]


class Follower:
    """Calls ``callback(event, received µs)`` for each event that is put into its box, in their order.

    ``stop`` ends it. A callback that raises is called for the next event all the same: ``last_error`` keeps what it
    raised. One that is slower than the market is ``halted`` where nothing may be left out (``kit.net.outbox``):
    ``gaps`` says what it missed, and ``resume`` has it called again.
    """

    def __init__(self, name: str, callback: Callback, box: Outbox, leave: Callable[[], object]) -> None:
        self.last_error: BaseException | None = None
        self._callback, self._box, self._leave = callback, box, leave
        self._again = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name=f"kit-callback {name}", daemon=True)
        self._thread.start()

    @property
    def halted(self) -> bool:
        """True from when an event could not wait any more until ``resume``."""
        return self._box.halted

    @property
    def gaps(self) -> tuple[Missed, ...]:
        """What the callback was not told, the oldest first."""
        return self._box.gaps

    @property
    def conflated(self) -> int:
        """How many states gave way to newer ones before the callback came to them."""
        return self._box.conflated

    def resume(self) -> None:
        """Go on after a halt."""
        self._box.resume()
        self._again.set()

    def stop(self) -> None:
        """Call no more, and wait until a call that is under way has ended; called from within it, it does not wait."""
        self._over = True
        self._leave()
        self._box.close()
        self._again.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    def _run(self) -> None:
        while not self._over:
            try:
                waited = self._box.take()
            except Lagged as lag:
                self.last_error = lag
                self._again.wait()
                self._again.clear()
                continue
            if waited is None:
                return
            self._call(*waited)

    def _call(self, event: MarketEvent, received: int) -> None:
        if self._over:
            return
        try:
            self._callback(event, received)
        except Exception as error:  # it is the user's, and there is nobody here to raise it to
            self.last_error = error

    def __repr__(self) -> str:
        state = "stopped" if self._over else "halted" if self.halted else "following"
        wrong = f", {self.last_error!r}" if self.last_error is not None else ""
        return f"<{self._thread.name} {state}{wrong}>"
