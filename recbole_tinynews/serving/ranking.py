"""Ranks news articles for users by a finished recommender: new titles, or ids of its data set.

``recbole_tinynews.load`` reads the folder of a finished stage. Weights are safetensors, the rest is
yaml and json, and no module that the folder names is imported: loading a stranger's model runs none
of its code.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.atomic_files import read_news
from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION, IMPRESSION_SIZE
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.data.titles import Titles
from recbole_tinynews.files.tensors import load_into, load_weights
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.pipeline.artifact import (
    FORMAT_KEY,
    METRICS_FILE,
    PLM,
    READABLE,
    SETTINGS_FILE,
    WEIGHTS,
    broken_files,
    read_settings,
)
from recbole_tinynews.registry import find_model, has_language_model, model_names
from recbole_tinynews.settings.names import settings_of_stage

USERS_AT_ONCE = 256
KEPT_VECTORS = 100_000  # of the most recently used texts; 100 MB at news_dim 256


class Ranked(NamedTuple):
    """A candidate as it was given, its score, and its place (from 0) among those given."""

    candidate: str
    score: float
    place: int


class _User(NamedTuple):
    history: list[str]
    candidates: list[str]


class _Settings(dict[str, Any]):
    """Settings of a finished stage, which answer a model as ``NewsConfig`` would."""

    def __missing__(self, name: str) -> None:
        return None

    def for_stage(self, stage: str) -> _Settings:
        # unset settings are not in the file, and this one means "all layers" if unset
        return _Settings(settings_of_stage(stage, {"teacher_num_hidden_layers": None, **self}))


class Ranker:
    """Ranks candidates for users by what they clicked; ``recbole_tinynews.load`` makes one.

    Scores equal those of evaluation in fp32. A text is encoded when it first appears; the vectors
    of the ``KEPT_VECTORS`` most recently used texts are kept in memory. Threads may share it: their
    calls take turns, and each uses all of torch's threads.

    Attributes:
        settings: what the recommender was trained with, as in ``settings.yaml``.
    """

    def __init__(
        self, model: NewsRecommender, settings: Mapping[str, Any], data_path: Path | None = None
    ) -> None:
        self.settings = settings
        self._model = model.eval()
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._data_path = data_path
        self._titles: dict[str, str] | None = None  # by news id
        self._turn = threading.Lock()  # of a call: the encoder reads one table of texts at a time

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock, which belongs to this process."""
        return {name: value for name, value in vars(self).items() if name != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore it with a lock of its own."""
        vars(self).update(state, _turn=threading.Lock())

    @overload
    def rank(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self, history: Sequence[str], candidates: Sequence[str], *, ids: bool | None = None
    ) -> list[Ranked]: ...

    @overload
    def rank(
        self,
        history: Sequence[Sequence[str]],
        candidates: Sequence[Sequence[str]],
        *,
        ids: bool | None = None,
    ) -> list[list[Ranked]]: ...

    def rank(self, history: Any, candidates: Any, *, ids: bool | None = None) -> Any:
        """Candidates from best to worst; equal scores stay in the order given.

        Args:
            history: what the user clicked, oldest first; only the newest ``history_length`` count.
                Empty for a new user. For many users, a list of such lists.
            candidates: what to rank; for many users, a list for each of them.
            ids: whether all texts are news ids of the data set (True) or titles (False). By
                default they are ids if each of them is one; say so in a program, which may meet a
                title that looks like an id.

        Returns:
            ``Ranked`` for each candidate; for many users, such a list for each.

        Raises:
            ValueError: no candidates, an id that the data set does not have, not as many histories
                as lists of candidates.
            TypeError: an argument is not a list of texts.
            FileNotFoundError: ids, and their data set is not found.
        """
        candidates = _listed(candidates, "candidates")
        one = not candidates or any(isinstance(each, str) for each in candidates)
        if one:
            users = [_User(_texts(history, "history"), _texts(candidates, "candidates"))]
        else:
            users = _many_users(history, candidates)
        for number, user in enumerate(users):
            if not user.candidates:
                place = "" if one else f" for user {number}"
                raise ValueError(f"rank expects at least 1 candidate, got none{place}.")
        with self._turn:
            ranked = self._rank(users, self._as_titles(users, ids))
        return ranked[0] if one else ranked

    def titles(self, ids: Sequence[str]) -> list[str]:
        """Titles of news ids of the data set, to rank them together with titles.

        Raises:
            FileNotFoundError: the data set is not found.
            ValueError: the data set has no article with such an id.
        """
        known = self._titles_by_id()
        unknown = [each for each in ids if each not in known]
        if unknown:
            raise ValueError(
                f"News ids of data set '{self.settings['dataset']}' are expected, got "
                f"{unknown[0]!r}, which its .item file does not have"
                f"{f' ({len(unknown)} of {len(ids)} are unknown)' if len(unknown) > 1 else ''}. "
                "Pass titles with ids=False, or leave out what has no text."
            )
        return [known[each] for each in ids]

    # --------------------------------------------------------------------------- ids or titles

    def _as_titles(self, users: list[_User], ids: bool | None) -> list[_User]:
        if ids is None:
            ids = self._are_ids([text for user in users for part in user for text in part])
        if not ids:
            return users
        return [_User(self.titles(user.history), self.titles(user.candidates)) for user in users]

    def _are_ids(self, texts: list[str]) -> bool:
        """Whether all texts are ids; raises where they may be, but the data set is not found."""
        if any(len(text.split()) != 1 for text in texts):  # a title in words, or an empty one
            return False
        try:
            known = self._titles_by_id()
        except FileNotFoundError:
            if all(any(letter.isdigit() for letter in text) for text in texts):
                raise  # scores of "N123" as a title would look like any others
            return False
        found = [text in known for text in texts]
        if any(found) and not all(found):
            raise ValueError(
                f"rank expects all ids or all titles, got the id {texts[found.index(True)]!r} and "
                f"{texts[found.index(False)]!r}, which is none of data set "
                f"'{self.settings['dataset']}'. Say which with ids=True or ids=False, or turn ids "
                "into titles with titles(ids)."
            )
        return all(found)

    def _titles_by_id(self) -> dict[str, str]:
        if self._titles is None:
            news = read_news(self._item_file())
            self._titles = dict(zip(news.item_id, news.title, strict=True))
        return self._titles

    def _item_file(self) -> Path:
        name = self.settings["dataset"]
        places = [self._data_path] if self._data_path else [Path("dataset"), _packaged_data()]
        files = [place / name / f"{name}.item" for place in places if place]
        for file in files:
            if file.is_file():
                return file
        raise FileNotFoundError(
            f"News ids are looked up in data set '{name}', which is not found: "
            f"{' or '.join(str(file.absolute()) for file in files)} is expected. Name the folder "
            "that holds it with load(folder, data_path=...), or pass titles with ids=False."
        )

    # --------------------------------------------------------------------------------- ranking

    @torch.no_grad()
    def _rank(self, users: list[_User], as_titles: list[_User]) -> list[list[Ranked]]:
        distinct = list(dict.fromkeys(t for user in as_titles for part in user for t in part))
        vectors = self._encode(distinct)
        number = {title: place for place, title in enumerate(distinct, start=1)}
        ranked: list[list[Ranked]] = []
        for start in range(0, len(users), USERS_AT_ONCE):
            batch = as_titles[start : start + USERS_AT_ONCE]
            with self._model.news_encoder.given(vectors):
                scores = self._scores(
                    [[number[t] for t in user.history] for user in batch],
                    [[number[t] for t in user.candidates] for user in batch],
                )
            asked = users[start : start + USERS_AT_ONCE]
            ranked += [_best_first(*each) for each in zip(asked, scores, strict=True)]
        return ranked

    def _scores(self, histories: list[list[int]], candidates: list[list[int]]) -> list[Any]:
        """Scores of each user's candidates, by the model's ``predict`` as in evaluation."""
        clicked = Ragged.from_rows(histories, np.int64)
        shown = Ragged.from_rows(candidates, np.int64)
        width = self.settings["history_length"]
        batch = {
            self.settings["USER_ID_FIELD"]: torch.zeros(len(histories), dtype=torch.long),
            IMPRESSION: torch.arange(len(histories)),
            IMPRESSION_SIZE: id_tensor(shown.lengths),
            HISTORY: id_tensor(clicked.newest(np.arange(clicked.rows), width)),
            CANDIDATES: id_tensor(shown.values),
        }
        scores = self._model.predict(Interaction(batch).to(self._model.device))
        return np.split(scores.float().cpu().numpy(), shown.offsets[1:-1])

    def _encode(self, texts: list[str]) -> Tensor:
        """Vectors ``[1 + texts, news_dim]``, the first one zeros; only new texts are encoded."""
        new = [text for text in texts if text not in self._known]
        if new:
            data = Titles(new, self.settings["ITEM_ID_FIELD"])
            encoder = self._model.news_encoder
            encoder.tokens = self._model.text_table(self.settings, data, encoder.pad_token_id)
            vectors = encoder.encode_distinct(np.arange(1, 1 + len(new)))
            # a copy of each: a view would keep all vectors of its batch in memory
            self._known.update(zip(new, (vector.clone() for vector in vectors), strict=True))
        found = []
        for text in texts:
            found.append(self._known[text])
            self._known.move_to_end(text)
        while len(self._known) > KEPT_VECTORS:
            self._known.popitem(last=False)
        return torch.stack([torch.zeros_like(found[0]), *found])


def load(
    folder: str | Path,
    model: type[NewsRecommender] | None = None,
    data_path: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Ranker:
    """The finished recommender in ``folder``, ready to rank.

    Args:
        folder: ``<checkpoint_dir>/<dataset>/<Model>-<fingerprint>``, wherever it lies now. It is
            enough by itself; only ids are looked up in the data set.
        model: the recommender's class, if it is one of your own that is not imported yet.
        data_path: folder that holds the folder of the data set (default: ``dataset``, then the
            embedded data sets).
        device: where it computes.

    Raises:
        FileNotFoundError: no such folder, or no artifact in it.
        ValueError: it is unfinished, damaged, of another format, ranks no news, or was made by a
            class that is not imported.
    """
    folder = Path(folder)
    _check_folder(folder)
    settings = _Settings(read_settings(folder))
    if settings[FORMAT_KEY] not in READABLE:
        raise ValueError(
            f"{folder} has format {settings[FORMAT_KEY]}, and this version of recbole_tinynews "
            f"reads {', '.join(map(str, sorted(READABLE)))}: its scores would differ. Run the "
            "command that made it again with --fresh, or install the version that made it."
        )
    model_class = _model_class(settings["model_class"], model, folder)
    settings.update(
        plm=str(folder / PLM),
        data_path=str(folder),
        device=torch.device(device),
        weights_follow=True,
    )
    recommender = model_class(settings, Titles([], settings["ITEM_ID_FIELD"]))
    load_into(recommender, load_weights(folder / WEIGHTS), folder / WEIGHTS)
    place = Path(data_path) if data_path is not None else None
    return Ranker(recommender.to(settings["device"]), settings, place)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is not a finished artifact, and say what is wrong with it."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"load expects the folder of a finished stage, and {folder.absolute()} is none."
        )
    missing = [
        name for name in (WEIGHTS, SETTINGS_FILE, METRICS_FILE) if not (folder / name).is_file()
    ]
    if len(missing) == 3:
        inside = sorted(path.parent.name for path in folder.glob(f"*/{METRICS_FILE}"))
        hint = f" Did you mean one of those in it: {', '.join(inside)}?" if inside else ""
        raise FileNotFoundError(
            f"load expects the folder of a finished stage, with {WEIGHTS}, {SETTINGS_FILE} and "
            f"{METRICS_FILE}, and {folder} has none of them.{hint}"
        )
    if missing:
        raise ValueError(
            f"{folder} is unfinished: {' and '.join(missing)} are missing. Run the same command "
            "again: it resumes where it was stopped."
        )
    # settings are read by their meaning, and may be edited
    broken = [name for name in broken_files(folder) if name != SETTINGS_FILE]
    if broken:
        raise ValueError(
            f"{folder} expects its files as they were written, and {', '.join(broken)} "
            f"{'are' if len(broken) > 1 else 'is'} missing or changed: it would rank wrongly. Run "
            "the command that made it again, which repairs it, or copy the folder anew."
        )
    if not (folder / PLM / "config.json").is_file():
        raise ValueError(
            f"{folder} lacks {PLM}/, configuration and tokenizer of its language model. A stage of "
            "post-training has none, since it ranks no news: load the folder of the last stage. "
            "Models without a language model have none either, and are not loaded here. "
            "Any other has lost it, or is of an earlier version: run the command that made it "
            "again with --fresh."
        )


def _model_class(named: str, given: type | None, folder: Path) -> type[NewsRecommender]:
    """The class that the folder names: ours, the one given, or one that is already imported.

    Nothing else is imported, since the name comes with the folder.
    """
    module, _, name = named.rpartition(".")
    if given is None and module.startswith("recbole_tinynews.model.") and name in model_names():
        given = find_model(name)
    if given is None:
        given = getattr(sys.modules.get(module), name, None)
    if given is None:
        raise ValueError(
            f"{folder} was made by {named}, a class that is not imported, and load imports none "
            f"that a folder names. Import it and pass it: load(folder, model={name})."
        )
    if not isinstance(given, type) or given.__name__ != name or not has_language_model(given):
        raise ValueError(
            f"{folder} was made by {named}, which must be a subclass of NewsRecommender, got "
            f"{given}. Pass that class: load(folder, model={name})."
        )
    return given


def _packaged_data() -> Path | None:
    try:
        return packaged_folder("dataset")
    except FileNotFoundError:
        return None


def _listed(values: Any, what: str) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise TypeError(f"rank expects {what} as a list of texts, got {values!r:.100}.")
    return list(values)


def _texts(values: Any, what: str) -> list[str]:
    texts = _listed(values, what)
    wrong = [each for each in texts if not isinstance(each, str)]
    if wrong:
        raise TypeError(f"rank expects {what} as a list of texts, got {wrong[0]!r:.100} in it.")
    return texts


def _many_users(history: Any, candidates: list[Any]) -> list[_User]:
    histories = _listed(history, "history")
    if len(histories) != len(candidates):
        raise ValueError(
            f"rank expects a history for each list of candidates, got {len(histories)} histories "
            f"and {len(candidates)} lists of candidates."
        )
    return [
        _User(_texts(clicked, f"history of user {n}"), _texts(shown, f"candidates of user {n}"))
        for n, (clicked, shown) in enumerate(zip(histories, candidates, strict=True))
    ]


def _best_first(user: _User, scores: Any) -> list[Ranked]:
    if np.isnan(scores).any():
        raise ValueError(
            f"The model scores {user.candidates[int(np.isnan(scores).argmax())]!r} with NaN. Its "
            "weights are damaged: train it again."
        )
    order = np.argsort(-scores, kind="stable")
    return [Ranked(user.candidates[place], float(scores[place]), int(place)) for place in order]
