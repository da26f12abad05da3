"""The one thread that owns every socket, with an event loop of its own.

The user's loop, if there is one, is never touched: cells stay responsive, and a cell that blocks can't freeze the
picture. REST questions asked from here run in short-lived threads, so the loop never waits for an answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

AT_ONCE = 8
"""REST questions asked at the same time, at most."""
PATIENCE = 3.0
"""Seconds that ``close`` waits for what is under way; a thread stuck in a request is left to its own timeout."""
GOODBYE = 1.0
"""Seconds that the end waits for transports to be gone."""


class Loop:
    """A thread named ``kit-streams`` that runs until ``close``. Owned by the process's Runtime."""

    def __init__(self) -> None:
        self.last_error: BaseException | None = None
        """The last error that nobody was there to catch; it would have been printed otherwise."""
        self.connections = count(1)
        """Numbers for connections: no two of this process have the same, whatever they share a tape with."""
        self.farewells: set[Callable[[], object]] = set()
        """Called on the loop's thread before it ends: whoever owns sockets hangs up there."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._note)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._workers: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._run, name="kit-streams", daemon=True)
        self._thread.start()

    @property
    def inside(self) -> bool:
        """True on the loop's own thread, where nothing may block."""
        return threading.current_thread() is self._thread

    def time(self) -> float:
        """The loop's monotonic clock, s."""
        return self._loop.time()

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Have ``function`` called on the loop's thread soon; nothing happens once the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def call(self, function: Callable[[], T]) -> T:
        """Call ``function`` on the loop's thread and wait for its result; here, when that thread has ended."""
        if self.inside or not self._thread.is_alive():
            return function()
        result: Future[T] = Future()

        def answer() -> None:
            try:
                result.set_result(function())
            except BaseException as error:  # it is raised where it was called from
                result.set_exception(error)

        self.post(answer)
        while not result.done() and self._thread.is_alive():
            wait([result], timeout=0.5)
        return result.result() if result.done() else function()

    def later(self, delay: float, function: Callable[[], object]) -> asyncio.TimerHandle:
        """Have ``function`` called after ``delay`` seconds. On the loop's thread only."""
        return self._loop.call_later(delay, function)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as a task that is kept until it ends. On the loop's thread only."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def in_thread(self, work: Callable[[], T]) -> T:
        """The result of ``work``, which may block: it runs in a thread of its own, named ``kit-rest``."""
        async with self._at_once:
            result: asyncio.Future[T] = self._loop.create_future()
            thread = threading.Thread(target=self._work, args=(work, result), name="kit-rest", daemon=True)
            self._workers.add(thread)
            thread.start()
            return await result

    def _work(self, work: Callable[[], T], result: asyncio.Future[T]) -> None:
        try:
            self.post(_settle, result, result.set_result, work())
        except Exception as error:  # it is raised where the result is awaited
            self.post(_settle, result, result.set_exception, error)
        finally:
            self._workers.discard(threading.current_thread())

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.last_error = context.get("exception") or RuntimeError(str(context.get("message")))

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        """Have everybody hang up and cancel what was spawned, once: a second time would interrupt a socket that is
        being closed. Then wait for what others run here: a connection's own task ends with its transport."""
        for farewell in tuple(self.farewells):
            farewell()
        for task in self._tasks:
            if not task.cancelling():
                task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=GOODBYE)
        await asyncio.sleep(0)  # transports say goodbye one turn later
        await self._loop.shutdown_asyncgens()

    def close(self) -> None:
        """Cancel what runs, end the thread and wait for it. May be called twice."""
        self.post(self._loop.stop)
        if self.inside:
            return
        self._thread.join()
        until = time.monotonic() + PATIENCE
        for worker in tuple(self._workers):
            worker.join(max(0.0, until - time.monotonic()))


def _settle(result: asyncio.Future[Any], how: Callable[[Any], None], value: object) -> None:
    if not result.done():  # nobody waits for it any more
        how(value)
