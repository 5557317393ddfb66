"""Hyper-parameter search with optuna; trials share finished stages."""
