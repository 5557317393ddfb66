"""The news encoder of articles with several views: texts and categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import Storage
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.packing import on_device
from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.text_encoder import weights_content
from recbole_tinynews.files.columns import CATEGORIES

SMALL_WEIGHT = 0.01  # for vectors with entries around 1, beside one of unit length


class CategoryView(nn.Module):
    """A trainable vector for each category, by article ``[news]``; zeros for category 0."""

    categories: Tensor

    def __init__(self, names: Sequence[str], dim: int) -> None:
        super().__init__()
        none = torch.zeros(1, dtype=torch.long)  # of the padding alone
        self.register_buffer("categories", none, persistent=False)
        self.vectors = nn.Embedding(len(names), dim, padding_idx=0)
        self._ids = {name: category for category, name in enumerate(names) if category}

    def ids_of(self, names: Sequence[str]) -> Tensor:
        """Category ids by name; 0 if unknown."""
        ids = [self._ids.get(name, 0) for name in names]
        return torch.tensor(ids, dtype=torch.long, device=self.categories.device)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of articles, ``[articles]`` -> ``[articles, dim]``."""
        return self.vectors(self.categories[ids])


class ViewsEncoder(NewsEncoder):
    """Encodes each view of an article and combines the vectors; zeros without any view.

    ``views`` are in the order of ``composition``, from ``{view: [articles, size]}`` to ``[articles,
    dim]``: ``OneTextEncoder`` and ``CategoryView``. ``tokens`` has lengths without values.
    """

    written: Tensor

    def __init__(
        self,
        views: Mapping[str, OneTextEncoder | CategoryView],
        composition: nn.Module,
        history_cache_steps: int = 0,
    ) -> None:
        super().__init__(history_cache_steps=history_cache_steps)
        self.views = nn.ModuleDict(views)
        self.composition: Any = composition
        self.register_buffer("written", _is_written(self.tokens), persistent=False)

    def put_articles(
        self, articles: Mapping[str, Ragged | Tensor], storage: Storage | None = None
    ) -> None:
        """Take the texts and categories of a data set's articles."""
        for name, view in self.views.items():
            if isinstance(view, OneTextEncoder):
                view.put_articles({name: articles[name]}, storage)
            else:
                view.categories = cast("Tensor", articles[name])
        self.tokens = _article_lengths(articles.values())
        self.written = _is_written(self.tokens)

    @property
    def texts(self) -> dict[str, OneTextEncoder]:
        """Text encoders by view."""
        return {name: view for name, view in self.views.items() if isinstance(view, OneTextEncoder)}

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``, computed now; zeros without any view."""
        at_device = on_device(torch.from_numpy(ids), self.device)
        vectors = {
            name: view.encode_distinct(ids) if isinstance(view, OneTextEncoder) else view(at_device)
            for name, view in self.views.items()
        }
        return self.composition(vectors) * self.written[at_device][:, None]

    def shares(self, ids: NDArray[np.int64]) -> dict[str, float]:
        """Those of its first text encoder."""
        return next(iter(self.texts.values())).shares(ids)

    @torch.no_grad()
    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of given articles, ``[articles, news_dim]``."""
        tokens = {name: text.tokenise(columns) for name, text in self.texts.items()}
        articles = next(iter(tokens.values())).rows - 1
        written = torch.zeros(articles, dtype=torch.bool, device=self.device)
        vectors = {}
        for name, view in self.views.items():
            if isinstance(view, CategoryView):
                ids = view.ids_of(columns.get(name, [""] * articles))
                vectors[name], given = view.vectors(ids), ids != 0
            else:
                given = _is_written(tokens[name])[1:].to(self.device)
                vectors[name] = self.texts[name].encode_tokens(tokens[name])
            written |= given
        return self.composition(vectors) * written[:, None]

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty articles, ``[texts, news_dim]``."""
        return next(iter(self.texts.values())).zeros(0).new_zeros(texts, self.composition.dim)

    def tokens_at_once(self) -> int:
        """As many as its first text encoder."""
        return next(iter(self.texts.values())).tokens_at_once()

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector, for the key of a saved table of vectors."""
        yield type(self.composition).__name__
        yield from weights_content(self.composition)
        for name, view in self.views.items():
            yield name
            if isinstance(view, OneTextEncoder):
                yield from view.content()
            elif isinstance(view, CategoryView):
                yield view.categories.cpu().numpy().tobytes()
                yield from weights_content(view)


def _article_lengths(views: Iterable[Ragged | Tensor]) -> Ragged:
    """Number of tokens and categories of each article, as lengths without values."""
    lengths = [
        view.lengths if isinstance(view, Ragged) else (view != 0).cpu().numpy().astype(np.int64)
        for view in views
    ]
    return Ragged.layout(np.sum(lengths, axis=0))


def _is_written(tokens: Ragged) -> Tensor:
    return torch.from_numpy(tokens.lengths > 0)


class ViewAttention(nn.Module):
    """``r = sum_v softmax_v(q . tanh(U r_v + u)) r_v`` over the views ``v`` of an article.

    NAML (Wu et al., IJCAI 2019). For a category, ``r_c = ReLU(V_c e_c + v_c)``. ``sizes`` are those
    of the views' vectors; texts have the size ``dim`` of a news vector.
    """

    def __init__(self, sizes: Mapping[str, int], dim: int, query_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.dense = nn.ModuleDict(
            {view: nn.Linear(sizes[view], dim) for view in sizes if view in CATEGORIES}
        )
        self.pooling = AttentionPooling(dim, query_dim)

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        vectors = [
            self.dense[view](each).relu() if view in self.dense else each
            for view, each in views.items()
        ]
        return self.pooling(torch.stack(vectors, dim=1))


class StartsAsText(nn.Module):
    """``r = r_text + w own({view: r_v})`` with a ``w`` that trains from 0.

    An article starts as the pretrained vector of the view ``text`` (docs/method.md, section 1);
    ``own`` maps ``{view: [articles, size]}`` to ``[articles, dim]``.
    """

    def __init__(self, text: str, own: nn.Module) -> None:
        super().__init__()
        self.text, self.own = text, cast("Any", own)
        self.dim = self.own.dim
        self.own_weight = nn.Parameter(torch.tensor(0.0))

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        return views[self.text] + self.own_weight * self.own(views)


class ViewConcatenation(nn.Module):
    """Vectors of all views concatenated (LSTUR, ACL 2019); ``starts_as`` dominates at the start."""

    def __init__(self, sizes: Mapping[str, int], starts_as: str | None = None) -> None:
        super().__init__()
        self.dim = sum(sizes.values())
        self.starts_as = starts_as
        small = torch.tensor(SMALL_WEIGHT)
        self.others_weight = None if starts_as is None else nn.Parameter(small)

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        weight = self.others_weight
        vectors = [
            each if weight is None or view == self.starts_as else each * weight
            for view, each in views.items()
        ]
        return torch.cat(vectors, dim=-1)
