"""Sentences about a probed model: the most telling finding first, and what is missing last."""

from trueline.probing._records import ProbingFindings
from trueline.probing._words import counted, seconds_text


def probing_verdict(found: ProbingFindings) -> tuple[str, ...]:
    """Return what a reader is to take away.

    Args:
        found: everything that was found.

    Returns:
        Paragraphs of whole sentences; the last says how much was measured and what was left out.
    """
    chosen = [probe for probe in found.measured if probe.told] or found.measured[:1]
    told = [f"{probe.title}: {probe.found.sentences[0]}" for probe in chosen if probe.found is not None]
    return (*told, _coverage(found))


def _coverage(found: ProbingFindings) -> str:
    done, missing = found.measured, found.left_out
    limit = "" if found.minutes is None else f" within a limit of {counted_minutes(found.minutes)}"
    said = [f"{len(done)} of {counted(len(found.probes), 'probe')} measured{limit}, in {seconds_text(found.seconds)}."]
    if short := [probe.title for probe in done if probe.shortened]:
        said.append(f"On fewer samples than they would take, for want of time: {', '.join(short)}.")
    if missing:
        why: dict[str, list[str]] = {}
        for probe in missing:
            why.setdefault(probe.reason, []).append(probe.title)
        said.append("Left out: " + "; ".join(f"{', '.join(titles)} ({reason})" for reason, titles in why.items()) + ".")
    return " ".join(said)


def counted_minutes(minutes: float) -> str:
    """Return a time in minutes as text.

    Args:
        minutes: above 0.
    """
    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"
