"""MaskFormer in Keras (arXiv:2107.06278), useful alone: needs neither TFX nor Beam. Import its modules by name.

`maskformer_model.MaskFormer`, an exported model's answers, is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskformer_model.prediction.exported_model import ExportedMaskFormer

    MaskFormer = ExportedMaskFormer


def __getattr__(name: str) -> Any:
    if name == "MaskFormer":
        from maskformer_model.prediction.exported_model import ExportedMaskFormer

        return ExportedMaskFormer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
