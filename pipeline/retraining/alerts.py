"""Alerts: a json object posted to a webhook, in the form that chat programs take (`text`), with the facts beside it."""

from __future__ import annotations

import json
import pathlib
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

TIMEOUT_S = 10.0


class AlertError(OSError):
    """An alert could not be delivered; the message does not hold the address, which may be a secret."""


def read_webhook(address: str) -> str:
    """The webhook's URL.

    Args:
        address: the URL, or the path of a file that holds it, so that it is in no list of processes; may be empty.

    Raises:
        FileNotFoundError: if it is neither.
        ValueError: if the file holds no URL.
    """
    if not address or address.startswith(("http://", "https://")):
        return address
    url = pathlib.Path(address).read_text(encoding="utf-8").strip()
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"`--webhook` must be a URL, or a file that holds one. Received: the file {address}")
    return url


def post(url: str, alert: Mapping[str, Any]) -> None:
    """Delivers one alert.

    Args:
        url: The URL of the webhook.
        alert: `text`, and whatever else; must fit into json.

    Raises:
        AlertError: if nobody took it.
    """
    body = json.dumps(dict(alert)).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        raise AlertError(f"The webhook answered with status {error.code}.") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise AlertError(f"The webhook was not reached: {getattr(error, 'reason', type(error).__name__)}") from None
