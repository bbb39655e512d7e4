"""Two programs measured in turns, each in a process of its own that stays up: neither has the quiet minute alone.

A contestant is a module whose `main` hands `serve` a function to time. It prints its name when it is warm, then runs
once for every line that it reads, and answers with the seconds that took, those of processors, and its peak memory. A
line may name a part of the work, to be timed alone.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any


class Contestant:
    """A warm process of `python -m MODULE TASK`."""

    def __init__(self, module: ModuleType, task: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", module.__name__, task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = self._answer()["name"]
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []  # Of whole repetitions; on a busy machine steadier than `seconds`.
        self.part_seconds: dict[str, list[float]] = {}
        self.peak_gib = 0.0

    def run(self, part: str = "") -> None:
        """One repetition, of all or of a part."""
        _opened(self._process.stdin).write(f"{part}\n")
        _opened(self._process.stdin).flush()
        answer = self._answer()
        seconds = self.part_seconds.setdefault(part, []) if part else self.seconds
        seconds.append(answer["seconds"])
        if not part:
            self.processor_seconds.append(answer["processor_seconds"])
        self.peak_gib = answer["peak_gib"]

    def close(self) -> None:
        """Ends the process, which frees its memory for the next one."""
        _opened(self._process.stdin).close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        # Libraries print what they like; an answer is the next line that begins as one.
        for line in _opened(self._process.stdout):
            if line.startswith('{"'):
                return json.loads(line)
        raise RuntimeError(f"A measured process ended early, with exit code {self._process.wait()}.")


def _opened(pipe: Any) -> Any:
    if pipe is None:
        raise RuntimeError("A measured process has no pipe.")
    return pipe


def in_turns(tasks: Sequence[tuple[ModuleType, str]], turns: int) -> list[Contestant]:
    """Runs each module's task, `turns` times in turns; all processes are closed again."""
    contestants = [Contestant(module, task) for module, task in tasks]
    for _ in range(turns):
        for contestant in contestants:
            contestant.run()
    for contestant in contestants:
        contestant.close()
    return contestants


def fastest(contestants: Sequence[Contestant]) -> tuple[Contestant, str]:
    """Returns the one with the shortest turn, and a remark that names all with theirs, in seconds."""
    in_order = sorted(contestants, key=lambda contestant: min(contestant.seconds))
    return in_order[0], ", ".join(f"{each.name} {min(each.seconds):.3g} s" for each in in_order)


def serve(
    name: str, run: Callable[[], Any], warm_up: int = 2, parts: Mapping[str, Callable[[], Any]] | None = None
) -> None:
    """The contestant's side: see the module."""
    parts = parts or {}
    for call in (run, *parts.values()):
        for _ in range(warm_up):
            call()
    print(json.dumps({"name": name}), flush=True)
    for line in sys.stdin:
        call = parts[line.strip()] if line.strip() else run
        start, processor_start = time.perf_counter(), time.process_time()
        call()
        seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        answer = {"seconds": seconds, "processor_seconds": processor_seconds, "peak_gib": peak_gib}
        print(json.dumps(answer), flush=True)
