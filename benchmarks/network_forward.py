"""One forward pass of ResNet-50 with six encoder layers in the pixel decoder, 640x640, batch 1, float32."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants import our_network, pytorch_network
from benchmarks.contestants.turns import in_turns
from benchmarks.row import Row, main

TURNS = 7


def measure() -> Iterator[Row]:
    """Yields the shortest of the turns on both sides: what another program on the machine takes only ever adds time."""
    ours, peer = in_turns((our_network, pytorch_network), "forward", TURNS)
    yield Row(
        name="forward, R50 + transformer_fpn, 640x640, batch 1",
        ours=min(ours.seconds),
        unit="s",
        peer=min(peer.seconds),
        peer_name=f"{peer.name}, Hugging Face's parts",
        bar="no slower than the peer",
        passed=min(ours.seconds) <= min(peer.seconds),
        remark=f"shortest of {TURNS} turns, two threads each",
    )


if __name__ == "__main__":
    main(measure)
