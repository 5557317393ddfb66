"""Systems side by side: suites, the runs of their rows, size and speed, tables and figures."""

from __future__ import annotations
