"""The references of what a page used."""

from collections.abc import Sequence

from trueline.contracts import facts_of


def references_of(used: Sequence[object]) -> list[str]:
    """Return the references of methods, each once.

    Args:
        used: functions, classes or objects; what was not published adds nothing.
    """
    found: list[str] = []
    for item in used:
        try:
            found += map(str, facts_of(item).references)
        except TypeError:
            continue
    return list(dict.fromkeys(found))
