"""Where the time of a forward pass goes, ours and PyTorch's, stage by stage: `python -m benchmarks._forward_stages`.

The profile behind `network_forward`; not among the measurements of `python -m benchmarks`. Each stage runs alone, in
turns with the same stage of the other side.
"""

from __future__ import annotations

from benchmarks._turns import Contestant

STAGES = (
    "backbone",
    "encoder, six layers",
    "FPN and mask features",
    "decoder, six layers, and heads",
    "mask product",
)
TURNS = 7


def main() -> None:
    """Prints a line for each stage: the shortest of the turns."""
    contestants = [Contestant(module, "stages") for module in ("_our_network", "_pytorch_network")]
    ours, peer = contestants
    for _ in range(TURNS):
        for part in ("", *STAGES):
            for contestant in contestants:
                contestant.run(part)
    for contestant in contestants:
        contestant.close()
    print(f"{'':32s}{ours.name:>20s}{peer.name:>20s}")
    for part in STAGES:
        _print_line(part, min(ours.part_seconds[part]), min(peer.part_seconds[part]))
    _print_line("all of it at once", min(ours.seconds), min(peer.seconds))


def _print_line(name: str, ours: float, peer: float) -> None:
    print(f"{name:32s}{1e3 * ours:17.1f} ms{1e3 * peer:17.1f} ms, ratio {ours / peer:.2f}")


if __name__ == "__main__":
    main()
