"""Plans a split and reads the references of every shard, and prints the peak memory of doing so: see `ingest`."""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys
import tempfile
import time

from components.coco_example_gen.layouts.published import find_sources
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.records.references import ImageRef


def peak_gb() -> float:
    """Returns the most memory that this process has had so far."""
    # Not `getrusage`: its figure begins at what the parent process had when it started this one.
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    if found is None:
        raise OSError(f"/proc/self/status must hold VmHWM. Received: {status}")
    return int(found[1]) * 1024 / 1e9


def main(data_dir: str) -> None:
    """Prints one line of json."""
    import_gb, start = peak_gb(), time.perf_counter()
    source = find_sources(data_dir, ["train"], os.path.exists)["train"]
    num_images = num_segments = 0
    with tempfile.TemporaryDirectory() as work_dir:
        plan = plan_split(SplitRequest(split="train"), source, work_dir)
        for shard in plan.shards:
            for ref in read_references(shard):
                if isinstance(ref, ImageRef):
                    num_images += 1
                    num_segments += len(ref.segments_info)
    seconds = time.perf_counter() - start
    found = {"images": num_images, "segments": num_segments, "seconds": seconds}
    print(json.dumps(found | {"peak_gb": peak_gb(), "import_gb": import_gb}))


if __name__ == "__main__":
    main(sys.argv[1])
