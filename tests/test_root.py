from __future__ import annotations

import subprocess
import sys

import pytest

import recbole_tinynews

NAMES = "run load convert Benchmark Search Stage Start NewsRecommender NewsTrainer"


@pytest.mark.parametrize("name", [*NAMES.split(), "ImpressionRecommender"])
def test_what_a_user_needs_is_exported_at_the_root(name: str) -> None:
    """Paths inside the package may change; examples that import from them would break."""
    assert callable(getattr(recbole_tinynews, name))
    assert name in dir(recbole_tinynews)
    assert not hasattr(recbole_tinynews, name + "s")


def test_convert_is_the_function_after_an_import_of_its_modules(tmp_path) -> None:
    """An import of one of its modules would replace the function by the subpackage."""
    code = (
        "import recbole_tinynews.convert.errors; from recbole_tinynews import convert\n"
        "try: convert('no-such-folder', 'name')\n"
        "except convert.ConversionError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no-such-folder" in shown.stdout
