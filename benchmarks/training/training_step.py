"""A whole training step: forward, deeply supervised losses and matching, backward, clip, AdamW; 640x640, batch 1."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants import our_network, pytorch_network, torch_settings
from benchmarks.contestants.turns import fastest, in_turns
from benchmarks.row import Row, main

TURNS = 5
TIME_BAR, MEMORY_BAR = 0.75, 0.85
MODEL = "training step, R50 + transformer_fpn, 640x640, batch 1, 12 targets"


def measure() -> Iterator[Row]:
    """Time and peak memory of the processes, both whole: framework, weights and optimizer included."""
    peers = [(pytorch_network, f"step-{setting}") for setting in torch_settings.TRAINING_SETTINGS]
    ours, *others = in_turns([(our_network, "step"), *peers], TURNS)
    peer, all_peers = fastest(others)
    yield Row(
        name=MODEL,
        ours=min(ours.seconds),
        unit="s",
        peer=min(peer.seconds),
        peer_name=f"{peer.name}, Hugging Face's parts, official losses",
        bar=f"at most {TIME_BAR} of the fastest peer's time",
        passed=min(ours.seconds) <= TIME_BAR * min(peer.seconds),
        remark=f"shortest of {TURNS} turns, two threads each; peers: {all_peers}",
    )
    leanest = min(others, key=lambda other: other.peak_gib)
    yield Row(
        name=f"peak memory, {MODEL}",
        ours=ours.peak_gib,
        unit="GiB",
        peer=leanest.peak_gib,
        peer_name=leanest.name,
        bar=f"at most {MEMORY_BAR} of the leanest peer's",
        passed=ours.peak_gib <= MEMORY_BAR * leanest.peak_gib,
        remark="of the whole process; " + ", ".join(f"{each.name} {each.peak_gib:.2f} GiB" for each in others),
    )


if __name__ == "__main__":
    main(measure)
