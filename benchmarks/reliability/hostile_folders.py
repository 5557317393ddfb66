"""Folders of recommenders that somebody has changed: each ranks, or is refused in a line."""

from __future__ import annotations

import json
import random
import shutil
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import commands
import yaml
from hostile import ALIASES, CONTENTS, checked_anew
from outcome import Outcome
from tqdm import tqdm

from recbole_tinynews.serving.loading import load

LONGEST, LONGEST_LINE = 10, 2_000  # seconds, characters
ANYTHING = (None, True, -1, 2**70, 1e308, float("nan"), "", "x" * 10_000, [1, 2], {"a": None})


def measure(folder: Path, count: int, seed: int) -> Outcome:
    """Load so many."""
    tiny = commands.tiny_world(folder / "tiny")
    whole = commands.prepare(tiny, "PLMNR", folder / "whole")
    commands.run(whole)
    artifact = next((whole / "saved").rglob("metrics.json")).parent
    files = sorted(each.relative_to(artifact) for each in artifact.rglob("*") if each.is_file())
    rng = random.Random(seed)
    figures: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    for number in tqdm(range(count), unit=" folders", mininterval=5):
        place = folder / f"hostile-{number}"
        shutil.copytree(artifact, place)
        what = _spoil(place, files[number % len(files)], rng)
        if rng.random() < 0.7:  # as somebody who knows the format
            with suppress(OSError, ValueError):  # metrics.json itself is spoilt
                checked_anew(place)
        began = time.perf_counter()
        status = commands.wait(commands.forked(_loading(place), place))
        seconds = time.perf_counter() - began
        slowest = max(slowest, seconds)
        said = (place / commands.OUTPUT).read_text(encoding="utf-8", errors="replace")
        figures.update({"hostile folders": 1, "ranked" if status == 0 else "refused": 1})
        if status not in (0, 3) or seconds > LONGEST or len(said) > LONGEST_LINE:
            failures.append(f"{what}: status {status}, {seconds:.0f} s: {said[-300:]!r}")
        shutil.rmtree(place)
    return Outcome({**figures, "slowest, s": round(slowest, 1)}, failures)


def _loading(place: Path) -> Callable[[], None]:
    def work() -> None:
        try:
            assert load(place).rank([], ["word1"])
        except ValueError as refusal:
            print(refusal)
            raise SystemExit(3 if place.name in str(refusal) else 4) from None

    return work


def _spoil(place: Path, name: Path, rng: random.Random) -> str:
    file = place / name
    before = file.read_bytes()
    kind = rng.randrange(6)
    if kind == 0:
        file.write_bytes(rng.choice(CONTENTS))
    elif kind == 1:
        file.write_bytes(rng.randbytes(rng.randrange(1, 5_000)))
    elif kind == 2:
        cut = rng.randrange(len(before) + 1)
        file.write_bytes(before[:cut] + rng.randbytes(8) + before[cut:])
    elif name.suffix == ".safetensors":
        _spoil_header(file, before, rng)
    elif name.suffix in (".json", ".yaml"):
        _spoil_values(file, rng)
    else:
        file.write_bytes(before[: len(before) // 2])
    return f"{name}, kind {kind}"


def _spoil_header(file: Path, before: bytes, rng: random.Random) -> None:
    (size,) = struct.unpack("<Q", before[:8])
    header = json.loads(before[8 : 8 + size])
    tensor = header[rng.choice([name for name in header if name != "__metadata__"])]
    part = rng.choice(["shape", "dtype", "data_offsets"])
    tensor[part] = rng.choice([[2**40, 2**40], [], "F64", "I64", [0, 2**62], [-1, 5], None])
    written = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", rng.choice([len(written), 2**60])) + written)


def _spoil_values(file: Path, rng: random.Random) -> None:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".yaml" and rng.random() < 0.3:
        file.write_text(f"{text}\n{ALIASES}\nx: *a26\n", encoding="utf-8")
        return
    content = yaml.safe_load(text) if file.suffix == ".yaml" else json.loads(text)
    part = content
    while isinstance(part, dict) and part:
        name = rng.choice([*part])
        if isinstance(part[name], dict) and rng.random() < 0.7:
            part = part[name]
            continue
        part[name] = rng.choice(ANYTHING)
        break
    write = yaml.safe_dump if file.suffix == ".yaml" else json.dumps
    file.write_text(write(content), encoding="utf-8")
