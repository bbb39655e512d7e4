"""How much memory this machine, or its container, has and can still give. Reads Linux's own files only."""

from __future__ import annotations

import pathlib
import re

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Returns the memory of this machine, or of its container if that has less."""
    return min(_stated("MemTotal"), *_limits())


def free_memory_bytes() -> int:
    """Returns the memory that processes can still get, at most what the container may have."""
    return min(_stated("MemAvailable"), *_limits())


def accelerator_memory_bytes() -> int:
    """Returns the memory of the smallest accelerator that TensorFlow sees; 0 without one."""
    import tensorflow as tf

    if not any(device.device_type in ("GPU", "TPU") for device in tf.config.list_physical_devices()):
        return 0
    from tensorflow.python.client import device_lib

    limits = [device.memory_limit for device in device_lib.list_local_devices() if device.device_type != "CPU"]
    return min(limits, default=0)


def _stated(name: str) -> int:
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    return int(re.findall(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[0]) * 1024


def _limits() -> list[int]:
    """Returns the container's limit; a limit that nothing reaches where there is none."""
    found = [2**62]
    for path in _CGROUP_LIMITS:
        try:
            limit = pathlib.Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            found.append(int(limit))
    return found
