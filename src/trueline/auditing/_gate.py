"""Conditions under which an audit fails, for continuous integration."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from trueline.auditing._records import ModelAudit
from trueline.contracts import unknown_name
from trueline.measure import MEASURES, Evaluation

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_ENDS = ("value", "low", "high")
_FORM = re.compile(
    r"\s*(?P<name>[\w.]+)\s*(?P<sign>[<>]=?)\s*(?P<limit>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(?P<percent>%?)\s*"
)


@dataclass(frozen=True)
class Condition:
    """One comparison, such as ``ece > 0.05``.

    Args:
        text: as it was written.
        measure: a key of ``MEASURES``.
        end: ``"value"``, or ``"low"`` or ``"high"`` for the ends of its 95 % interval.
        in_groups: whether it is asked of every group instead of all samples.
        sign: the comparison.
        limit: what the measure is compared with.
    """

    text: str
    measure: str
    end: str
    in_groups: bool
    sign: str
    limit: float

    def failures(self, model: ModelAudit) -> Iterator[str]:
        """Return where the condition holds, one sentence each.

        Args:
            model: what was found about one model.

        Yields:
            Sentences such as ``"ResNet-20: ece is 0.0532, and ece > 0.05 fails"``.

        Raises:
            ValueError: if it asks for groups, and there are none; or for a measure that was not taken.
        """
        parts: list[tuple[str, Evaluation]] = [("", model.evaluation)]
        if self.in_groups:
            parts = [(f", group {row.name}", row.evaluation) for row in model.groups]
            if not parts:
                raise ValueError(f"'{self.text}' asks about groups, but the predictions have none; give groups")
        for where, evaluation in parts:
            if self.measure not in evaluation.scores:
                raise ValueError(f"'{self.text}' asks for {self.measure}, which these predictions do not have")
            value = getattr(evaluation.scores[self.measure], self.end)
            if _SIGNS[self.sign](value, self.limit):
                what = self.measure if self.end == "value" else f"{self.measure}.{self.end}"
                yield f"{model.name}{where}: {what} is {value:.4g}, and the audit fails if {self.text}"


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Args:
        text: ``MEASURE SIGN NUMBER`` with a sign among ``> >= < <=`` and a number that may end in ``%``. The measure is
            a key of ``MEASURES``; ``.low`` or ``.high`` after it takes an end of its interval, and ``groups.`` before
            it asks every group.

    Returns:
        The condition.

    Raises:
        ValueError: if the text is not of this form, or names no measure.

    Example:
        >>> parse_condition("groups.accuracy.high < 80 %").limit
        0.8
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a condition such as 'ece > 0.05' or 'groups.accuracy < 0.8', got {text!r}")
    *before, last = match["name"].split(".")
    end = "value"
    if last in _ENDS and before:
        end, last = last, before.pop()
    in_groups = before == ["groups"]
    if (before and not in_groups) or last not in MEASURES:
        raise ValueError(unknown_name("measure", ".".join([*before, last]), dict.fromkeys(MEASURES)))
    try:
        limit = float(match["limit"])
    except ValueError:
        raise ValueError(f"expected a number in {text!r}, got {match['limit']!r}") from None
    return Condition(text.strip(), last, end, in_groups, match["sign"], limit / 100 if match["percent"] else limit)
