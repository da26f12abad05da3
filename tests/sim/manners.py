"""How the kit treated the venue, read from a world's log: pauses, budgets, and the patience it was asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from kit.clock import SECOND
from kit.model import Channel
from tests.sim.voice import Voice, stream

FIRST, MOST = 0.25, 15.0
"""Seconds: the shortest pause after data, and what pauses grow to at least; each is half of the longest drawn."""
NO_DATA = ("ack", "refusal", "goodbye", "heartbeat")


class Manners:
    """Reads the log in order; AssertionError at what the venue must not see."""

    def __init__(self, voice: Voice) -> None:
        rules, self._hear = voice.codec.streaming, voice.hear
        self._attempts, self._attempts_within = rules.attempts[0], round(rules.attempts[1] * SECOND)
        self._messages, self._messages_within = rules.messages[0], round(rules.messages[1] * SECOND)
        self._opens: deque[int] = deque(maxlen=self._attempts)
        self._sends: dict[int, deque[int]] = {}
        self._asked: set[tuple[int, int]] = set()
        """(link, message) of subscriptions."""
        self._refused: dict[int, set[str]] = {}
        self._alive: set[int] = set()
        self._leaving: set[int] = set()
        self._fruitless = 0
        """Connections that have ended, and left none, since data last came."""
        self._vain = 0
        """Connections that were to take over and have ended since one last did."""
        self._ended_at = self._vain_at = self._left_at = self._floor = self._down_at = 0

    def read(self, log: Iterable[tuple[Any, ...]]) -> None:
        for at, kind, *rest in log:
            match kind:
                case "Open":
                    self._open(at, rest[0])
                case "Send":
                    self._send(at, *rest)
                case "Hangup":
                    self._end(at, rest[0])
                case "ended":
                    self._floor = max(self._floor, at + round(rest[2] * SECOND))
                    self._end(at, rest[0])
                case "frame":
                    self._frame(*rest)
                case "down":
                    self._down_at = at
                case "up":
                    self._up(*rest)

    def _frame(self, link: int, told: str, number: int) -> None:
        if told == "goodbye":
            self._leaving.add(link)
        elif told.startswith("refusal") and (link, number) in self._asked:
            self._refused.setdefault(link, set()).update(told.removeprefix("refusal ").split(","))
        elif not told.startswith(NO_DATA) and link in self._alive:
            self._fruitless = 0

    def _open(self, at: int, link: int) -> None:
        full = len(self._opens) == self._attempts
        assert not full or at - self._opens[0] >= self._attempts_within, f"too many attempts to connect at {at}"
        self._opens.append(at)
        assert at >= self._floor, f"link {link} was opened {(self._floor - at) / SECOND:.2f} s before Retry-After"
        if self._alive:
            self._paused(link, at - self._vain_at, self._vain)
        else:
            self._paused(link, at - self._ended_at, self._fruitless)
        self._alive.add(link)
        self._down_at = 0

    def _paused(self, link: int, waited: int, fruitless: int) -> None:
        """The longer it has been in vain, the longer the pause."""
        pause = min(FIRST * 2 ** (fruitless - 1), MOST) if fruitless else 0.0
        assert waited >= pause * SECOND, f"link {link} was opened {waited / SECOND:.2f} s after {fruitless} in vain"

    def _up(self, native: str, channel: Channel, link: int) -> None:
        name = stream(native, channel)
        assert name not in self._refused.get(link, ()), f"{name} on link {link} is taken for confirmed, and was refused"

    def _send(self, at: int, link: int, text: str) -> None:
        heard = self._hear(text)
        if heard.subscribes:
            self._asked.add((link, heard.number))
            self._refused.get(link, set()).difference_update(heard.streams)
        sends = self._sends.setdefault(link, deque(maxlen=self._messages))
        full = len(sends) == self._messages
        assert not full or at - sends[0] >= self._messages_within, f"too many messages on link {link} at {at}"
        sends.append(at)

    def _end(self, at: int, link: int) -> None:
        """After a connection that was asked to leave, the next may follow at once."""
        if link not in self._alive:
            return
        self._alive.discard(link)
        if link in self._leaving:
            self._left_at = at
        if not self._alive:
            self._ended_at, self._vain = self._down_at or at, 0  # a machine that sleeps hangs up when it wakes
            self._fruitless = 0 if self._left_at == at else self._fruitless + 1
        elif link > max(self._alive):
            self._vain_at = at
            self._vain += 1
        else:
            self._vain = 0
