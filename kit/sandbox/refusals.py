"""How the venue says no: Binance's codes, words and HTTP statuses. Pure.

Codes and texts are those of Binance's ``errors.md``; a text with ``{}`` takes a value.
"""

from __future__ import annotations

from typing import Any

CODES: dict[str, tuple[int, int, str]] = {
    "TOO_MANY_REQUESTS": (
        429,
        -1003,
        (
            "Too much request weight used; current limit is {} request weight per {}. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        ),
    ),
    "BANNED": (
        418,
        -1003,
        (
            "Way too much request weight used; IP banned until {}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        ),
    ),
    "UNEXPECTED_RESP": (
        503,
        -1006,
        "An unexpected response was received from the message bus. Execution status unknown.",
    ),
    "TIMEOUT": (
        504,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    ),
    "INVALID_MESSAGE": (400, -1013, "{}"),
    "TOO_MANY_ORDERS": (429, -1015, "Too many new orders; current limit is {} orders per {}."),
    "INVALID_TIMESTAMP": (400, -1021, "Timestamp for this request is outside of the recvWindow."),
    "TIMESTAMP_AHEAD": (400, -1021, "Timestamp for this request was 1000ms ahead of the server's time."),
    "INVALID_SIGNATURE": (400, -1022, "Signature for this request is not valid."),
    "ILLEGAL_CHARS": (400, -1100, "Illegal characters found in parameter '{}'; legal range is '{}'."),
    "TOO_MANY_PARAMETERS": (400, -1101, "Too many parameters; expected '{}' and received '{}'."),
    "DUPLICATE_PARAMETER": (400, -1101, "Duplicate values for a parameter detected."),
    "MANDATORY": (400, -1102, "Mandatory parameter '{}' was not sent, was empty/null, or malformed."),
    "ONE_OF": (400, -1102, "Param '{}' or '{}' must be sent, but both were empty/null!"),
    "UNREAD": (400, -1104, "Not all sent parameters were read; read '{}' parameter(s) but was sent '{}'."),
    "EMPTY": (400, -1105, "Parameter '{}' was empty."),
    "NOT_REQUIRED": (400, -1106, "Parameter '{}' sent when not required."),
    "BAD_PRECISION": (400, -1111, "Parameter '{}' has too much precision."),
    "TIF_NOT_REQUIRED": (400, -1114, "TimeInForce parameter sent when not required."),
    "INVALID_TIF": (400, -1115, "Invalid timeInForce."),
    "INVALID_TYPE": (400, -1116, "Invalid orderType."),
    "INVALID_SIDE": (400, -1117, "Invalid side."),
    "BAD_INTERVAL": (400, -1120, "Invalid interval."),
    "BAD_SYMBOL": (400, -1121, "Invalid symbol."),
    "INVALID_SYMBOL_STATUS": (400, -1122, "Invalid symbolStatus."),
    "MORE_THAN_HOURS": (400, -1127, "More than {} hours between startTime and endTime."),
    "BAD_COMBO": (400, -1128, "Combination of optional parameters invalid."),
    "INVALID_PARAMETER": (400, -1130, "Data sent for parameter '{}' is not valid."),
    "BAD_RECV_WINDOW": (400, -1131, "recvWindow must be less than 60000."),
    "INVALID_JSON": (400, -1135, "Invalid JSON Request"),
    "INVALID_TICKER_TYPE": (400, -1139, "Invalid ticker type."),
    "INVALID_TIME_UNIT": (
        400,
        -1194,
        "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.",
    ),
    "INVALID_CANCEL_RESTRICTIONS": (
        400,
        -1145,
        "cancelRestrictions has to be either ONLY_NEW or ONLY_PARTIALLY_FILLED.",
    ),
    "NEW_ORDER_REJECTED": (400, -2010, "{}"),
    "CANCEL_REJECTED": (400, -2011, "{}"),
    "NO_SUCH_ORDER": (400, -2013, "Order does not exist."),
    "BAD_API_KEY_FORMAT": (401, -2014, "API-key format invalid."),
    "REJECTED_KEY": (401, -2015, "Invalid API-key, IP, or permissions for action."),
    "CANCEL_REPLACE_PARTIAL": (409, -2021, "Order cancel-replace partially failed."),
    "CANCEL_REPLACE_FAILED": (400, -2022, "Order cancel-replace failed."),
    "ID_MISMATCH": (400, -2039, "Client order ID is not correct for this order ID"),
}
"""Name -> (HTTP status, Binance's code, Binance's words)."""

UNKNOWN_ORDER = "Unknown order sent."
INSUFFICIENT_BALANCE = "Account has insufficient balance for requested action."
DUPLICATE_ORDER = "Duplicate order sent."
WOULD_TRIGGER = "Order would trigger immediately."
MARKET_CLOSED = "Market is closed."


class Refusal(Exception):
    """An answer that says no. It travels inside the sandbox only: clients see its status, code and words."""

    def __init__(self, name: str, *values: object) -> None:
        self.name = name
        self.status, self.code, words = CODES[name]
        self.words = words.format(*values)
        self.retry_after: int | None = None
        self.data: dict[str, Any] | None = None
        super().__init__(f"{self.code} {self.words}")

    def with_data(self, data: dict[str, Any]) -> Refusal:
        """The same with details for the client (cancelReplace says what of it happened)."""
        self.data = data
        return self

    @property
    def body(self) -> dict[str, Any]:
        """The JSON a client reads."""
        body: dict[str, Any] = {"code": self.code, "msg": self.words}
        return body if self.data is None else body | {"data": self.data}
