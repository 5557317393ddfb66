"""Plain recommenders: the papers' equations for one user and one candidate, with given weights.

``PLAIN[name](reader, user, history, candidate)`` is the score of a candidate, by news ids, for a
user with these clicks, oldest first. An article without text and category is a vector of zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import plain_texts
import plain_users as plain
import torch
from plain_users import Weights, attention_pooling, linear, part
from torch import Tensor


class Reader(NamedTuple):
    """What a plain recommender reads: weights, settings, and the data by news id.

    Attributes:
        tokens: of each text view, the token ids of each article.
        categories: of each category view, the category of each article; 0: none.
        plm: the language model, where it reads titles in the place of words.
    """

    weights: Weights
    config: Any
    tokens: dict[str, list[list[int]]]
    categories: dict[str, list[int]]
    plm: Any = None

    @property
    def user(self) -> Weights:
        return part(self.weights, "user_encoder")

    def text(self, view: str, news: int) -> Tensor:
        several = len(self.config["views"]) > 1
        place = f"news_encoder.views.{view}" if several else "news_encoder"
        encoder = part(self.weights, f"{place}.text_encoder")
        return plain_texts.text_vector(encoder, self.tokens[view][news], self.head_dim)

    @property
    def head_dim(self) -> int:
        return self.config["head_dim"] or plain_texts.HEAD_DIM

    def words(self, news: int) -> list[Tensor]:
        """The words of a title in their context, or its tokens behind the dense layer."""
        encoder = part(self.weights, "news_encoder.text_encoder")
        tokens = self.tokens["title"][news]
        if self.plm is None or not tokens:
            return plain_texts.text_words(encoder, tokens)
        states = self.plm(input_ids=torch.tensor([tokens])).last_hidden_state[0]
        return [linear(part(encoder, "dense"), state) for state in states]

    def title(self, news: int) -> Tensor:
        return self.text("title", news)

    def category(self, view: str, news: int) -> Tensor:
        return self.weights[f"news_encoder.views.{view}.vectors.weight"][
            self.categories[view][news]
        ]


def attentive_user(weights: Weights, clicks: list[Tensor]) -> Tensor:
    return attention_pooling(part(weights, "pooling"), clicks) if clicks else weights["pad_doc"]


def nrms(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    clicks, weights = [*map(reader.title, history)], part(reader.user, "self_attention")
    if not clicks:
        return reader.user["no_clicks.vector"] @ reader.title(candidate)
    seen = plain.self_attention(weights, clicks, len(clicks[0]) // plain_texts.HEAD_DIM)
    return attention_pooling(part(reader.user, "pooling"), seen) @ reader.title(candidate)


def late_fusion(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    clicks = [*map(reader.title, history)]
    mean = sum(clicks) / len(clicks) if clicks else reader.user["no_clicks.vector"]
    return mean @ reader.title(candidate)


def naml(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    composition = part(reader.weights, "news_encoder.composition")

    def article(news: int) -> Tensor:
        there = {**reader.tokens, **reader.categories}
        if not any(there[view][news] for view in reader.config["views"]):
            return torch.zeros_like(reader.user["pad_doc"])
        views = [
            linear(part(composition, f"dense.{view}"), reader.category(view, news)).clamp(min=0)
            if view in reader.categories
            else reader.text(view, news)
            for view in reader.config["views"]
        ]
        return attention_pooling(part(composition, "pooling"), views)

    return attentive_user(reader.user, [*map(article, history)]) @ article(candidate)


def tanr(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    clicks = [*map(reader.title, history)]
    return attentive_user(reader.user, clicks) @ reader.title(candidate)


def lstur(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    def article(news: int) -> Tensor:
        topics = [reader.category(view, news) for view in ("category", "subcategory")]
        return torch.cat([reader.title(news), *topics])

    combination = reader.config["user_combination"]
    clicks = [*map(article, history)]
    return plain.lstur(reader.user, clicks, user, combination) @ article(candidate)


def cennewsrec(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    heads = reader.config["news_dim"] // reader.head_dim
    clicks, recent = [*map(reader.title, history)], reader.config["recent_clicks"]
    return plain.cennewsrec(reader.user, clicks, heads, recent) @ reader.title(candidate)


def fastformer(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    clicks, layers = [*map(reader.title, history)], reader.config["user_layers"]
    return plain.fastformer(reader.user, clicks, layers) @ reader.title(candidate)


def npa(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    person = reader.user["users.weight"][user]

    def article(news: int) -> Tensor:
        words = reader.words(news)
        if not words:
            return torch.zeros(reader.config["news_dim"], dtype=person.dtype)
        return plain.personalised(part(reader.user, "word_attention"), words, person)

    clicks, attention = [*map(article, history)], part(reader.user, "news_attention")
    if not clicks:
        return reader.user["no_clicks.vector"] @ article(candidate)
    return plain.personalised(attention, clicks, person) @ article(candidate)


def miner_interests(reader: Reader, history: list[int], candidate: int) -> list[Tensor]:
    vectors = reader.weights["similarity.categories.weight"]
    category = reader.categories["category"]

    def alike(one: int, other: int) -> Tensor:
        a, b = vectors[category[one]], vectors[category[other]]
        known = category[one] and category[other]
        return reader.weights["similarity.weight"] * (a @ b / (a.norm() * b.norm()) if known else 0)

    codes = part(reader.user, "poly_attention")
    if not history:
        return plain.interests(codes, [reader.user["no_clicks.vector"]])
    clicks = [*map(reader.title, history)]
    return plain.interests(codes, clicks, [alike(candidate, news) for news in history])


def miner(reader: Reader, user: int, history: list[int], candidate: int) -> Tensor:
    interests = miner_interests(reader, history, candidate)
    return plain.matched(part(reader.user, "matching"), interests, reader.title(candidate))


def pprec(
    reader: Reader,
    history: list[int],
    candidate: int,
    now: list[float],
    of_clicks: list[tuple[float, float]],
    click_rate: float,
) -> Tensor:
    """``now`` is age, clicks and exposures; ``of_clicks`` are clicks and exposures by click."""
    weights = part(reader.weights, "time")

    def dense(name: str, inputs: Tensor) -> Tensor:
        layers = part(weights, name)
        places = sorted({int(key.split(".")[0]) for key in layers})
        for place in places:
            inputs = linear(part(layers, str(place)), inputs)
            inputs = inputs if place == places[-1] else inputs.tanh()
        return inputs.squeeze()

    def rate(clicks: float, exposures: float) -> float:
        return (clicks + 20 * click_rate) / (exposures + 20)

    news, user = reader.title(candidate), reader.user["no_clicks.vector"]
    if history:
        clicks, heads = [*map(reader.title, history)], len(news) // plain_texts.HEAD_DIM
        clicks = plain.self_attention(part(reader.user, "self_attention"), clicks, heads)
        places = [1 + min(int(200 * rate(c, s)), 199) if s else 0 for c, s in of_clicks]
        vectors = [reader.user["popularity.weight"][place] for place in places]
        joint = [torch.cat(each) for each in zip(clicks, vectors, strict=True)]
        pooling = part(reader.user, "pooling")
        project, query = part(pooling, "projection"), part(pooling, "query")
        shares = plain.softmax([linear(query, linear(project, each).tanh())[0] for each in joint])
        user = plain.weighted(shares, clicks)
    age = weights["recency.weight"][min(int(now[0]), 1499)]
    theta = dense("content_share", torch.cat([news, age])).sigmoid()
    predicted = theta * dense("of_content", news) + (1 - theta) * dense("of_recency", age)
    popularity = weights["rate_weight"] * rate(*now[1:]) + weights["predicted_weight"] * predicted
    eta = dense("gate", user).sigmoid()
    return (1 - eta) * (user @ news) + eta * popularity


PLAIN: dict[str, Callable[[Reader, int, list[int], int], Tensor]] = {
    "NRMS": nrms,
    "LateFusion": late_fusion,
    "NAML": naml,
    "LSTUR": lstur,
    "CenNewsRec": cennewsrec,
    "TANR": tanr,
    "Fastformer": fastformer,
    "NPA": npa,
    "MINER": miner,
}
