"""Stages of each system, and the plan, run and artifacts of a training."""
