"""Signatures: the published vectors, and that what is sent is what was signed."""

from __future__ import annotations

import base64
import traceback
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kit.clock import SECOND
from kit.errors import KeyRefused
from kit.venues.base import Auth, Call, Key
from kit.venues.binance import BINANCE, Binance
from kit.venues.binance_signing import sign_sorted, signature

ORDER = (
    ("symbol", "LTCBTC"),
    ("side", "BUY"),
    ("type", "LIMIT"),
    ("timeInForce", "GTC"),
    ("quantity", "1"),
    ("price", "0.1"),
)
NOW = 1_499_827_319_559_000


def order_call(symbol: str = "LTCBTC") -> Call[bytes]:
    return Call("POST", "/api/v3/order", bytes, (("symbol", symbol), *ORDER[1:]), Auth.SIGNED)


def pem(private: Ed25519PrivateKey | RSAPrivateKey) -> str:
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        ("１２３４５６", "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),  # noqa: RUF001 - Binance's example
    ],
)
def test_the_published_hmac_vectors_come_out(key: Key, symbol: str, expected: str) -> None:
    signed = BINANCE.sign(order_call(symbol), key, NOW)
    assert signed.params[-3:] == (
        ("recvWindow", "5000"),
        ("timestamp", "1499827319559"),
        ("signature", expected),
    )


def test_a_request_tells_the_venue_the_window_that_the_contract_counts_on(key: Key) -> None:
    class Hurried(Binance):
        contract = replace(Binance.contract, window=2 * SECOND)

    hurried = Hurried()
    assert dict(hurried.sign(order_call(), key, NOW).params)["recvWindow"] == "2000"
    assert '"recvWindow":2000' in hurried.user_subscribe(key, NOW, 1)
    assert BINANCE.contract.final_after - hurried.contract.final_after == 3 * SECOND


def test_ed25519_signs_the_percent_encoded_query_and_its_signature_is_percent_encoded_in_turn() -> None:
    private = Ed25519PrivateKey.generate()
    signed = BINANCE.sign(order_call("１２３４５６"), Key("id", pem(private)), NOW)  # noqa: RUF001 - Binance's example
    text = BINANCE.encode(signed.params)
    payload, _, encoded = text.partition("&signature=")
    assert payload.startswith("symbol=%EF%BC%91")
    assert not set(encoded) & set("+/=")
    raw = base64.b64decode(dict(parse_qsl(text, strict_parsing=True))["signature"], validate=True)
    assert len(raw) == 64
    private.public_key().verify(raw, payload.encode())


def test_the_websocket_api_signs_parameters_sorted_by_name(key: Key) -> None:
    params = sign_sorted({"timestamp": 1, "apiKey": "k", "recvWindow": 5}, key)
    assert params["signature"] == signature(key, "apiKey=k&recvWindow=5&timestamp=1")


def test_a_public_call_is_left_unsigned(key: Key) -> None:
    call = BINANCE.time()
    assert BINANCE.sign(call, key, NOW) is call


def test_the_key_travels_in_its_header_only(key: Key) -> None:
    assert BINANCE.headers(key) == {"X-MBX-APIKEY": key.id}
    assert BINANCE.headers(None) == {}
    signed = BINANCE.sign(order_call(), key, NOW)
    assert key.id not in BINANCE.encode(signed.params)
    assert key.secret not in repr(signed)


def test_a_secret_that_is_no_ed25519_key_is_refused_without_being_shown() -> None:
    broken = "-----BEGIN PRIVATE KEY-----\nCANARYcanaryCANARY\n-----END PRIVATE KEY-----"
    rsa = pem(generate_private_key(65_537, 2_048))
    for secret in (broken, rsa):
        with pytest.raises(KeyRefused) as caught:
            BINANCE.sign(order_call(), Key("id", secret), NOW)
        text = "".join(traceback.format_exception(caught.value))
        assert "CANARY" not in text
        assert secret.splitlines()[1] not in text
