"""Looks at a folder of versions: which of them should be tried, and when one that failed is tried again.

A version may be seen while it is copied. It is not tried before two looks find the same files; one that failed is tried
again once its files have changed, and at growing intervals in case the reason lay elsewhere.
"""

from __future__ import annotations

import dataclasses
import time

from maskformer_model.export import versions as export_versions

_FIRST_RETRY_S, _LAST_RETRY_S = 5.0, 300.0


@dataclasses.dataclass(frozen=True)
class Found:
    """A version, as it was seen.

    Attributes:
        version: Its number.
        model_dir: Its folder.
        content: See `versions.content`.
    """

    version: int
    model_dir: str
    content: tuple[tuple[str, int, int], ...]


@dataclasses.dataclass(frozen=True)
class _Failure:
    found: Found
    tries: int
    next_s: float


class VersionFolder:
    """A folder of versions, with what was seen and what failed.

    Args:
        model_dir: A SavedModel, or a folder of versions.
    """

    def __init__(self, model_dir: str):
        self._model_dir = model_dir
        self._seen_before: dict[int, Found] = {}
        self._seen: dict[int, Found] = {}
        self._failures: dict[int, _Failure] = {}

    def look(self) -> list[Found]:
        """Returns the versions, newest first.

        Raises:
            OSError: if the folder cannot be read.
        """
        found = [Found(version, folder, export_versions.content(folder)) for version, folder in self._candidates()]
        self._seen_before, self._seen = self._seen, {one.version: one for one in found}
        self._failures = {version: one for version, one in self._failures.items() if version in self._seen}
        return found

    def is_quiet(self, found: Found) -> bool:
        """Returns whether the look before saw the same files."""
        return self._seen_before.get(found.version) == found

    def is_due(self, found: Found, *, nothing_served: bool) -> bool:
        """Returns whether the version should be tried now."""
        failure = self._failures.get(found.version)
        if failure is None:
            return nothing_served or self.is_quiet(found)
        return self.is_quiet(found) and (failure.found != found or time.monotonic() >= failure.next_s)

    def is_as_found(self, found: Found) -> bool:
        """Returns whether its files are still those that were seen."""
        return export_versions.content(found.model_dir) == found.content

    def failed(self, found: Found) -> float:
        """Notes that the version could not be loaded; returns after how many seconds it is tried again."""
        before = self._failures.get(found.version)
        tries = before.tries + 1 if before else 1
        wait_s = min(_FIRST_RETRY_S * 2 ** min(tries - 1, 16), _LAST_RETRY_S)
        self._failures[found.version] = _Failure(found, tries, time.monotonic() + wait_s)
        return wait_s

    def succeeded(self, found: Found) -> None:
        """Forgets what failed before."""
        self._failures.pop(found.version, None)

    def _candidates(self) -> list[tuple[int, str]]:
        if export_versions.is_saved_model(self._model_dir):
            return [(1, self._model_dir)]
        versions = export_versions.list_versions(self._model_dir)
        return [(version, export_versions.version_dir(self._model_dir, version)) for version in reversed(versions)]
