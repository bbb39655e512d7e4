"""Maps the places that a compiled pipeline names to this machine: the image's project, buckets and volumes.

A spec for a cluster names `/opt/maskformer/...` (the project in its image), `gs://bucket/...` and the mounts of
volumes. A run on this machine reads this checkout, and folders that imitate buckets and volumes below its root.
Artifacts keep their addresses: `artifact_store` imitates what the platform does with them.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.compiled.compiled_spec import map_strings
from pipeline.compiled.platform_config import PROJECT_DIR
from pipeline.compiled.spec_file import CompiledSpec

# A file that every compiled pipeline names, by which the image's project folder is found.
_MARKER = re.compile(r"""(?:^|["'=\s])(/[^"'=\s]*)/components/coco_example_gen/schema\.pbtxt""")
_BUCKETS = {"gs://": "gcs", "/gcs/": "gcs"}
_PARTS_WITH_PLACES = ("root", "components", "deploymentSpec")


@dataclasses.dataclass(frozen=True)
class LocalPlaces:
    """The folders on this machine, by the prefix that a spec has for them.

    Attributes:
        folders: Each prefix ends with "/", and so does its folder.
    """

    folders: Mapping[str, str]

    @classmethod
    def of(cls, spec: CompiledSpec, root: pathlib.Path) -> LocalPlaces:
        """Returns the places of a spec whose runs write below `root`."""
        folders = {prefix: f"{root}/bucket/{name}/" for prefix, name in _BUCKETS.items()}
        folders |= {f"{mount.rstrip('/')}/": f"{root}/volumes/{claim}/" for mount, claim in _volumes(spec)}
        if (project := _project_dir(spec)) not in (None, PROJECT_DIR):
            folders[f"{project}/"] = f"{PROJECT_DIR}/"
        return cls(folders)

    def to_local(self, text: str) -> str:
        """Returns a text of a spec with every such prefix replaced, also inside json and flags."""
        for prefix, folder in self.folders.items():
            text = re.sub(rf"""(?<![^"'=\s]){re.escape(prefix)}""", folder.replace("\\", r"\\"), text)
        return text

    def localize(self, spec: CompiledSpec) -> CompiledSpec:
        """Returns the spec with the places of this machine; the root of artifacts stays."""
        parts = {name: map_strings(spec.pipeline_spec[name], self.to_local) for name in _PARTS_WITH_PLACES}
        return dataclasses.replace(spec, pipeline_spec=spec.pipeline_spec | parts)


def _project_dir(spec: CompiledSpec) -> str | None:
    found = (match[1] for text in _strings(spec.pipeline_spec) if (match := _MARKER.search(text)))
    return next(found, None)


def _volumes(spec: CompiledSpec) -> Iterator[tuple[str, str]]:
    kubernetes = (spec.platform_spec or {}).get("platforms", {}).get("kubernetes", {})
    for executor in kubernetes.get("deploymentSpec", {}).get("executors", {}).values():
        for volume in executor.get("pvcMount", []):
            yield volume["mountPath"], volume["constant"]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)
