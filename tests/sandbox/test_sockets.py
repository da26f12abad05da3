"""What every socket of the sandbox does by the clock, seen by a client that answers only when it wants to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import serve
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from kit.clock import DAY, SECOND, ManualClock
from kit.sandbox.faults import Faults, Plan
from kit.sandbox.sockets import Client, Door


class Silent(Door):
    """A door where nothing is ever said."""

    def knows(self, path: str) -> bool:
        return path == "/"

    def joined(self, client: Client) -> None: ...

    def heard(self, client: Client, message: str | bytes) -> None: ...

    def left(self, client: Client) -> None: ...


class RawClient:
    """A connection that is fed to websockets' own parser by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader, self.writer = reader, writer
        self.protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/"))
        self.response: Response | None = None

    async def shake_hands(self) -> None:
        self.protocol.send_request(self.protocol.connect())
        self.flush()
        while self.response is None:
            await self.feed()
            self.response = next((each for each in self.protocol.events_received() if isinstance(each, Response)), None)

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            self.writer.write(data)

    async def feed(self) -> bool:
        """Read once; False at the end of the connection."""
        data = await asyncio.wait_for(self.reader.read(65536), 5)
        self.protocol.receive_data(data) if data else self.protocol.receive_eof()
        return bool(data)

    async def frame(self) -> Frame | None:
        """The next frame; None when the connection has ended."""
        while True:
            for event in self.protocol.events_received():
                assert isinstance(event, Frame)
                return event
            try:
                if not await self.feed():
                    return None
            except ConnectionResetError:
                return None


async def met(clock: ManualClock, story: Any) -> None:
    door = Silent(Faults(Plan(), 0), clock)
    async with serve(
        door.serve, "127.0.0.1", 0, process_request=door.admit, ping_interval=None, close_timeout=1
    ) as server:
        port = server.sockets[0].getsockname()[1]
        client = RawClient(*await asyncio.open_connection("127.0.0.1", port), port)
        await client.shake_hands()
        while not door.clients:
            await asyncio.sleep(0.001)
        await story(door, client)
        client.writer.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_790_000_000 * SECOND)


def test_a_ping_carries_the_time_and_whoever_answers_stays(clock: ManualClock) -> None:
    async def story(door: Door, client: RawClient) -> None:
        for _ in range(5):
            clock.advance(20 * SECOND)
            door.keep()
            ping = await client.frame()
            assert ping is not None
            assert (ping.opcode, bytes(ping.data)) == (Opcode.PING, str(clock.now() // 1000).encode())
            client.flush()  # the parser has queued the pong
            for _ in range(50):
                await asyncio.sleep(0.002)
        assert len(door.clients) == 1

    asyncio.run(met(clock, story))


def test_whoever_does_not_answer_is_cut_off(clock: ManualClock) -> None:
    async def story(door: Door, client: RawClient) -> None:
        for _ in range(5):
            clock.advance(20 * SECOND)
            door.keep()
        frames = [await client.frame() for _ in range(5)]
        assert frames[-1] is None

    asyncio.run(met(clock, story))


def test_a_connection_lives_a_day(clock: ManualClock) -> None:
    async def story(door: Door, client: RawClient) -> None:
        next(iter(door.clients)).heard = clock.now() + DAY
        clock.advance(DAY + SECOND)
        door.keep()
        frame = await client.frame()
        assert frame is not None
        assert frame.opcode is Opcode.CLOSE
        client.flush()

    asyncio.run(met(clock, story))


def test_an_address_may_try_to_connect_only_so_often(clock: ManualClock) -> None:
    async def story(door: Door, client: RawClient) -> None:
        port = client.protocol.uri.port

        async def answer() -> Response:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            caller = RawClient(reader, writer, port)
            await caller.shake_hands()
            writer.close()
            assert caller.protocol.handshake_exc is None or isinstance(caller.protocol.handshake_exc, InvalidStatus)
            assert caller.response is not None
            return caller.response

        clock.advance(10 * SECOND)
        assert {(await answer()).status_code for _ in range(299)} == {101}
        refused = await answer()
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "300")  # it counts as a try as well
        clock.advance(299 * SECOND)
        assert (await answer()).status_code == 429
        clock.advance(2 * SECOND)
        assert (await answer()).status_code == 101

    asyncio.run(met(clock, story))
