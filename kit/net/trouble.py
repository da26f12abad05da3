"""What a transmission that failed means: was anything sent, and how to say it without the request's text.

The libraries' own exceptions carry the URL, and so a signature; nothing of them but their types goes into our errors.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions as wire

_WORDS: tuple[tuple[type[BaseException], str, bool], ...] = (
    (wire.NameResolutionError, "its name can't be resolved: is this machine online?", True),
    (
        wire.NewConnectionError,
        "it takes no connection (refused, or no network)",
        True,
    ),  # a ConnectTimeoutError too, by descent
    (wire.ConnectTimeoutError, "no connection came about in time", True),
    (ssl.SSLCertVerificationError, "its TLS certificate is not trusted: does a proxy sit in between?", True),
    (requests.exceptions.InvalidURL, "its address is no URL", True),
    (requests.exceptions.InvalidSchema, "its address is not http(s)", True),
    (requests.exceptions.MissingSchema, "its address lacks http(s)://", True),
    (requests.exceptions.InvalidProxyURL, "the proxy's address is no URL", True),
    (requests.exceptions.InvalidHeader, "the key is no header text", True),
    (wire.LocationParseError, "its address is no URL", True),
    (wire.ProxyError, "the proxy does not connect", False),
    (ssl.SSLError, "TLS failed", False),
    (wire.ReadTimeoutError, "no answer came in time", False),
    (requests.exceptions.Timeout, "no answer came in time", False),
    (TimeoutError, "no answer came in time", False),
    (wire.ProtocolError, "the connection broke off", False),
    (ConnectionError, "the connection broke off", False),
    (wire.DecodeError, "the answer is not encoded as it says", False),
    (requests.exceptions.ContentDecodingError, "the answer is not encoded as it says", False),
    (requests.exceptions.ChunkedEncodingError, "the connection broke off", False),
)
"""Exception -> what it means, and whether nothing can have been sent; the first row that matches counts."""


def meaning(error: BaseException) -> tuple[str, bool]:
    """What happened, in words fit to show, and True when it is certain that nothing was sent."""
    inner = list(_causes(error))
    if any(isinstance(cause, OSError) and str(cause).startswith("Tunnel connection failed") for cause in inner):
        return "the proxy refuses to connect to it", True
    for kind, words, unsent in _WORDS:
        if any(isinstance(cause, kind) for cause in inner):
            return words, unsent
    return f"{type(error).__name__} in the HTTP library", False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it wraps. Not ``__context__``: that may be an older trouble."""
    pending, seen = [error], set()
    while pending:
        cause = pending.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = (*cause.args, getattr(cause, "reason", None), getattr(cause, "original_error", None))
        pending += [part for part in wrapped if isinstance(part, BaseException)]
