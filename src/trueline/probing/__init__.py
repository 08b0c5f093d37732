"""Probing a finished run or a model of your own: which probes apply, what they found, and a page."""

from trueline.probing._catalogue import PROBES, ProbeEntry
from trueline.probing._page import GEOMETRY, GEOMETRY_STYLE, geometry_words, write_page
from trueline.probing._records import Exhibit, Measured, Number, Probed, ProbingFindings, Sharp
from trueline.probing._references import RECORDS, probes_cited, write_record
from trueline.probing._run import probe_subject
from trueline.probing._setting import Batch, Setting
from trueline.probing._verdict import probing_verdict

__all__ = [
    "GEOMETRY",
    "GEOMETRY_STYLE",
    "PROBES",
    "RECORDS",
    "Batch",
    "Exhibit",
    "Measured",
    "Number",
    "ProbeEntry",
    "Probed",
    "ProbingFindings",
    "Setting",
    "Sharp",
    "geometry_words",
    "probe_subject",
    "probes_cited",
    "probing_verdict",
    "write_page",
    "write_record",
]
