"""Stages of each system, and the plan, run and artifacts of a training."""

from __future__ import annotations
