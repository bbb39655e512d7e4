"""A whole training step: forward, deeply supervised losses and matching, backward, clip, AdamW; 640x640, batch 1."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants import our_network, pytorch_network
from benchmarks.contestants.turns import in_turns
from benchmarks.row import Row, main

TURNS = 5
MAX_PEAK_GIB = 3.5e9 / 2**30
MODEL = "training step, R50 + transformer_fpn, 640x640, batch 1, 12 targets"


def measure() -> Iterator[Row]:
    """Time and peak memory of the processes, both whole: framework, weights and optimizer included."""
    ours, peer = in_turns((our_network, pytorch_network), "step", TURNS)
    yield Row(
        name=MODEL,
        ours=min(ours.seconds),
        unit="s",
        peer=min(peer.seconds),
        peer_name=f"{peer.name}, Hugging Face's parts, official losses",
        bar="at most 0.85 of the peer's time",
        passed=min(ours.seconds) <= 0.85 * min(peer.seconds),
        remark=f"shortest of {TURNS} turns, two threads each",
    )
    yield Row(
        name=f"peak memory, {MODEL}",
        ours=ours.peak_gib,
        unit="GiB",
        peer=peer.peak_gib,
        peer_name=peer.name,
        bar="at most 3.5 GB (3.26 GiB)",
        passed=ours.peak_gib <= MAX_PEAK_GIB,
        remark="of the whole process",
    )


if __name__ == "__main__":
    main(measure)
