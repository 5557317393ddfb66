"""What a run tells while it lasts: its log, how far it is, and its events for other programs."""

from __future__ import annotations
