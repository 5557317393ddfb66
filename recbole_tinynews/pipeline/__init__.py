"""Stages: their order in each system, the plan of a run, the run itself, and its artifacts."""

from __future__ import annotations
