"""Distillation: losses between a student and its teachers, and teachers that label batches."""
