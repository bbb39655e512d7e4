"""Keeps the state of each span in a small file, written whole or not at all, so that a kill cannot damage it.

Files are in `<root>/retrain/spans/`, named after the digest of the span's manifest. ML Metadata and
the served folder hold what a run made. A state holds only what the loop has decided and what it still has to do: a run
or an alert.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from maskformer_model.coco_schema import is_number, shown, whole_text
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
        version: The span's version, as its name has it; 0 if there is none.
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
    version: int = 0
    reason: str = ""
    attempts: int = 0
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    pq: float | None = None
    pushed_model: str | None = None
    model_run: str | None = None
    mix: dict[str, Any] = dataclasses.field(default_factory=dict)
    alert: dict[str, Any] | None = None


def state_of(fields: Any, digest: str) -> SpanState:
    """Makes a state from the json of its file.

    Raises:
        ValueError: if a field is absent, unknown or of another kind, or the state is another span's.
    """
    if not isinstance(fields, Mapping):
        raise ValueError(f"a state must be a json object. Received: {shown(fields)}")
    needed = [field.name for field in dataclasses.fields(SpanState) if field.default is field.default_factory]
    if missing := [name for name in needed if name not in fields]:
        raise ValueError(f"a state must have {missing}")
    for name, value in fields.items():
        if name not in _IS_KIND:
            raise ValueError(f"`{shown(name)}` is no field of a state")
        if not _IS_KIND[name](value):
            raise ValueError(f"`{name}` is of the wrong kind. Received: {shown(value)}")
    if fields["digest"] != digest:
        raise ValueError(f"`digest` must be the file's name. Received: {shown(fields['digest'])}")
    state = SpanState(**fields)
    if state.state in (RUNNING, FAILED) and not state.plan:
        raise ValueError(f"`plan` must say what a span that is {state.state} is trained on. Received: {state.plan}")
    return state


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and whole_text(value) == value


def _is_text_or_null(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_plan(value: Any) -> bool:
    """Returns whether a value is a plan that a run can follow, or the empty one of a span without a run."""
    if not isinstance(value, Mapping):
        return False
    history = value.get("history")
    return not value or (_is_text(value.get("initial")) and isinstance(history, list) and all(map(_is_text, history)))


def _is_mix(value: Any) -> bool:
    """Returns whether a value is a mix: numbers of photos and digests by span."""
    return isinstance(value, Mapping) and all(isinstance(part, Mapping) for part in value.values())


_IS_KIND: dict[str, Callable[[Any], bool]] = {
    "digest": _is_text,
    "span": _is_text,
    "number": _is_count,
    "version": _is_count,
    "path": _is_text,
    "state": lambda value: value in (RUNNING, *FINAL, FAILED),
    "reason": _is_text,
    "attempts": _is_count,
    "plan": _is_plan,
    "pq": lambda value: value is None or is_number(value),
    "pushed_model": _is_text_or_null,
    "model_run": _is_text_or_null,
    "mix": _is_mix,
    "alert": lambda value: value is None or isinstance(value, Mapping),
}


class SpanStates:
    """The states of one root.

    Args:
        root: The folder of the pipeline.
    """

    def __init__(self, root: str):
        self._folder = pathlib.Path(root, "retrain", "spans")

    def all(self) -> list[SpanState]:
        """Returns every state, by number and version of the span.

        Raises:
            ValueError: if a file is damaged; it names the file.
        """
        states = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return sorted(states, key=lambda state: (state.number, state.version, state.digest))

    def find(self, digest: str) -> SpanState | None:
        """Returns the state of a digest, or None if it is unknown.

        Raises:
            ValueError: if its file is damaged.
        """
        path = self._path(digest)
        return self._read(path) if path.exists() else None

    def write(self, state: SpanState) -> SpanState:
        """Replaces a state; after a power cut, the file holds the old state or the new one."""
        write_durably(self._path(state.digest), json.dumps(dataclasses.asdict(state), indent=1) + "\n")
        return state

    def _path(self, digest: str) -> pathlib.Path:
        return self._folder / f"{digest}.json"

    def _read(self, path: pathlib.Path) -> SpanState:
        try:
            return state_of(json.loads(path.read_text(encoding="utf-8")), path.stem)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path} must hold the state of a span, but {error}. Put the file back from a backup, or remove it: "
                "the span's data then counts as new."
            ) from error
