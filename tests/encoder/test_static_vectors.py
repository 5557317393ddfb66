"""A student without layers: its tokens' vectors are the language model's outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import WORDS
from transformers import AutoModel

from recbole_tinynews.encoder.packing import PackedTexts, packs
from recbole_tinynews.encoder.plm_files import bare_plm, load_plm, load_tokenizer
from recbole_tinynews.encoder.static_model import StaticModel
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.trimming import A, write_static_plm


@pytest.fixture(scope="module")
def articles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 400, 5 + len(WORDS))


@pytest.fixture(scope="module")
def static(roberta_folder: Path, articles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("static") / "plm"
    write_static_plm(str(roberta_folder), articles, folder)
    return folder


def test_a_token_is_its_output_centred_and_weighted_by_its_frequency(
    static: Path, roberta_folder: Path, articles: np.ndarray
) -> None:
    """By transformers alone, word by word; frequent tokens would drown the others."""
    plm, tokenizer = AutoModel.from_pretrained(roberta_folder).eval(), load_tokenizer(str(static))
    share = articles / articles.sum()
    with torch.no_grad():
        each = [
            plm(torch.tensor([[tokenizer.cls_token_id, token, tokenizer.sep_token_id]]))[0]
            for token in range(len(articles))
        ]
        outputs = torch.cat(each)[:, 1].double().numpy()
        text = tokenizer("word3 word7 word3", return_tensors="pt", return_token_type_ids=False)
        states = AutoModel.from_pretrained(static).eval()(**text)[0][0].numpy()
    weighted = (outputs - share @ outputs) * (A / (A + share))[:, None]
    expected = weighted - weighted.mean(axis=1, keepdims=True)
    expected[tokenizer.all_special_ids] = 0
    np.testing.assert_allclose(states, expected[text["input_ids"][0]], atol=1e-5)


def test_the_model_that_is_served_is_that_of_transformers_bit_for_bit(static: Path) -> None:
    """It is built without transformers' models, whose import takes longer than ranking."""
    theirs, served = AutoModel.from_pretrained(static).eval(), bare_plm(str(static))
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight)
    served.load_state_dict(theirs.state_dict())
    ids = torch.randint(5 + len(WORDS), (3, 7))
    given = ids, torch.zeros_like(ids), torch.arange(7).expand(3, -1)
    of_embeddings = dict(zip(("input_ids", "token_type_ids", "position_ids"), given, strict=True))
    assert type(served) is StaticModel
    padding = served.get_input_embeddings().padding_idx  # which updates leave alone
    assert padding == theirs.get_input_embeddings().padding_idx is not None
    assert torch.equal(served.embeddings(**of_embeddings), theirs.embeddings(**of_embeddings))
    assert torch.equal(served.embeddings(**of_embeddings), theirs(**of_embeddings)[0])


@pytest.mark.parametrize(("finetune_layers", "trains"), [(2, True), ("all", True), (0, False)])
def test_without_layers_the_vectors_of_tokens_train_alone(
    static: Path, finetune_layers, trains: bool
) -> None:
    """Frozen, a student learns nothing; positions that train make it more than a bag of tokens."""
    encoder = TextEncoder(load_plm(str(static), 0), 16, 8, finetune_layers=finetune_layers)
    learning = {n for n, p in encoder.plm.named_parameters() if p.requires_grad}
    assert learning == ({"embeddings.word_embeddings.weight"} if trains else set())


@pytest.mark.parametrize("pooling", ["attention", "mean"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("positions", [0.0, 0.5], ids=["static", "with positions"])
def test_a_bag_of_tokens_is_the_pooled_states_of_its_tokens(
    static: Path, pooling: str, padded: bool, positions: float
) -> None:
    """The fast path of a service must rank as training and evaluation do."""
    torch.manual_seed(0)
    encoder = TextEncoder(
        load_plm(str(static), 0), 16, 8, pooling=pooling, mask_padding=not padded
    ).eval()
    torch.nn.init.normal_(encoder.plm.embeddings.position_embeddings.weight, std=positions)
    lengths = np.array([3, 7, 1, 7, 4])
    (pack,) = packs(lengths, 99)
    ids = torch.randint(5, 5 + len(WORDS), (22,))
    real = None
    if padded:
        real = torch.arange(22) % 5 > 0
        ids[~real] = encoder.pad_token_id
    texts = PackedTexts.of(pack, ids, real)
    plain = encoder.encode(texts)
    with torch.no_grad():
        fast = encoder.encode(texts)
        torch.testing.assert_close(fast.pooled, plain.pooled)
        encoder.word_embeddings.mul_(2.0)
        assert not torch.allclose(encoder.encode(texts).pooled, fast.pooled)
