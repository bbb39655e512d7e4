"""The type of what TFX hands to an executor: for each input or output by name, its artifacts."""

from __future__ import annotations

from tfx import types

ArtifactLists = dict[str, list[types.Artifact]]
