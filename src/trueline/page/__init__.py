"""Parts of a page: one HTML file that opens offline, its charts, its pictures and how its numbers are written."""

from trueline.page._charts import MARKS, Chart, axis, colour, spec_of
from trueline.page._document import PageCharts, render_page
from trueline.page._picture import png_uri
from trueline.page._reliability import bin_rows, reliability_charts
from trueline.page._sentences import change_in_words, compare_in_words, negated, sentence_case
from trueline.page._words import NBSP, nats, percent, points, span

__all__ = [
    "MARKS",
    "NBSP",
    "Chart",
    "PageCharts",
    "axis",
    "bin_rows",
    "change_in_words",
    "colour",
    "compare_in_words",
    "nats",
    "negated",
    "percent",
    "png_uri",
    "points",
    "reliability_charts",
    "render_page",
    "sentence_case",
    "span",
    "spec_of",
]
