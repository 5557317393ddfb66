"""Exports of finished recommenders to other formats; ``exporting.export`` writes them."""
