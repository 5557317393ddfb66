from __future__ import annotations

import pytest

from recbole_tinynews.settings.literals import parse_command_line


def test_a_value_is_all_that_follows_the_first_equals_sign() -> None:
    """RecBole drops such a flag with a warning, and trains with the default."""
    parsed = parse_command_line(["--plm=/models/a=b", "--topk=[5,10]", "--epochs=2", "--epochs=2"])
    assert parsed.values == {"plm": "/models/a=b", "topk": [5, 10], "epochs": 2}
    assert parsed.problems == []


def test_names_of_models_and_data_sets_stay_text() -> None:
    """A data set called 2019 or 1e5 is a folder, not a number."""
    assert parse_command_line(["--dataset=1e5"]).values == {"dataset": "1e5"}


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--epochs", "3"], "write --epochs=3"),
        (["-d", "mind"], "'-d' (command line): write --key=value"),
        (["epochs=3"], "write --key=value"),
        (["--=3"], "write --key=value"),
        (["--epochs=3", "--epochs=4"], "--epochs (command line) is given twice, with '3' and '4'"),
        (["--fresh", "--fresh=false"], "--fresh (command line) is given twice"),
    ],
)
def test_what_cannot_be_read_is_answered_with_how_to_write_it(
    arguments: list[str], answer: str
) -> None:
    assert answer in " ".join(parse_command_line(arguments).problems)


def test_a_bare_flag_is_a_switch_and_does_not_swallow_the_next_flag() -> None:
    parsed = parse_command_line(["--fresh", "--epochs=3"])
    assert parsed.values == {"fresh": True, "epochs": 3}
    assert parsed.switches == ["fresh"]
