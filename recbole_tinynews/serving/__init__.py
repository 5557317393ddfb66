"""Finished recommenders in use: ranking, scoring in bulk, an HTTP service and exports."""
