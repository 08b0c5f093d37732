"""What prediction sets are worth, as sentences that call a coverage wrong only beyond chance."""

from collections.abc import Sequence

from trueline.conformal import CoverageTable, SetReport
from trueline.page import NBSP, percent, points, span

_BY_CHANCE = 0.025  # share of right parts whose 95 % interval lies below what is right
_NAMED = 3  # parts that are named before the rest is counted
_ADVICE = {
    "none": "Thresholds by class (--conditional class, or cluster where classes are many) repair that.",
    "class": "",
    "cluster": "",
    "group": "",
}


def conformed_verdict(
    report: SetReport, conditional: str, class_names: Sequence[str], group_names: Sequence[str]
) -> tuple[str, ...]:
    """Return what the numbers say.

    Args:
        report: coverage and sizes.
        conditional: what thresholds depend on.
        class_names: the classes, in their order.
        group_names: the groups, in their order.

    Returns:
        A paragraph on coverage and size, and one on where coverage is not what it should be.
    """
    return _overall(report), _parts(report, conditional, class_names, group_names)


def _overall(report: SetReport) -> str:
    wanted = 1 - report.alpha
    first = (
        f"{percent(report.coverage.value)} of the sets hold the label, where {percent(wanted)} is agreed: "
        f"{_judged(report)}."
    )
    sizes = (
        f"A set holds {report.mean_size.value:.2f} classes on average, {report.median_size:g} in the median; "
        f"{percent(report.singleton_rate)} hold exactly one"
    )
    return f"{first} {sizes}{f', {percent(report.empty_rate)} none' if report.empty_rate else ''}."


def _judged(report: SetReport) -> str:
    low, high, found = report.expected_low, report.expected_high, report.coverage.value
    if low is None or high is None:
        exact = f"95{NBSP}% interval {span(report.coverage, 'points')}"
        if report.coverage.low <= 1 - report.alpha <= report.coverage.high:
            return f"that agrees within noise ({exact})"
        return f"{'less' if report.coverage.high < 1 - report.alpha else 'more'} than that ({exact})"
    band = f"{points(low)} to {points(high)} in 95{NBSP}% of such trials"
    if low <= found <= high:
        return f"that is what the promise leads one to expect ({band})"
    if found > high:
        return f"more than chance explains ({band}), as where scores tie or these samples are easier to cover"
    return f"less than chance explains ({band}), so these samples and those of the thresholds are not alike"


def _parts(report: SetReport, conditional: str, class_names: Sequence[str], group_names: Sequence[str]) -> str:
    wanted = 1 - report.alpha
    sentences = [*_short(report.by_class, "class", "classes", wanted, class_names)]
    if sentences and _ADVICE[conditional]:
        sentences.append(_ADVICE[conditional])
    if report.by_group is not None:
        sentences += _short(report.by_group, "group", "groups", wanted, group_names)
    few = report.by_size.beyond_chance(wanted)
    if few:
        sentences.append(
            f"Sets of {' and '.join(few)} classes hold the label less often than agreed, by up to "
            f"{points(report.size_gap)} points: their size says too little about how hard the sample is."
        )
    if not sentences:
        return "In no class and for no size of the sets is coverage below what is agreed beyond chance."
    return " ".join(sentences)


def _short(table: CoverageTable, one: str, many: str, wanted: float, names: Sequence[str]) -> list[str]:
    """Say in which parts coverage is too low, and in how many that would be so by chance."""
    below = table.beyond_chance(wanted)
    chance = _BY_CHANCE * len(table.names)
    if len(below) <= chance:
        return []
    worst = sorted(below, key=lambda name: table.coverage[table.names.index(name)].item())[:_NAMED]
    shown = ", ".join(
        f"{names[int(name)]} ({percent(table.coverage[table.names.index(name)].item())})" for name in worst
    )
    noun = one if len(below) == 1 else many
    rest = f", the lowest {shown}" if len(below) > len(worst) else f": {shown}"
    return [
        f"In {len(below)} of {len(table.names)} {many} coverage is below what is agreed by more than its interval"
        f"{rest}. By chance that happens in about {chance:.1g} {noun if chance == 1 else many}; the promise is about "
        "all samples together."
    ]
