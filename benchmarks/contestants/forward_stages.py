"""Measures where the time of a forward pass goes, stage by stage, beside PyTorch.

`python -m benchmarks.contestants.forward_stages` is the profile behind `network_forward`; it is not among the
measurements of `python -m benchmarks`. Each stage runs alone, in turns with the same stage of the other side. The last
column is what the stage's arithmetic would take at the speed of one large matrix product on the same two threads: no
float32 program needs less.
"""

from __future__ import annotations

import time

from benchmarks.contestants import our_network, pytorch_network
from benchmarks.contestants.stages import STAGES
from benchmarks.contestants.turns import Contestant

TURNS = 7


def main() -> None:
    """Prints a line for each stage: the shortest of the turns."""
    contestants = [Contestant(module, "stages") for module in (our_network, pytorch_network)]
    ours, peer = contestants
    for _ in range(TURNS):
        for part in ("", *STAGES):
            for contestant in contestants:
                contestant.run(part)
    for contestant in contestants:
        contestant.close()
    flops, flops_per_s = _flops_of_stages(), _matrix_product_flops_per_s()
    print(f"one large matrix product: {1e-9 * flops_per_s:.0f} billion floating-point operations per second")
    print(f"{'':32s}{ours.name:>20s}{peer.name:>20s}")
    for part in STAGES:
        _print_line(part, min(ours.part_seconds[part]), min(peer.part_seconds[part]), flops[part], flops_per_s)
    _print_line("all of it at once", min(ours.seconds), min(peer.seconds), sum(flops.values()), flops_per_s)


def _flops_of_stages() -> dict[str, float]:
    """Floating-point operations of each stage's products, which are the same on both sides."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.contestants import pytorch_network
    from benchmarks.contestants.scene import SIZE_PX

    flops = {}
    with torch.inference_mode():
        parts = pytorch_network.stages(pytorch_network.build().eval(), torch.zeros(1, 3, SIZE_PX, SIZE_PX))
        for name, run in parts.items():
            with FlopCounterMode(display=False) as counter:
                run()
            flops[name] = float(counter.get_total_flops())
    return flops


def _matrix_product_flops_per_s(size: int = 3072) -> float:
    import torch

    torch.set_num_threads(2)
    left, right = torch.rand(2, size, size)
    seconds = []
    for _ in range(TURNS):
        start = time.perf_counter()
        torch.matmul(left, right)
        seconds.append(time.perf_counter() - start)
    return 2.0 * size**3 / min(seconds)


def _print_line(name: str, ours: float, peer: float, flops: float, flops_per_s: float) -> None:
    times = f"{1e3 * ours:17.1f} ms{1e3 * peer:17.1f} ms, ratio {ours / peer:.2f}"
    print(
        f"{name:32s}{times}; {1e-9 * flops:6.1f} billion operations, {1e3 * flops / flops_per_s:6.1f} ms at that speed"
    )


if __name__ == "__main__":
    main()
