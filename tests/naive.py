"""A plain PLM-NR as the reference of the fast one: all titles padded, every slot encoded."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from recbole_tinynews.encoder.one_text import DENSE, LANGUAGE_MODEL, POOLING
from recbole_tinynews.model.recommender import NewsRecommender


def pool(kind: str, layer: nn.Module | None, states: Tensor, mask: Tensor) -> Tensor:
    """Pool one text or history after the other, over the tokens or clicks that count."""
    pooled = []
    for row, counted in zip(states, mask, strict=True):
        inputs = row[counted]
        if kind == "cls":
            pooled.append(row[0])
        elif kind == "mean":
            pooled.append(inputs.mean(0))
        else:
            energy = torch.tanh(inputs @ layer.projection.weight.T + layer.projection.bias)
            energy = energy @ layer.query.weight[0] + layer.query.bias
            weights = energy.exp() / energy.exp().sum()
            pooled.append((weights[:, None] * inputs).sum(0))
    return torch.stack(pooled)


class NaivePLMNR(nn.Module):
    """PLM-NR written directly after the paper, with the weights of a given model.

    Pad tokens of a text take no part in its attention, and in its pooling as the settings say.
    """

    def __init__(self, model: NewsRecommender, config, titles: list[str]) -> None:
        super().__init__()
        self.config = config
        tokenizer = AutoTokenizer.from_pretrained(config["plm"])
        self.titles = tokenizer(
            titles,
            padding="max_length",
            truncation=True,
            max_length=config["max_title_length"],
            return_tensors="pt",
        )
        self.plm = AutoModel.from_pretrained(
            config["plm"],
            num_hidden_layers=config["num_hidden_layers"],
            attn_implementation="eager",
        ).double()
        encoder = model.news_encoder.text_encoder
        for name, parameter in self.plm.named_parameters():
            parameter.requires_grad_(encoder.plm.get_parameter(name).requires_grad)
        self.news_pooling = copy.deepcopy(encoder.pooling)
        self.dense = copy.deepcopy(encoder.dense)
        self.user = copy.deepcopy(model.user_encoder)

    def encode_news(self, ids: Tensor) -> Tensor:
        flat = ids.flatten()
        titles = {key: values[(flat - 1).clamp(min=0)] for key, values in self.titles.items()}
        real = titles["attention_mask"].bool()
        states = self.plm(
            input_ids=titles["input_ids"], attention_mask=titles["attention_mask"]
        ).last_hidden_state
        counted = real if self.config["mask_padding_in_news_pooling"] else torch.ones_like(real)
        pooled = pool(self.config["news_pooling"], self.news_pooling, states, counted)
        return self.dense(pooled).view(*ids.shape, -1)

    def encode_user(self, history: Tensor, clicked: Tensor) -> Tensor:
        users = []
        for vectors, real in zip(history, clicked, strict=True):
            if self.config["history_padding"] == "learned":
                vectors = torch.stack(
                    [v if r else self.user.pad_doc for v, r in zip(vectors, real, strict=True)]
                )
            else:
                vectors = vectors[real]
            if not len(vectors):
                users.append(self.user.pad_doc)
                continue
            if self.user.self_attention is not None:
                vectors = self.user.self_attention(vectors, vectors, vectors)[0]
            every = torch.ones(1, len(vectors), dtype=torch.bool)
            users.append(pool("attention", self.user.pooling, vectors[None], every)[0])
        return torch.stack(users) + 0 * self.user.pad_doc  # a gradient of 0 where all have clicked

    def scores(self, history: Tensor, candidates: Tensor) -> Tensor:
        user = self.encode_user(self.encode_news(history), history != 0)
        return torch.einsum("bcd,bd->bc", self.encode_news(candidates), user)

    def loss(self, history: Tensor, candidates: Tensor) -> Tensor:
        scores = self.scores(history, candidates)
        return -(scores[:, 0] - scores.exp().sum(1).log()).mean()

    def named(self) -> dict[str, nn.Parameter]:
        """Parameters by the names that the fast model gives them."""
        homes = {
            LANGUAGE_MODEL: self.plm,
            POOLING: self.news_pooling,
            DENSE: self.dense,
            "user_encoder": self.user,
        }
        return {
            f"{home}.{name}": parameter
            for home, module in homes.items()
            if module is not None
            for name, parameter in module.named_parameters()
        }
