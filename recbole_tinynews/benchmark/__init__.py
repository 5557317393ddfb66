"""Benchmarks: suites of systems, their runs, size and speed, tables and figures."""
