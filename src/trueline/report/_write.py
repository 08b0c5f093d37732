"""Run folders into one HTML file that opens offline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trueline.contracts import write_atomically
from trueline.measure import reliability
from trueline.page import MARKS, bin_rows, colour, reliability_charts, render_page
from trueline.report._charts import belief_curves, learning_curves
from trueline.report._gallery import Outcome, gallery
from trueline.report._references import references_of
from trueline.report._score import BINS
from trueline.report._summarise import read_test, summarise
from trueline.report._summary import METRICS, RunSummary
from trueline.report._verdict import verdict
from trueline.train import RunFolder

_TEMPLATE = Path(__file__).parent / "_template.html.j2"
_AT_ONCE = 24  # images of one outcome shown before the reader asks for more
_UNITS = {"accuracy": "points", "ece": "points", "confidence_gap": "points"}
_HEADINGS: dict[Outcome, str] = {
    "corrected": "Wrong labels that were corrected",
    "astray": "Wrong labels whose belief moved to another wrong class",
    "left a right label": "Right labels that were left",
    "in doubt": "Labels that were left; none is known to be wrong",
}


def write_report(runs: Sequence[RunFolder | Path], out: Path) -> Path:
    """Write one self-contained HTML page about one or several runs.

    Args:
        runs: run folders; the first is the one that others are compared with.
        out: the file to write; replaced as a whole if it exists.

    Returns:
        ``out``.

    Raises:
        ImportError: if the ``report`` extra is not installed.
        ValueError: if there are no runs, or one has no test predictions.

    Cost:
        Two to three seconds, most of them for bundling the chart runtime; the page is about 1 MB plus images.
    """
    folders = [run if isinstance(run, RunFolder) else RunFolder(run) for run in runs]
    if not folders:
        raise ValueError("expected at least one run folder, got none")
    write_atomically(out, _render(folders))
    return out


def _render(folders: Sequence[RunFolder]) -> str:
    configs, summary = [folder.config() for folder in folders], summarise(folders)
    labels = [run.label for run in summary.runs]
    histories = [folder.metrics() for folder in folders]
    words = {
        "kind": "report",
        "title": _title(labels, configs),
        "written": _written(folders),
        "verdict": verdict(summary),
        "runs": [_run_view(i, run, folders[i], configs[i], histories[i]) for i, run in enumerate(summary.runs)],
        "comparisons": summary.comparisons,
        "metrics": METRICS,
        "units": {name: _UNITS.get(name, "nats") for name in METRICS},
        "curves": learning_curves(labels, histories),
        "belief_curves": belief_curves(labels, histories),
        "galleries": [
            view for run, folder in zip(summary.runs, folders, strict=True) if (view := _gallery(run, folder))
        ],
        "validated": any(row.get("validation") for history in histories for row in history),
        "noisy": any(run.wrong_labels for run in summary.runs),
        "references": list(dict.fromkeys(str(r) for config in configs for r in references_of(config))),
        "bins": BINS,
        "at_once": _AT_ONCE,
    }
    return render_page(_TEMPLATE, words)


def _run_view(
    i: int, run: RunSummary, folder: RunFolder, config: dict[str, Any], history: list[dict[str, Any]]
) -> dict[str, Any]:
    test = read_test(folder)
    states = [("as trained", test.logits, run.scores)]
    if run.temperature:
        tempered = test.logits.double() / run.temperature.value
        states.append((f"with temperature {run.temperature.value:.2f}", tempered, run.temperature.scores))
    panels = []
    for state, logits, scores in states:
        table = reliability(test.true_labels, logits=logits, bins=BINS)
        diagram, histogram = reliability_charts(i, table, title=f"{run.label} {state}")
        heading = state[:1].upper() + state[1:]
        panels.append(
            {"heading": heading, "scores": scores, "diagram": diagram, "histogram": histogram, "rows": bin_rows(table)}
        )
    return {
        "label": run.label,
        "summary": run,
        "colour": colour(i),
        "mark": MARKS[i % len(MARKS)][1],
        "panels": panels,
        "monitored": any(row.get("objective") for row in history),
        "facts": _facts(config, folder.environment()),
        "toml": (folder.path / "config.toml").read_text(encoding="utf-8"),
    }


def _gallery(run: RunSummary, folder: RunFolder) -> dict[str, Any] | None:
    beliefs, train = folder.beliefs(), folder.predictions("train")
    if beliefs is None or train is None or run.beliefs is None:
        return None
    samples = gallery(beliefs.beliefs, beliefs.images, beliefs.positions, train.labels, train.true_labels)
    groups = [
        {"heading": heading, "samples": found}
        for outcome, heading in _HEADINGS.items()
        if (found := [sample for sample in samples if sample.outcome == outcome])
    ]
    counts = run.beliefs
    return {
        "label": run.label,
        "counts": counts,
        "groups": groups,
        "shown": len(samples),
        "left": counts.corrected + counts.moved_astray + counts.left_right,
        "names": _class_names(folder, beliefs.beliefs.shape[1]),
    }


def _class_names(folder: RunFolder, classes: int) -> list[str]:
    names = folder.environment().get("class_names")
    return names if names else [str(c) for c in range(classes)]


def _title(labels: Sequence[str], configs: Sequence[dict[str, Any]]) -> str:
    listed = labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
    data = {config.get("data", {}).get("name") for config in configs}
    title = f"{listed} on {data.pop()}" if len(data) == 1 and None not in data else listed
    return title[:1].upper() + title[1:]


def _written(folders: Sequence[RunFolder]) -> str:
    finished = [str(end) for folder in folders if (end := folder.environment().get("finished"))]
    return f"Finished {max(finished)[:16].replace('T', ', ')} UTC" if finished else ""


def _facts(config: dict[str, Any], environment: dict[str, Any]) -> list[tuple[str, str]]:
    """List the settings and surroundings that explain most of a result, those that are known."""
    data, noise = config.get("data", {}), config.get("data", {}).get("noise") or {}
    training, optimizer = config.get("training", {}), config.get("optimizer", {})
    wrong = f"{noise.get('kind')}, rate {noise.get('rate')}" if noise else None
    rows = {
        "run": config.get("name"),
        "data": data.get("name"),
        "label noise": wrong,
        "network": config.get("model", {}).get("name"),
        "objective": config.get("objective", {}).get("name"),
        "optimiser": optimizer.get("name"),
        "learning rate": optimizer.get("learning_rate"),
        "epochs": training.get("epochs"),
        "batch size": training.get("batch_size"),
        "seed": config.get("seed"),
    }
    rows |= {name.replace("_", " "): value for name, value in environment.items() if isinstance(value, str | int)}
    return [(name, str(value)) for name, value in rows.items() if value is not None]
