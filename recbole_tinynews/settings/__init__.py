"""Settings before they mean anything: how they are written, which exist, which values fit."""

from __future__ import annotations
