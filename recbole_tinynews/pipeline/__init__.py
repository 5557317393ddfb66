"""Which stage follows which, what will run, the run itself, and what it leaves behind."""

from __future__ import annotations
