"""Evaluates conditions of tasks: the part of CEL that TFX and the KFP SDK write.

A condition compares inputs with constants, joined by `&&`, `||` and `!`. After three replacements it is Python, so
Python's parser reads it. Only a few kinds of nodes are evaluated here; all others are refused.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_NAMES = {"true": True, "false": False, "null": None}
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": int, "double": float, "string": str}
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class UnsupportedConditionError(ValueError):
    """A condition has more than comparisons of inputs."""


def is_met(condition: str, inputs: dict[str, Any]) -> bool:
    """Evaluates a condition.

    Args:
        condition: The text of `triggerPolicy.condition`; an empty one is always met.
        inputs: The `artifacts` and `parameter_values` of an ExecutorInput.

    Raises:
        UnsupportedConditionError: if the text is not supported, or names a missing input.
    """
    if not condition:
        return True
    try:
        tree = ast.parse(_as_python(condition), mode="eval")
        result = _evaluate(tree.body, inputs)
    except (SyntaxError, LookupError, TypeError) as error:
        raise UnsupportedConditionError(f"`condition` must compare inputs. Received: {condition} ({error})") from error
    if not isinstance(result, bool):
        raise UnsupportedConditionError(
            f"`condition` must be true or false. Received: {condition}, which is {result!r}"
        )
    return result


def _as_python(condition: str) -> str:
    """Replaces CEL's operators, outside of quotes."""
    quotes, rest = _QUOTED.findall(condition), _QUOTED.split(condition)
    rest = [re.sub(r"!(?!=)", " not ", part).replace("&&", " and ").replace("||", " or ") for part in rest]
    return "".join(part + quote for part, quote in zip(rest, [*quotes, ""], strict=True)).strip()


def _evaluate(node: ast.expr, inputs: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return inputs if node.id == "inputs" else _NAMES[node.id]
    if isinstance(node, ast.Attribute):
        return _evaluate(node.value, inputs)[node.attr]
    if isinstance(node, ast.Subscript):
        return _evaluate(node.value, inputs)[_evaluate(node.slice, inputs)]
    if isinstance(node, ast.BoolOp):
        values = (_evaluate(value, inputs) for value in node.values)
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _evaluate(node.operand, inputs)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        return _CONVERSIONS[node.func.id](_evaluate(node.args[0], inputs))
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        compare = _COMPARISONS[type(node.ops[0])]
        return compare(_evaluate(node.left, inputs), _evaluate(node.comparators[0], inputs))
    raise UnsupportedConditionError(f"`condition` must compare inputs. Received in it: {ast.unparse(node)}")
