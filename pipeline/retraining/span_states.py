"""What has become of each span: a small file for each, written whole or not at all, so that a kill leaves it true.

Files are in `<root>/retrain/spans/`, named after the digest of the span's manifest. What a run made is in ML Metadata
and in the served folder; this says only what the loop has decided and what it still owes: a run, an alert.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from pipeline.whole_files import write_durably

RUNNING, FAILED = "running", "failed"  # To be continued: interrupted, or to be tried again.
PUSHED, REJECTED, SET_ASIDE, GIVEN_UP = "pushed", "rejected", "set aside", "given up"
ACCEPTED = (PUSHED, REJECTED)  # The data is good, whatever the gate said of the model.
FINAL = (*ACCEPTED, SET_ASIDE, GIVEN_UP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanState:
    """One span.

    Attributes:
        digest: The digest of its manifest.
        span: its name.
        number: its number.
        path: where it is.
        state: one of the words above.
        reason: why, in words.
        attempts: how many runs have failed.
        plan: what was decided before the first run and holds for all of them: `initial` (folder of the weights to start
            from, or ""), `history` (digests of the spans that are mixed in), `forced` (named by a person).
        pq: The model's PQ, if there is a model.
        pushed_model: folder of the version, where one serves.
        model_run: folder of the trained weights.
        mix: how many photos came from which span (`train`, `eval`), and the spans' digests (`digests`).
        alert: an alert that has not been delivered yet, or None.
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
        """Every state, by number of the span."""
        states = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return sorted(states, key=lambda state: (state.number, state.digest))

    def find(self, digest: str) -> SpanState | None:
        """The state of a digest; None where it is unknown."""
        path = self._path(digest)
        return self._read(path) if path.exists() else None

    def write(self, state: SpanState) -> SpanState:
        """Replaces a state; after a power cut there is the old one or the new one."""
        write_durably(self._path(state.digest), json.dumps(dataclasses.asdict(state), indent=1) + "\n")
        return state

    def _path(self, digest: str) -> pathlib.Path:
        return self._folder / f"{digest}.json"

    def _read(self, path: pathlib.Path) -> SpanState:
        return SpanState(**json.loads(path.read_text(encoding="utf-8")))
