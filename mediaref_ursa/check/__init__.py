"""References checked against the frame indexes of their media, before anything is paid for."""

from __future__ import annotations

from mediaref_ursa._references.rebase import rebase as relocate
from mediaref_ursa.check._check import check_refs
from mediaref_ursa.check._report import CheckReport, Finding

__all__ = ["CheckReport", "Finding", "check_refs", "relocate"]
