"""Tools of the checkout, which the package and its wheel do not carry."""

from __future__ import annotations
