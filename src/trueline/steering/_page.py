"""The page of a steered run: what changed, the curves over β, the boundary under a slider, and every activation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trueline.numerics import Interval
from trueline.page import MARKS, colour, render_page
from trueline.steering._charts import CHARTED, curve_charts
from trueline.steering._geometry import ATTACK_STEPS, CURVATURE_STEPS
from trueline.steering._options import FACTS
from trueline.steering._record import SteeringFindings
from trueline.steering._references import references_of
from trueline.steering._verdict import measure_name, steering_verdict

_HERE = Path(__file__).parent
_UNITS = {"points": "points", "nats": "nats", "score": ""}
_MAIN = ("accuracy", "log_loss", "brier", "ece", "confidence_gap", "robust_accuracy", "normalised_curvature")


def steering_page(found: SteeringFindings, boundary: Mapping[str, Any] | None) -> str:
    """Return the page of a steered run.

    Args:
        found: everything that was found.
        boundary: predictions over the plane of two features; None without.

    Returns:
        One HTML file that opens offline.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    judged, options = found.judgement, found.options
    words = {
        "kind": "steering",
        "title": f"{found.name} steered to β = {found.beta_text}",
        "written": f"{judged.samples:,} test samples, {found.chosen_on[1]:,} {found.chosen_on[0]} samples",
        "found": found,
        "verdict": steering_verdict(found),
        "curves": curve_charts(found),
        "rows": [_row(name, found) for name in _MAIN if name in judged.original],
        "curve": found.curve,
        "columns": [name for name in CHARTED if any(name in point.scores for point in found.curve)],
        "facts": FACTS,
        "value": _value,
        "costly": _costly(found),
        "curved": "normalised_curvature" in judged.original,
        "recalibrated": options.batch_norm == "recalibrate",
        "boundary": boundary,
        "classes": [
            {"label": name, "colour": colour(k), "mark": MARKS[k % len(MARKS)][1]}
            for k, name in enumerate(found.class_names)
        ],
        "audit": _audit_rows(found),
        "audited": _audited(found),
        "metric": measure_name(options.metric),
        "boundary_ends": _axes(boundary),
        "settings": _settings(found),
        "references": list(map(str, references_of(found))),
    }
    return render_page(
        _HERE / "_template.html.j2",
        words,
        data={"plane": boundary} if boundary else None,
        styles=[_HERE / "_steering.css"],
        scripts=[_HERE / "_boundary.js"] if boundary else [],
    )


def _row(name: str, found: SteeringFindings) -> dict[str, Any]:
    judged, facts = found.judgement, FACTS[name]
    return {
        "title": facts.title,
        "meaning": facts.meaning,
        "unit": facts.unit,
        "shown": {"points": "%" if "accuracy" in name else "points"}.get(facts.unit, _UNITS[facts.unit]),
        "original": judged.original[name],
        "steered": judged.steered.get(name),
        "difference": judged.difference.get(name),
    }


def _value(name: str, interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval.value:.1f}" if FACTS[name].unit == "points" else f"{interval.value:.4g}"


def _costly(found: SteeringFindings) -> str:
    """Say how robustness and curvature were measured."""
    judged, options, said = found.judgement, found.options, []
    if "robust_accuracy" in judged.original:
        radius = (
            "8/255, eight grey levels" if options.radius is None else f"{options.radius:.4g} in units of the inputs"
        )
        said.append(
            f"Robust accuracy is measured with Auto-PGD on the cross-entropy, {ATTACK_STEPS} steps, largest change of "
            f"an entry {radius}. So short an attack finds only part of what is there: the truth is lower, and equal "
            "values are no proof of equal robustness."
        )
    if "normalised_curvature" in judged.original:
        said.append(
            f"Curvature is that of the loss, per unit of the input, with at most {CURVATURE_STEPS} Hessian-vector "
            "products a sample. At β = 1 a ReLU network has all its own curvature in its folds, where no derivative "
            "sees it, so that spreading the folds out can raise this number."
        )
    if said:
        few, which = min(options.samples, found.chosen_on[1]), "Both are" if len(said) == 2 else "It is"
        said.append(f"{which} taken at some β only, on {few:,} samples here and on {judged.few:,} in the table.")
    return " ".join(said)


def _audited(found: SteeringFindings) -> str:
    """Say how many activations there are and what became of them."""
    total, after, missed = len(found.audit["before"]), found.audit["after"], len(found.audit["missed"])
    left = sum(not row["steered"] for row in after)
    noun = "activation or max-pooling runs" if total == 1 else "activations and max-poolings run"
    start = f"{total} {noun} in one forward pass"
    if not left:
        return f"{start}; a second pass over the steered model finds {'it' if total == 1 else 'all of them'} steered."
    said = f"{start}; a second pass over the steered model finds {left} as before, for the reasons given below."
    return f"{said} {missed} should have been steered and could not be reached." if missed else said


def _axes(boundary: Mapping[str, Any] | None) -> list[str]:
    if boundary is None:
        return []
    return [" to ".join(f"{end:.3g}".replace("-", "\N{MINUS SIGN}") for end in boundary[axis]) for axis in "xy"]


def _audit_rows(found: SteeringFindings) -> list[dict[str, str]]:
    after = {row["order"]: row for row in found.audit["after"]}
    rows = []
    for call in found.audit["before"]:
        now = after.get(call["order"])
        rows.append(
            {
                "order": str(call["order"]),
                "kind": call["kind"],
                "way": call["way"],
                "where": call["owner"] or "the model",
                "module": ", ".join(call["module_names"]) or "none",
                "shape": " × ".join(map(str, call["shape"])) or "scalar",
                "size": "none" if call["rms"] is None else f"{call['rms']:.3g}",
                "became": "steered" if now and now["steered"] else f"left: {call['reason'] or 'not asked for'}",
            }
        )
    return rows


def _settings(found: SteeringFindings) -> list[tuple[str, str]]:
    options = found.options
    return [
        ("β", found.beta_text + (" (searched)" if options.searched else " (given)")),
        ("searched by", options.metric if options.searched else "nothing"),
        ("granularity", options.granularity),
        ("mix", str(options.mix)),
        ("scale", str(options.scale)),
        ("max-pooling", "smoothed" if options.pooling else "kept"),
        ("batch norm", options.batch_norm),
        ("seed", str(options.seed)),
        *((name.replace("_", " "), str(value)) for name, value in found.source.items()),
        *found.versions.items(),
    ]
