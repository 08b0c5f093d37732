"""Saved predictions recalibrated, or turned into prediction sets: what to keep, and what it is worth."""

from trueline.calibrating._conform import conform
from trueline.calibrating._conformed import Conformed, LargeSet, SetPoint
from trueline.calibrating._conformed_page import SETS, SETS_USED, sets_words
from trueline.calibrating._maps import MAPS, map_named
from trueline.calibrating._recalibrate import recalibrate
from trueline.calibrating._recalibration import JUDGED, Recalibration
from trueline.calibrating._references import CALIBRATOR, CONFORMAL, fitted_cited
from trueline.calibrating._run_pictures import pictures_of_run
from trueline.calibrating._sets import CONDITIONS, SCORES, sets_named

__all__ = [
    "CALIBRATOR",
    "CONDITIONS",
    "CONFORMAL",
    "JUDGED",
    "MAPS",
    "SCORES",
    "SETS",
    "SETS_USED",
    "Conformed",
    "LargeSet",
    "Recalibration",
    "SetPoint",
    "conform",
    "fitted_cited",
    "map_named",
    "pictures_of_run",
    "recalibrate",
    "sets_named",
    "sets_words",
]
