"""Reads the gate's rules: `pq_things >= 0.4`, `pq[class=person] >= baseline - 0.02 surely`.

    METRIC                      of all images: pq, sq_stuff, boundary_pq, pq_small, mean_iou, ap50, pq_<group>, ...
    METRIC[slice=format=jpeg]   the score in a slice; `[slice=*]` is a rule for every slice
    pq[class=person]            PQ of a class; `[class=*]` is a rule for every class that occurs
    >= NUMBER                   a floor
    >= baseline - NUMBER        an allowed loss from the last blessed model, on the same images
    surely                      the end of the one-sided confidence interval must hold, not only the value

`judge` applies the rules.
"""

from __future__ import annotations

import dataclasses
import re

EVERY = "*"
NOT_WORSE, POINT = "not_worse", "point"  # What decides about the change of PQ: confidence, or only its value.
_RULE = re.compile(
    r"(?P<metric>[a-z][a-z0-9_]*)\s*(\[(?P<kind>class|slice)=(?P<name>[^\]]+)\])?\s*>=\s*"
    r"(?:baseline\s*-\s*(?P<loss>\d*\.?\d+)|(?P<floor>\d*\.?\d+))(?P<surely>\s+surely)?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        text: The rule as the user wrote it.
        metric: The name of the score.
        class_name: The name of one class, `EVERY`, or empty.
        slice_name: The name of one slice, `EVERY`, or empty for all images.
        floor: The smallest value that passes; None for a rule about the change.
        allowed_loss: The largest loss that passes; None for a floor.
        surely: Whether the end of the confidence interval is judged.
    """

    text: str
    metric: str
    class_name: str = ""
    slice_name: str = ""
    floor: float | None = None
    allowed_loss: float | None = None
    surely: bool = False

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Reads a rule.

        Raises:
            ValueError: if it is not a rule, or a number is not in 0..1.
        """
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                "A gate rule must read like `pq_things >= 0.4`, `pq[class=person] >= baseline - 0.02` or "
                f"`mean_iou[slice=brightness=low] >= 0.3 surely`. Received: {text!r}"
            )
        limits = {key: float(match[key]) if match[key] else None for key in ("floor", "loss")}
        if any(limit is not None and limit > 1 for limit in limits.values()):
            raise ValueError(f"A gate rule's number must be in 0..1. Received: {text!r}")
        is_class = match["kind"] == "class"
        if is_class and match["metric"] != "pq":
            raise ValueError(f"The only score of a class is `pq`. Received: {text!r}")
        return cls(
            text=text.strip(),
            metric=match["metric"],
            class_name=match["name"] if is_class else "",
            slice_name=match["name"] if match["kind"] == "slice" else "",
            floor=limits["floor"],
            allowed_loss=limits["loss"],
            surely=bool(match["surely"]),
        )
