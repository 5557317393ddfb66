"""What a student learns from its teachers: losses on tensors, and the teachers that label a batch."""

from __future__ import annotations
