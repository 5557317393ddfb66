"""A search for settings: a space, trials that share finished stages, a report; optuna chooses."""

from __future__ import annotations
