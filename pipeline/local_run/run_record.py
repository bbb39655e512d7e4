"""Records of what a run's node did: state, time, memory, artifacts. Plain values, so that reports need no TFX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

RAN, CACHED, FAILED = "ran", "cached", "failed"


class NodeFailedError(RuntimeError):
    """A node failed.

    Attributes:
        node_id: The failed node's id.
        reason: Why it failed, in plain words.
    """

    def __init__(self, node_id: str, reason: str):
        super().__init__(f"{node_id} failed: {reason}")
        self.node_id = node_id
        self.reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """One artifact.

    Attributes:
        uri: The address of its files.
        properties: Its properties and custom properties.
    """

    uri: str
    properties: Mapping[str, int | float | str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeRecord:
    """One node of a run.

    Attributes:
        node_id: Its id in the pipeline.
        state: "ran" if it did work, "cached" if ML Metadata had its result (a Resolver's always comes from there), or
            "failed".
        seconds: The wall time, with lookup and publishing.
        peak_memory_mb: The peak resident memory of the process and its children, in MB.
        outputs: Its artifacts by output key; the earlier execution's if the state is "cached".
        attempts: How many times it was tried.
    """

    node_id: str
    state: str
    seconds: float
    peak_memory_mb: float
    outputs: Mapping[str, tuple[ArtifactRecord, ...]] = dataclasses.field(default_factory=dict)
    attempts: int = 1


def find_artifact(records: list[NodeRecord], node_id: str, key: str) -> ArtifactRecord | None:
    """Returns the artifact under a node's output key, or None if there is none."""
    for record in records:
        if record.node_id == node_id and record.outputs.get(key):
            return record.outputs[key][0]
    return None
