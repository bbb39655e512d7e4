"""One forward pass of ResNet-50 with six encoder layers in the pixel decoder, 640x640, batch 1, in both precisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.contestants import our_network, pytorch_network, torch_settings
from benchmarks.contestants.turns import fastest, in_turns
from benchmarks.row import Row, main

TURNS = 7
BAR = 0.95


def measure() -> Iterator[Row]:
    """Yields the shortest of the turns on both sides: what another program on the machine takes only ever adds time."""
    yield _row("float32", our_network.FORWARD, torch_settings.SETTINGS)
    yield _row("bfloat16", our_network.FORWARD_BFLOAT16, torch_settings.HALF_SETTINGS)


def _row(dtype: str, work: str, settings: Sequence[str]) -> Row:
    peers = [(pytorch_network, f"forward-{setting}") for setting in settings]
    ours, *others = in_turns([(our_network, work), *peers], TURNS)
    peer, all_peers = fastest(others)
    return Row(
        name=f"forward, R50 + transformer_fpn, 640x640, batch 1, {dtype}",
        ours=min(ours.seconds),
        unit="s",
        peer=min(peer.seconds),
        peer_name=f"{peer.name}, Hugging Face's parts",
        bar=f"at most {BAR} of the fastest peer's time",
        passed=min(ours.seconds) <= BAR * min(peer.seconds),
        remark=f"shortest of {TURNS} turns, two threads each; peers: {all_peers}",
    )


if __name__ == "__main__":
    main(measure)
