"""What a node of a run did and left: state, time, memory, artifacts. Plain values, so that reports need no TFX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

RAN, CACHED, FAILED = "ran", "cached", "failed"


class NodeFailedError(RuntimeError):
    """A node failed.

    Attributes:
        node_id: Which.
        reason: Why, in plain words.
    """

    def __init__(self, node_id: str, reason: str):
        super().__init__(f"{node_id} failed: {reason}")
        self.node_id = node_id
        self.reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """One artifact.

    Attributes:
        uri: Where its files are.
        properties: Its properties and custom properties.
    """

    uri: str
    properties: Mapping[str, int | float | str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeRecord:
    """One node of a run.

    Attributes:
        node_id: Its id in the pipeline.
        state: "ran" if it did work, "cached" if ML Metadata had its answer (a Resolver's always comes from there), or
            "failed".
        seconds: Wall time, looking up and publishing included.
        peak_memory_mb: Most resident memory of process and children meanwhile, in MB.
        outputs: Artifacts by output key; of the earlier execution where the state is "cached".
        attempts: How often it was tried.
    """

    node_id: str
    state: str
    seconds: float
    peak_memory_mb: float
    outputs: Mapping[str, tuple[ArtifactRecord, ...]] = dataclasses.field(default_factory=dict)
    attempts: int = 1


def find_artifact(records: list[NodeRecord], node_id: str, key: str) -> ArtifactRecord | None:
    """The artifact that a node left under an output key, or None where it has not come to it."""
    for record in records:
        if record.node_id == node_id and record.outputs.get(key):
            return record.outputs[key][0]
    return None
