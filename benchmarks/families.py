"""Mask2Former and EoMT beside Hugging Face's: a forward pass of each, and a training step of Mask2Former, 640x640."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants import huggingface_family, our_network, torch_settings
from benchmarks.contestants.huggingface_family import EOMT_BASE, EOMT_SMALL, FORWARD_SETTINGS, MASK2FORMER_R50
from benchmarks.contestants.turns import Contestant, fastest, in_turns
from benchmarks.row import Row, main

TURNS, STEP_TURNS = 7, 5
FORWARD_BARS = {MASK2FORMER_R50: 0.9, EOMT_SMALL: 1.0, EOMT_BASE: 1.0}
STEP_BAR = STEP_MEMORY_BAR = 0.85


def measure() -> Iterator[Row]:
    """Yields the shortest of the turns on both sides: what another program on the machine takes only ever adds time."""
    for name, bar in FORWARD_BARS.items():
        ours, *peers = _in_turns("forward", name, FORWARD_SETTINGS[name], TURNS)
        yield _time_row(f"forward, {name}, 640x640, batch 1", ours, peers, bar, TURNS)
    ours, *peers = _in_turns("step", MASK2FORMER_R50, torch_settings.TRAINING_SETTINGS, STEP_TURNS)
    what = f"training step, {MASK2FORMER_R50}, 640x640, batch 1, 12 targets"
    yield _time_row(what, ours, peers, STEP_BAR, STEP_TURNS)
    leanest = min(peers, key=lambda peer: peer.peak_gib)
    yield Row(
        name=f"peak memory, {what}",
        ours=ours.peak_gib,
        unit="GiB",
        peer=leanest.peak_gib,
        peer_name=leanest.name,
        bar=f"at most {STEP_MEMORY_BAR} of the leanest peer's",
        passed=ours.peak_gib <= STEP_MEMORY_BAR * leanest.peak_gib,
        remark="of the whole process",
    )


def _in_turns(work: str, name: str, settings: tuple[str, ...], turns: int) -> list[Contestant]:
    peers = [(huggingface_family, f"{work}-{setting}:{name}") for setting in settings]
    return in_turns([(our_network, f"{work}:{name}"), *peers], turns)


def _time_row(what: str, ours: Contestant, peers: list[Contestant], bar: float, turns: int) -> Row:
    peer, all_peers = fastest(peers)
    return Row(
        name=what,
        ours=min(ours.seconds),
        unit="s",
        peer=min(peer.seconds),
        peer_name=peer.name,
        bar=f"at most {bar} of the fastest peer's time",
        passed=min(ours.seconds) <= bar * min(peer.seconds),
        remark=f"shortest of {turns} turns, two threads each; peers: {all_peers}",
    )


if __name__ == "__main__":
    main(measure)
