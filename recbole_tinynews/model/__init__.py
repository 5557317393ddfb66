"""News recommenders that a user can name, and the models of stages."""

from __future__ import annotations
