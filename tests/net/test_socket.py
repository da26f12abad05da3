"""One connection on real sockets: what comes is handed on whole and at once, and whatever ends it is said in words."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from kit.clock import WallClock
from kit.errors import BadRange
from kit.net import socket as sockets
from kit.net.socket import Socket, connect, reason_of, retry_after

Handler = Callable[[ServerConnection], Awaitable[None]]
Story = Callable[[], Coroutine[Any, Any, None]]


def played(story: Story) -> None:
    """Run a story that must not take long."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(limited())


class Ear:
    """Keeps what it is told."""

    plain = False
    """Whether it listens to ``websockets`` even where ``picows`` is installed."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.stamps: list[int] = []
        self.reasons: list[str] = []
        self._news = asyncio.Event()

    def receive(self, messages: list[bytes], received: int) -> None:
        self.messages += messages
        self.stamps += [received] * len(messages)
        self._news.set()

    def ended(self, reason: str) -> None:
        self.reasons.append(reason)
        self._news.set()

    async def until(self, test: Callable[[], object]) -> None:
        while not test():
            self._news.clear()
            await self._news.wait()

    async def listen(self, url: str, coalesce: float = 0.0) -> Socket:
        return await connect(
            url, receive=self.receive, ended=self.ended, clock=WallClock(), coalesce=coalesce, plain=self.plain
        )


@pytest.fixture(params=["websockets", "picows"], autouse=True)
def carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What carries the connections of a test: every story is told of both."""
    if request.param == "picows":
        pytest.importorskip("picows", reason="needs the extra: pip install 'papertape[fast]'")
    monkeypatch.setattr(Ear, "plain", request.param == "websockets")
    return str(request.param)


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A WebSocket server; its address."""
    async with serve(handler, "127.0.0.1", 0, compression=None, close_timeout=0.2, **options) as server:
        scheme = "wss" if "ssl" in options else "ws"
        yield f"{scheme}://localhost:{next(iter(server.sockets)).getsockname()[1]}/"


@asynccontextmanager
async def talking(words: bytes) -> AsyncIterator[str]:
    """A server that speaks something else, or nothing; its address."""

    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(words)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for writer in writers:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def quiet(socket: ServerConnection) -> None:
    """A server that says nothing."""
    await socket.wait_closed()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost that nobody has signed but itself, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem))
    return path


def speaking_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


# -- what comes


def test_messages_come_whole_and_in_order_also_those_that_are_sent_in_pieces_or_before_anybody_asked() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send("early")
        await socket.send(["one ", "message in ", "three pieces"])
        await socket.send(b"\x00binary")
        await socket.send([b"\x01", b"\x02"])
        await socket.send("answer to " + str(await socket.recv()))
        await socket.wait_closed()

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            socket = await ear.listen(url)
            assert ear.messages == []  # not before the caller has the socket
            socket.send("question")
            await ear.until(lambda: len(ear.messages) == 5)
            assert ear.messages == [
                b"early", b"one message in three pieces", b"\x00binary", b"\x01\x02", b"answer to question",
            ]  # fmt: skip
            assert abs(ear.stamps[-1] - WallClock().now()) < 5_000_000
            assert ear.stamps == sorted(ear.stamps)
            socket.abort()

    played(story)


def test_a_frame_of_six_megabytes_comes_whole() -> None:
    large = "x" * 6_000_000

    async def handler(socket: ServerConnection) -> None:
        await socket.send(large)
        await socket.wait_closed()

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            socket = await ear.listen(url)
            await ear.until(lambda: ear.messages)
            assert ear.messages == [large.encode()]
            socket.abort()

    played(story)


def test_a_ping_is_answered_and_is_no_message() -> None:
    answered = []

    async def handler(socket: ServerConnection) -> None:
        await (await socket.ping(b"1700000000000"))
        answered.append(True)
        await socket.send("go on")
        await socket.wait_closed()

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            socket = await ear.listen(url)
            await ear.until(lambda: ear.messages)
            assert answered
            assert ear.messages == [b"go on"]
            socket.abort()

    played(story)


@pytest.mark.parametrize("secure", [False, True])
def test_coalescing_reads_many_messages_at_once_and_stamps_them_when_they_are_read(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, *, secure: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        for number in range(200):
            await socket.send(str(number))
            await asyncio.sleep(0.001)
        await socket.wait_closed()

    async def reads(url: str, coalesce: float) -> int:
        ear = Ear()
        socket = await ear.listen(url, coalesce)
        socket.send("go")
        await ear.until(lambda: len(ear.messages) == 200)
        assert ear.messages == [str(number).encode() for number in range(200)]
        socket.abort()
        return len(set(ear.stamps))

    async def story() -> None:
        options = {"ssl": speaking_tls(certificate)} if secure else {}
        async with serving(handler, **options) as url:
            assert await reads(url, 0.0) > 100
            assert await reads(url, 0.05) < 30

    played(story)


# -- what is sent


def test_what_is_said_to_a_connection_that_has_ended_goes_nowhere_and_harms_nobody() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.close()

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            socket = await ear.listen(url)
            await ear.until(lambda: ear.reasons)
            socket.send("anybody there?")
            socket.abort()

    played(story)


# -- how it ends


def test_after_an_abort_nothing_is_heard_any_more() -> None:
    gone = asyncio.Event()

    async def handler(socket: ServerConnection) -> None:
        for number in range(1_000):
            await socket.send(str(number))
        await socket.wait_closed()
        gone.set()

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            socket = await ear.listen(url)
            await ear.until(lambda: ear.messages)
            socket.abort()
            heard = len(ear.messages)
            await gone.wait()
            await asyncio.sleep(0.05)
            assert len(ear.messages) == heard
            assert ear.reasons == []

    played(story)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            lambda socket: socket.close(1001, "24 h are over"),
            r"the venue closed the connection \(1001 .*24 h are over\)",
        ),
        (lambda socket: socket.close(1008, "too many"), r"the venue closed the connection \(1008 .*too many\)"),
        (lambda socket: socket.close(4001), r"the venue closed the connection \(4001 .*\)"),
        (
            lambda socket: asyncio.sleep(0, socket.transport.write(b"\x88\x00")),
            r"the venue closed the connection \(1005 .*\)",
        ),
        (lambda socket: asyncio.sleep(0, socket.transport.abort()), "the connection broke.*"),
    ],
)
def test_an_end_is_told_once_and_in_words(end: Callable[[ServerConnection], Awaitable[None]], words: str) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send("last words")
        await end(socket)

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            await ear.listen(url)
            await ear.until(lambda: ear.reasons)
            await asyncio.sleep(0.05)
            [reason] = ear.reasons
            assert re.fullmatch(words, reason)
            assert ear.messages == [b"last words"]

    played(story)


def test_a_server_that_goes_silent_without_hanging_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PING_EVERY", 0.1)
    monkeypatch.setattr(sockets, "PONG_WITHIN", 0.1)

    async def handler(socket: ServerConnection) -> None:
        socket.transport.pause_reading()  # as after a pulled cable: nothing is read, nothing is answered
        await asyncio.sleep(2.0)
        socket.transport.abort()

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            began = asyncio.get_running_loop().time()
            await ear.listen(url)
            await ear.until(lambda: ear.reasons)
            assert asyncio.get_running_loop().time() - began < 1.8
            assert "was not answered" in ear.reasons[0]

    played(story)


def test_a_frame_that_breaks_the_protocol_ends_the_connection_after_what_came_with_it_is_told() -> None:
    async def handler(socket: ServerConnection) -> None:
        socket.transport.write(b"\x81\x03one\x83\x00")  # no such kind of frame
        await socket.wait_closed()

    async def story() -> None:
        async with serving(handler) as url:
            ear = Ear()
            await ear.listen(url)
            await ear.until(lambda: ear.reasons)
            assert ear.messages == [b"one"]
            assert ear.reasons[0].startswith("the connection broke: ")

    played(story)


def test_a_message_in_too_many_pieces_or_pieces_out_of_order_end_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "BIGGEST_FRAME", 1_000)
    broken: list[bytes] = []

    async def handler(socket: ServerConnection) -> None:
        socket.transport.write(b"\x81\x03one" + broken[-1])
        await socket.wait_closed()

    async def story() -> None:
        async with serving(handler) as url:
            for wire in (
                b"\x01\x64" + b"x" * 100 + (b"\x00\x64" + b"x" * 100) * 10,
                b"\x80\x01x",
                b"\x01\x01x\x02\x01y",
            ):
                broken.append(wire)
                ear = Ear()
                await ear.listen(url)
                await ear.until(lambda ear=ear: ear.reasons)  # type: ignore[misc]  # it is bound to its own round
                assert ear.messages == [b"one"]  # it came before
                assert ear.reasons[0].startswith("the connection broke: ")

    played(story)


# -- why there is none


async def failing(url: str) -> Exception:
    """What connecting to ``url`` raises."""
    ear = Ear()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the words are what is looked at
        await ear.listen(url)
    assert isinstance(caught.value, Exception)
    assert ear.reasons == []
    return caught.value


def test_a_refused_handshake_says_its_status_and_how_long_to_wait() -> None:
    def refuse(socket: ServerConnection, _: Request) -> Response:
        response = socket.respond(HTTPStatus.TOO_MANY_REQUESTS, "slow down")
        response.headers["Retry-After"] = "7"
        return response

    async def story() -> None:
        async with serving(quiet, process_request=refuse) as url:
            error = await failing(url)
            assert reason_of(error) == "no connection: it was refused with HTTP 429"
            assert retry_after(error) == 7.0

    played(story)


def test_a_name_that_leads_nowhere_and_a_port_nobody_listens_on_are_told_apart() -> None:
    async def story() -> None:
        async with serving(quiet) as url:
            pass
        unheard, unknown = await failing(url), await failing("ws://venue.invalid/")
        assert reason_of(unheard) == "no connection: nobody listens there"
        assert "its name can't be resolved" in reason_of(unknown)
        assert retry_after(unheard) == retry_after(unknown) == 0.0

    played(story)


def test_a_certificate_nobody_vouches_for_and_a_server_without_tls_are_told_apart(certificate: Path) -> None:
    async def story() -> None:
        async with serving(quiet, ssl=speaking_tls(certificate)) as url:
            assert "its TLS certificate is not trusted" in reason_of(await failing(url))
        async with talking(b"220 mail.example ESMTP\r\n\r\n") as url:
            assert reason_of(await failing(url.replace("ws:", "wss:"))) == "no connection: TLS failed"

    played(story)


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "OPEN_WITHIN", 0.2)

    async def story() -> None:
        async with talking(b"") as url:
            assert "none came about within" in reason_of(await failing(url))

    played(story)


def test_a_server_that_speaks_something_else_is_told() -> None:
    async def story() -> None:
        async with talking(b"220 mail.example ESMTP\r\n\r\n") as url:
            assert reason_of(await failing(url)) == "no connection: it does not answer as a WebSocket server"

    played(story)


def test_a_server_that_hangs_up_instead_of_answering_is_told() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            reason = reason_of(await failing(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
            assert reason == "no connection: it does not answer as a WebSocket server"

    played(story)


@pytest.mark.parametrize("secure", [False, True])
def test_an_attempt_that_is_given_up_leaves_no_connection_behind(*, secure: bool) -> None:
    called, left = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        with suppress(ConnectionError):
            while await reader.read(1_000):
                pass
        left.set()
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            attempt = asyncio.create_task(Ear().listen(f"{'wss' if secure else 'ws'}://127.0.0.1:{port}/"))
            await called.wait()
            await asyncio.sleep(0.02)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await left.wait()

    played(story)


def test_the_way_leads_through_the_environments_proxy_unless_it_stays_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
            monkeypatch.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{server.sockets[0].getsockname()[1]}")
            reason = reason_of(await failing("ws://venue.invalid/ws"))
            assert reason == "no connection: the proxy does not connect to it"
            assert asked == [b"CONNECT venue.invalid:80 HTTP/1.1\r\n"]
            async with serving(quiet) as url:
                (await Ear().listen(url)).abort()
            assert len(asked) == 1
            monkeypatch.setenv("http_proxy", "gopher://user:hunter2@127.0.0.1")
            reason = reason_of(await failing("ws://venue.invalid/ws"))
            assert "proxy's" in reason
            assert "hunter2" not in reason

    played(story)


def test_an_address_that_is_none_and_an_error_of_our_own_are_said_as_they_are() -> None:
    async def story() -> None:
        assert "its address" in reason_of(await failing("https://venue.invalid/"))

    played(story)
    assert reason_of(BadRange("it ends before it begins")) == "it ends before it begins"


def test_the_extra_carries_what_no_proxy_may_have_to_carry(carrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []

    def noting(name: str) -> Callable[..., Any]:
        async def opened(*_: object) -> None:
            chosen.append(name)

        return opened

    async def story() -> None:
        await Ear().listen("wss://venue.invalid/")
        monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
        await Ear().listen("wss://venue.invalid/")
        await Ear().listen("ws://127.0.0.1:1/")

    monkeypatch.setattr(sockets, "_open", noting("websockets"))
    monkeypatch.setattr(sockets, "_open_fast", noting("picows"))
    played(story)
    assert chosen == [carrier, "websockets", carrier]
