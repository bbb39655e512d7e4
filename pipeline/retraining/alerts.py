"""Alerts: a json object posted to a webhook, in the form that chat programs take (`text`), with the facts beside it.

An alert counts as delivered only after an answer 2xx of the address itself. A redirect is not followed: it would become
a GET without the alert, to wherever it points.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import pathlib
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

TIMEOUT_S = 10.0


class AlertError(OSError):
    """An alert could not be delivered; the message does not hold the address, which may be a secret."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves an answer 3xx as it is, so that it is an error like every answer that is not 2xx."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def read_webhook(address: str, *, allow_http: bool = False) -> str:
    """Returns the webhook's URL.

    Args:
        address: The URL, or the path of a file that holds it, so that it is in no list of processes; may be empty.
        allow_http: Take http:// to other machines as well, where everybody on the way can read the alerts.

    Raises:
        FileNotFoundError: if it is neither.
        ValueError: if the file holds no URL, or the URL is http:// to another machine.
    """
    if not address:
        return address
    url, where = address, "it"
    if not address.startswith(("http://", "https://")):
        url = pathlib.Path(address).read_text(encoding="utf-8").strip()
        where = f"the file {address}"
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"`--webhook` must be a URL, or a file that holds one. Received: {where}")
    if url.startswith("http://") and not allow_http and not _is_this_machine(urllib.parse.urlsplit(url).hostname or ""):
        raise ValueError(
            "`--webhook` must be https://, or http:// to this machine: others on the way could read the alerts. "
            f"`--allow_http_webhook` takes it all the same. Received http:// in {where}"
        )
    return url


def post(url: str, alert: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> None:
    """Delivers one alert.

    Args:
        url: The URL of the webhook.
        alert: `text` and any other entries that json can hold.
        timeout_s: Time for everything together, however slowly the answer comes.

    Raises:
        AlertError: if it was not taken.
    """
    body = json.dumps(dict(alert)).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
    failures: list[str] = ["The webhook did not answer in time."]

    def send() -> None:
        failures[:] = _failure(request, timeout_s)

    # A socket's timeout starts again with every byte; a thread of its own can be left behind.
    sender = threading.Thread(target=send, name="webhook", daemon=True)
    sender.start()
    sender.join(timeout_s)
    if failures:
        raise AlertError(failures[0])


def _failure(request: urllib.request.Request, timeout_s: float) -> list[str]:
    """Sends a request; returns why it was not taken, or nothing."""
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s):
            return []
    except urllib.error.HTTPError as error:
        return [f"The webhook answered with status {error.code}."]
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [f"The webhook could not be reached: {getattr(error, 'reason', type(error).__name__)}"]


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
