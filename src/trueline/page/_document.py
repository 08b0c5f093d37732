"""A template and its charts into one HTML file that opens offline and runs no script but its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trueline.contracts import import_optional
from trueline.page._charts import Chart
from trueline.page._scripts import chart_runtime, json_text, policy_hash
from trueline.page._words import nats, percent, points, span

_HERE = Path(__file__).parent


class PageCharts:
    """The charts of one page: gives each an id and hands all of them over as JSON."""

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, Any]] = {}

    def place(self, chart: Chart) -> str:
        """Return the id of the element that the chart will be drawn in."""
        name = f"chart-{len(self.specs)}"
        self.specs[name] = chart.spec
        return name

    def to_json(self) -> str:
        """Return JSON that cannot end the script element it stands in."""
        return json_text(self.specs)


def render_page(
    template: Path,
    words: Mapping[str, Any],
    *,
    data: Mapping[str, object] | None = None,
    styles: Sequence[Path] = (),
    scripts: Sequence[Path] = (),
    parts: Sequence[Path] = (),
) -> str:
    """Return a page: the frame that all pages share, filled by one template.

    The template extends ``_page.html.j2`` and may import from ``_parts.html.j2``; text in it is escaped. It places a
    chart with the macro ``chart``. Anything not named here is forbidden to run or to be fetched by the page's policy.

    Args:
        template: the template; what it includes lies beside it.
        words: what the template names.
        data: values for the page's own scripts, each as JSON in an element of that id.
        styles: style sheets after the shared one.
        scripts: scripts that run after the charts were handed to the runtime, in this order. Each can use
            ``pageCharts``, a promise of a Vega view by chart id.
        parts: folders with further templates that this one imports from.

    Returns:
        The HTML text.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    jinja = import_optional("jinja2", extra="report", purpose="writing a page")
    markup = import_optional("markupsafe", extra="report", purpose="writing a page").Markup
    charts = PageCharts()
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader([template.parent, *parts, _HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja.StrictUndefined,
    )
    environment.globals.update(percent=percent, points=points, nats=nats, span=span, place=charts.place)
    running = [chart_runtime(), *(_text(path) for path in [_HERE / "_runtime.js", *scripts])]
    page: str = environment.get_template(template.name).render(
        **words,
        style=markup("\n".join(_text(path) for path in [_HERE / "_style.css", *styles])),
        data={name: markup(json_text(value)) for name, value in (data or {}).items()},
        charts=lambda: markup(charts.to_json()),
        scripts=[markup(script) for script in running],
        script_hashes=" ".join(policy_hash(script) for script in running),
    )
    return page


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
