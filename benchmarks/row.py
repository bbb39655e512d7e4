"""One line of the table that `make bench` prints, and how a measurement's module hands its lines over."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure beside its peer's, both from this run.

    Attributes:
        name: What was measured, with its sizes.
        ours: Our figure.
        unit: Of both figures, as in "ms" or "images/s".
        peer: The peer's figure; None where the bar is absolute.
        peer_name: Which program, and its version.
        bar: The bar in words, as in "at most 0.85 of the peer's time".
        passed: Whether the bar was reached; None where there is none.
        remark: What a reader must know to judge the figure, as in "median of 5; PyTorch is not installed".
    """

    name: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    bar: str = ""
    passed: bool | None = None
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """Our figure over the peer's."""
        return None if self.peer is None else self.ours / self.peer


def main(measure: Callable[[], Iterable[Row]]) -> None:
    """Runs a module's measurement as a program: prints each row, and writes all of them where `--output` says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=pathlib.Path, help="write the rows there as json")
    output = parser.parse_args().output
    rows = []
    for row in measure():
        rows.append(row)
        print(json.dumps(dataclasses.asdict(row)), flush=True)
    if output:
        output.write_text(json.dumps([dataclasses.asdict(row) for row in rows]), encoding="utf-8")
