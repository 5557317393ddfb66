"""Hyper-parameter search on optuna: a space, trials that share finished stages, a report."""

from __future__ import annotations
