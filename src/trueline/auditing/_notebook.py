"""An audit as a notebook shows it: the verdict, the main scores and the charts as pictures that need no script."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from trueline.auditing._page_charts import reliability_charts, risk_chart
from trueline.auditing._page_data import MAIN
from trueline.contracts import import_optional
from trueline.measure import MEASURES
from trueline.page import MARKS, Chart, nats, points, span
from trueline.probing import geometry_words

_TEMPLATE = Path(__file__).parent / "_notebook.html.j2"
_WIDTH = 300
# What the style sheet of a page would say, in colours that read on light and on dark notebooks.
_COLOURS = {"ink": "#808080", "ink-soft": "#808080", "rule": "#80808055", "paper": "#80808000"}
_RUNS = ("#2a86c4", "#d9651a", "#0f9d75", "#b4578e", "#a67400", "#3d8fc0", "#808080")
_CONFIG = {
    "background": "transparent",
    "font": "sans-serif",
    "axis": {
        "domainColor": "#808080",
        "gridColor": "#80808055",
        "labelColor": "#808080",
        "tickColor": "#808080",
        "titleColor": "#808080",
        "titleFontWeight": 400,
    },
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "view": {"stroke": None},
}


def mimebundle(audit: Any) -> dict[str, str]:
    """Return an audit as text and, with the ``report`` extra, as HTML with inline pictures.

    Args:
        audit: an :class:`Audit`; its title, models, comparisons, class names, verdict, geometry and explanations are
            read.

    Returns:
        Text by MIME type: ``text/plain`` always, ``text/html`` where the charts can be drawn.
    """
    bundle = {"text/plain": str(audit)}
    if all(importlib.util.find_spec(name) for name in ("altair", "jinja2", "vl_convert")):
        bundle["text/html"] = _html(audit)
    return bundle


def _html(audit: Any) -> str:
    jinja = import_optional("jinja2", extra="report", purpose="showing an audit")
    markup = import_optional("markupsafe", extra="report", purpose="showing an audit").Markup
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    views = [
        {
            "audit": model,
            "colour": _RUNS[i % len(_RUNS)],
            "mark": MARKS[i % len(MARKS)][1],
            "charts": [(chart, markup(_svg(chart))) for chart in reliability_charts(i, model)],
        }
        for i, model in enumerate(audit.models)
    ]
    risk = risk_chart(audit.models)
    page: str = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        title=audit.title, verdict=audit.verdict, models=views, measures=MEASURES, scores=MAIN,
        risk=(risk, markup(_svg(risk))), nats=nats, points=points, span=span,
        probed=[
            (heading, geometry_words(found))
            for heading, found in (
                ("The geometry behind it", audit.geometry), ("What explains it", audit.explanations)
            )
            if found is not None
        ],
    )  # fmt: skip
    return page


def _svg(chart: Chart) -> str:
    """Draw a chart; Vega escapes the text in it."""
    vl_convert = import_optional("vl_convert", extra="report", purpose="drawing charts")
    altair = import_optional("altair", extra="report", purpose="drawing charts")
    text = re.sub(r'"var\(--(ink|ink-soft|rule|paper|run-(\d))\)"', _colour, json.dumps(chart.spec))
    spec: dict[str, Any] = json.loads(text) | {"width": _WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}}
    version = ".".join(altair.SCHEMA_VERSION.split(".")[:2])
    picture: str = vl_convert.vegalite_to_svg(spec | {"config": _CONFIG}, vl_version=version)
    return picture


def _colour(found: re.Match[str]) -> str:
    return json.dumps(_COLOURS[found[1]] if found[2] is None else _RUNS[int(found[2])])
