"""Keeps the state of each span in a small file, written whole or not at all, so that a kill cannot damage it.

Files are in `<root>/retrain/spans/`, named after the digest of the span's manifest. ML Metadata and
the served folder hold what a run made. A state holds only what the loop has decided and what it still has to do: a run
or an alert.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from pipeline.whole_files import write_durably

RUNNING, FAILED = "running", "failed"  # Interrupted, or to be tried again.
PUSHED, REJECTED, SET_ASIDE, GIVEN_UP = "pushed", "rejected", "set aside", "given up"
ACCEPTED = (PUSHED, REJECTED)  # The data is good, whatever the gate's verdict on the model.
FINAL = (*ACCEPTED, SET_ASIDE, GIVEN_UP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanState:
    """The state of one span.

    Attributes:
        digest: The digest of its manifest.
        span: The span's name.
        number: The span's number.
        path: The span's folder.
        state: One of the words above.
        reason: The reason for the state, in words.
        attempts: How many runs have failed.
        plan: The plan of all its runs: `initial` (folder of the weights to start from, or ""), `history` (digests of
            the spans that are mixed in), `forced` (whether the user named it).
        pq: The model's PQ, if there is a model.
        pushed_model: The folder of the version, if one serves.
        model_run: The folder of the trained weights.
        mix: The number of photos by span (`train`, `eval`), and the spans' digests (`digests`).
        alert: An alert that has not been delivered yet, or None.
    """

    digest: str
    span: str
    number: int
    path: str
    state: str
    reason: str = ""
    attempts: int = 0
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    pq: float | None = None
    pushed_model: str | None = None
    model_run: str | None = None
    mix: dict[str, Any] = dataclasses.field(default_factory=dict)
    alert: dict[str, Any] | None = None


class SpanStates:
    """The states of one root.

    Args:
        root: The folder of the pipeline.
    """

    def __init__(self, root: str):
        self._folder = pathlib.Path(root, "retrain", "spans")

    def all(self) -> list[SpanState]:
        """Returns every state, by number of the span."""
        states = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return sorted(states, key=lambda state: (state.number, state.digest))

    def find(self, digest: str) -> SpanState | None:
        """Returns the state of a digest, or None if it is unknown."""
        path = self._path(digest)
        return self._read(path) if path.exists() else None

    def write(self, state: SpanState) -> SpanState:
        """Replaces a state; after a power cut, the file holds the old state or the new one."""
        write_durably(self._path(state.digest), json.dumps(dataclasses.asdict(state), indent=1) + "\n")
        return state

    def _path(self, digest: str) -> pathlib.Path:
        return self._folder / f"{digest}.json"

    def _read(self, path: pathlib.Path) -> SpanState:
        return SpanState(**json.loads(path.read_text(encoding="utf-8")))
