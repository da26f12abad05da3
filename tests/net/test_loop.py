"""The one thread of the sockets: it answers, it never blocks, it ends without a trace."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kit.net.loop import Loop


def test_it_is_one_named_daemon_thread_that_close_joins() -> None:
    loop = Loop()
    thread = loop._thread
    assert (thread.name, thread.daemon) == ("kit-streams", True)
    loop.close()
    loop.close()
    assert not thread.is_alive()


def test_the_users_own_loop_is_left_alone(loop: Loop) -> None:
    async def user() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert asyncio.run(user()) is not loop._loop


def test_a_call_runs_over_there_and_answers_here(loop: Loop) -> None:
    assert loop.call(lambda: (loop.inside, threading.current_thread().name)) == (True, "kit-streams")
    assert not loop.inside


def test_a_calls_error_is_raised_here(loop: Loop) -> None:
    with pytest.raises(ZeroDivisionError):
        loop.call(lambda: 1 // 0)


def test_a_call_after_the_end_runs_here() -> None:
    loop = Loop()
    loop.close()
    assert loop.call(lambda: threading.current_thread().name) == "MainThread"
    loop.post(lambda: 1 // 0)


def test_blocking_work_does_not_block_the_loop(loop: Loop) -> None:
    gate, seen = threading.Event(), threading.Event()

    async def work() -> None:
        assert await loop.in_thread(lambda: gate.wait(10)) is True
        seen.set()

    loop.call(lambda: loop.spawn(work()))
    assert loop.call(lambda: "still here") == "still here"
    gate.set()
    assert seen.wait(10)


def test_the_error_of_blocking_work_reaches_who_awaits_it(loop: Loop) -> None:
    async def work() -> str:
        try:
            await loop.in_thread(lambda: 1 // 0)
        except ZeroDivisionError:
            return "seen"
        return "lost"

    assert asyncio.run_coroutine_threadsafe(work(), loop._loop).result(10) == "seen"


def test_closing_cancels_what_runs_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    loop, ended, gate = Loop(), threading.Event(), threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async def asking() -> None:
        await loop.in_thread(lambda: gate.wait(10))

    loop.call(lambda: [loop.spawn(forever()), loop.spawn(asking())])
    threading.Timer(0.05, gate.set).start()
    loop.close()
    assert ended.is_set()
    assert not loop._workers
    assert capfd.readouterr() == ("", "")


def test_an_error_that_nobody_catches_is_kept_and_not_printed(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    loop.call(lambda: loop.later(0, lambda: 1 // 0))
    for _ in range(3):
        loop.call(lambda: None)
    assert isinstance(loop.last_error, ZeroDivisionError)
    assert capfd.readouterr() == ("", "")
