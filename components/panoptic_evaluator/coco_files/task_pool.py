"""Runs a function over many small tasks in processes, and again if a process dies: each result arrives once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
MAX_ATTEMPTS = 3
_TASKS_AHEAD = 4  # Tasks in flight per worker; limited, so that memory does not grow with the number of tasks.


def map_tasks(function: Callable[[_Task], _Result], tasks: Sequence[_Task], num_workers: int) -> Iterator[_Result]:
    """Yields the result of every task, once, in any order; runs in this process if one worker is enough.

    A process that dies (for example, killed for its memory) ends its pool; the tasks without a result are then done
    again in a new pool. An exception of `function` is raised.

    Raises:
        RuntimeError: if processes died `MAX_ATTEMPTS` times.
    """
    if num_workers == 1 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    # Only here: one worker needs none of it.
    import concurrent.futures
    import multiprocessing
    from concurrent.futures.process import BrokenProcessPool

    waiting = list(range(len(tasks)))[::-1]
    for _ in range(MAX_ATTEMPTS):
        # Forked before any thread exists: a worker starts in milliseconds and imports nothing again.
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(min(num_workers, len(tasks)), mp_context=context) as pool:
            in_flight: dict[concurrent.futures.Future[_Result], int] = {}
            try:
                while waiting or in_flight:
                    while waiting and len(in_flight) < num_workers * _TASKS_AHEAD:
                        in_flight[pool.submit(function, tasks[waiting[-1]])] = waiting[-1]
                        waiting.pop()
                    done, _ = concurrent.futures.wait(in_flight, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        result = future.result()
                        del in_flight[future]
                        yield result
                return
            except BrokenProcessPool:
                waiting.extend(in_flight.values())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    raise RuntimeError(
        f"Worker processes died {MAX_ATTEMPTS} times; {len(waiting)} of {len(tasks)} tasks are not done."
    )
