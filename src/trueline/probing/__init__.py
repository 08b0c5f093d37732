"""Probing a finished run or a model of your own: which probes apply, what they found, and a page."""

from trueline.probing._catalogue import PROBES, ProbeEntry
from trueline.probing._page import GEOMETRY, GEOMETRY_STYLE, geometry_words, write_page
from trueline.probing._records import Exhibit, Measured, Number, Probed, ProbingFindings, Sharp
from trueline.probing._references import RECORDS, probes_cited, write_record
from trueline.probing._run import probe_subject
from trueline.probing._setting import Batch, Setting
from trueline.probing._telling import UNIT, about_samples, exactly
from trueline.probing._verdict import probing_verdict
from trueline.probing._words import number_text, with_ends

__all__ = [
    "GEOMETRY",
    "GEOMETRY_STYLE",
    "PROBES",
    "RECORDS",
    "UNIT",
    "Batch",
    "Exhibit",
    "Measured",
    "Number",
    "ProbeEntry",
    "Probed",
    "ProbingFindings",
    "Setting",
    "Sharp",
    "about_samples",
    "exactly",
    "geometry_words",
    "number_text",
    "probe_subject",
    "probes_cited",
    "probing_verdict",
    "with_ends",
    "write_page",
    "write_record",
]
