"""``recbole-tinynews export FOLDER --to=...``: a finished recommender for others."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_tinynews.cli import command_parser, one_line_errors, slow_imports
from recbole_tinynews.export.formats import format_names

OF_EXPORTS = ("layers", "dim", "data_license", "plm_license")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with status 1 if nothing was exported."""
    parser = command_parser(
        prog="recbole-tinynews export",
        description="Export a finished recommender, and compare the export with it.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="of the finished recommender")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", choices=format_names(), help="the format")
    what.add_argument(
        "--trim_vocabulary",
        metavar="TEXTS",
        help="write the recommender itself, with only the tokens of these articles: title"
        "[, abstract, body], in parquet, csv, tsv or .item",
    )
    add("--output", required=True, metavar="DIR", help="a new or empty folder")
    add("--layers", type=int, help="number of layers, if it was trained for it")
    add("--dim", type=int, help="a prefix of its vectors, if it was trained for it")
    add("--data_license", default="unknown", help="of the data set, for the model card")
    add("--plm_license", default="unknown", help="of the language model, for the model card")
    flags = vars(parser.parse_args(arguments))
    texts, output = flags.pop("trim_vocabulary"), flags["output"]
    if texts is not None and (more := [n for n in OF_EXPORTS if flags[n] != parser.get_default(n)]):
        parser.error(f"--{more[0]} expects --to: --trim_vocabulary alone writes what it was given")
    with one_line_errors("Not exported"):
        with slow_imports():
            from recbole_tinynews.export.exporting import export, write_trimmed

        if texts is not None:
            after, before = write_trimmed(flags["folder"], texts, output)
            print(f"{output}: {after:,} of {before:,} tokens. Serve it, or export it with --to.")
            return
        exported = export(**flags)
    print(
        f"{exported.folder}: {flags['to']}; vectors differ by at most {exported.vectors:.1e}, "
        f"scores by {exported.scores:.1e}."
    )
