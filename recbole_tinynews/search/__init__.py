"""Hyper-parameter search with optuna; trials share finished stages."""

from __future__ import annotations
