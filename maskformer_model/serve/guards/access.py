"""Decides who may ask, by the request's Host, the page that it comes from, and its token.

A server on a colleague's machine must not work for every website that the colleague visits. A website cannot choose
the Host header of a request to another machine, unless it has a name point there (DNS rebinding): so names are
checked, and addresses need not be. A browser says with `Origin` and `Sec-Fetch-Site` which page a request comes from.
"""

from __future__ import annotations

import hmac
import ipaddress
import urllib.parse
from collections.abc import Iterable, Mapping

from maskformer_model.serve.guards.request_error import RequestError

ANY_HOST = "*"
# On every answer: a browser takes it for what it says it is, and shows it in no frame of another page.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Access:
    """Decides whether a request may be answered.

    Args:
        allowed_hosts: Names beside localhost and IP addresses; `ANY_HOST` allows every name.
        token: What callers must send; None: nothing.
    """

    def __init__(self, allowed_hosts: Iterable[str], token: str | None):
        self._hosts = {"localhost", *(host.lower() for host in allowed_hosts)}
        self._token = token

    def check_source(self, headers: Mapping[str, str]) -> None:
        """Checks Host and Origin.

        Raises:
            RequestError: 403 if the request is for another host, or comes from another host's page.
        """
        host = headers.get("Host", "")
        if host and not self._is_allowed(_name_of(host)):  # Every browser sends one; old health checks do not.
            raise RequestError(403, f"This server has another name. Received the Host {host!r}; see --allowed_hosts.")
        origin = headers.get("Origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc.lower() != host.lower():
            raise RequestError(403, f"Pages of other hosts may not ask. Received the Origin {origin!r}.")
        is_from_elsewhere = headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        # A link from elsewhere may lead to the page.
        if origin is None and is_from_elsewhere and headers.get("Sec-Fetch-Mode") != "navigate":
            raise RequestError(403, "Pages of other hosts may not ask.")

    def check_token(self, authorization: str | None) -> None:
        """Checks the header `Authorization`, or what stands for it.

        Raises:
            RequestError: 401 if it does not bring the token.
        """
        if self._token is None:
            return
        scheme, _, token = (authorization or "").partition(" ")
        sent = token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent, self._token.encode()):
            raise RequestError(401, "The request must bring the token: `Authorization: Bearer TOKEN`.")

    def _is_allowed(self, name: str) -> bool:
        if ANY_HOST in self._hosts or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(host: str) -> str:
    """Returns the name or address of a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower().rstrip(".") if ":" in host else host.lower().rstrip(".")
