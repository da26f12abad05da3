"""What codecs have in common that speak public market data only: nothing is signed, and no header counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

from kit.errors import UsageError
from kit.venues.base import Auth, Call, Hosts, Key, Params

T = TypeVar("T")


class PublicOnly:
    """The part of a codec that is the same at every venue whose orders are not spoken yet; ``title`` is its name in
    sentences."""

    title: str

    def sign(self, call: Call[T], key: Key, now: int) -> Call[T]:
        """``call`` as it is where it is open to anybody; UsageError for one that needs a key."""
        if call.auth is Auth.NONE:
            return call
        raise UsageError(
            f"{call.method} {call.path}: orders and accounts at {self.title} are not spoken yet, only its public "
            "market data is; nothing was sent. Trade on paper, with kit.paper(venue), or with a key at another venue"
        )

    def encode(self, params: Params) -> str:
        """The query string of ``params``."""
        return urlencode(params, quote_via=quote, safe="")

    def used(self, headers: Mapping[str, str]) -> Mapping[str, int]:
        """Nothing: no header tells what is used."""
        return {}

    def stream_url(self, hosts: Hosts) -> str:
        """The one address of all public channels."""
        return hosts.stream
