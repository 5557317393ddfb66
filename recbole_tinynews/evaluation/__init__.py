"""Per-impression metrics, and their adapters for RecBole."""

from __future__ import annotations
