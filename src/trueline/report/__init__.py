"""Reports: run folders as one HTML file that opens offline and says what its numbers mean."""

from trueline.report._references import references_of
from trueline.report._summarise import summarise
from trueline.report._summary import (
    BeliefCounts,
    Comparison,
    RunSummary,
    Scores,
    Summary,
    Temperature,
)
from trueline.report._verdict import verdict
from trueline.report._write import write_report

__all__ = [
    "BeliefCounts",
    "Comparison",
    "RunSummary",
    "Scores",
    "Summary",
    "Temperature",
    "references_of",
    "summarise",
    "verdict",
    "write_report",
]
