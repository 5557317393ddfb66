"""What a student learns from its teachers: losses on tensors, and who labels a batch."""

from __future__ import annotations
