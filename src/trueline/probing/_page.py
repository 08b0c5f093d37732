"""The page of a probed model, and the same findings as a part of another page."""

from pathlib import Path
from typing import Any

from trueline.contracts import write_atomically
from trueline.page import png_uri, render_page
from trueline.probing._charts import charts_of
from trueline.probing._records import Number, Probed, ProbingFindings
from trueline.probing._verdict import counted_minutes, probing_verdict
from trueline.probing._words import number_text, seconds_text

GEOMETRY = Path(__file__).parent / "geometry"
"""The folder with the template ``_geometry.html.j2``, whose macro shows :func:`geometry_words` on any page."""

GEOMETRY_STYLE = GEOMETRY / "_geometry.css"
"""The style sheet that goes with it."""

_KINDS = {"measured": "", "estimate": "estimate", "bound": "bound", "if by chance": "if by chance"}


_PREFACE = (
    "Distances are Euclidean and in the unit of the inputs as the model is given them. Intervals speak of these "
    "samples, not of another training run. An estimate follows from what was measured by an approximation; a bound "
    "holds for certain."
)


def write_page(
    found: ProbingFindings, path: str | Path, *, about: str = "The geometry", preface: str = _PREFACE
) -> Path:
    """Write the page: one HTML file that opens offline.

    Args:
        found: everything that was found.
        path: the file; replaced as a whole if it exists.
        about: the heading without the model's name, such as ``"The geometry"``.
        preface: what a reader must know before all numbers.

    Returns:
        The path.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    path = Path(path)
    write_atomically(path, _page(found, about, preface))
    return path


def geometry_words(found: ProbingFindings) -> dict[str, Any]:
    """Return what the macro ``geometry`` of the template in ``GEOMETRY`` shows.

    Args:
        found: everything that was found.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    return {
        "verdict": probing_verdict(found),
        "notes": found.notes,
        "probes": [_view(probe) for probe in found.measured],
        "left_out": found.left_out,
    }


def _page(found: ProbingFindings, about: str, preface: str) -> str:
    words = {
        "kind": "probes",
        "title": f"{about} of {found.name}",
        "preface": preface,
        "written": f"{len(found.measured)} of {len(found.probes)} probes",
        "geometry": geometry_words(found),
        "settings": _settings(found),
        "references": list(map(str, found.references)),
    }
    return render_page(Path(__file__).parent / "_template.html.j2", words, styles=[GEOMETRY_STYLE], parts=[GEOMETRY])


def _view(probe: Probed) -> dict[str, Any]:
    found = probe.found
    assert found is not None
    return {
        "name": probe.name,
        "title": probe.title,
        "question": probe.question,
        "basis": probe.basis,
        "seconds": seconds_text(probe.seconds),
        "sentences": found.sentences,
        "notes": found.notes,
        "charts": charts_of(found.records, found.titles),
        "exhibits": [
            {
                "title": exhibit.title,
                "pictures": {caption: png_uri(picture) for caption, picture in exhibit.pictures.items()},
                "facts": exhibit.facts,
            }
            for exhibit in found.exhibits
        ],
        "drawn": "slice_partition" in found.records,
        "numbers": [_row(number) for number in found.numbers],
        "split": _split(probe),
        "per_sample": found.per_sample,
        "sharpest": [
            {
                "position": sharp.position,
                "label": sharp.label,
                "prediction": sharp.prediction,
                "value": number_text(sharp.value),
                "picture": None if sharp.picture is None else png_uri(sharp.picture),
            }
            for sharp in found.sharpest
        ],
        "texts": [(name, str(record).splitlines()) for name, record in found.records.items()],
    }


def _row(number: Number) -> dict[str, str]:
    value = number.value
    known = value.low != value.high and abs(value.low) != float("inf") and abs(value.high) != float("inf")
    return {
        "title": number.title,
        "value": number_text(value.value),
        "span": f"{number_text(value.low)} to {number_text(value.high)}" if known else "",
        "unit": number.unit,
        "kind": _KINDS[number.kind],
    }


def _split(probe: Probed) -> list[dict[str, str]]:
    found = probe.found
    if found is None or found.split is None:
        return []
    parts = {
        "where the label is right": found.split.clean,
        "where the label is wrong": found.split.noisy,
        "difference": found.split.difference,
    }
    rows = [{**_row(Number(name, part))} for name, part in parts.items() if part is not None]
    if found.split.difference is not None and not found.split.difference.excludes_zero:
        rows[-1]["kind"] = "within noise"
    return rows


def _settings(found: ProbingFindings) -> list[tuple[str, str]]:
    return [
        ("limit in time", "none" if found.minutes is None else counted_minutes(found.minutes)),
        ("took", seconds_text(found.seconds)),
        ("seed", str(found.seed)),
        *((name.replace("_", " "), str(value)) for name, value in found.source.items()),
        *found.versions.items(),
    ]
