from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from tiny import HIDDEN, Tiny, write_roberta
from torch import Tensor
from transformers import AutoModelForMaskedLM

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.model.stages.masked_language_model import MaskedLanguageModel

PLM = "news_encoder.text_encoder.plm."


@pytest.fixture
def make(tiny: Tiny):
    return partial(tiny.stage, "PLMNRDAPT", "pretrain_teacher", MaskedLanguageModel)


@pytest.fixture(params=["bert", "roberta"])
def plm(request, tiny: Tiny, tmp_path: Path) -> Path:
    return tiny.plm if request.param == "bert" else write_roberta(tmp_path / "roberta")


def batch_of(config: Any, data: Any) -> Interaction:
    return data.loaders(config, None)[0].collate_fn(range(12))


def reference_of(model: MaskedLanguageModel, plm: Path) -> Any:
    """Transformers' own model of the same layers, with the same weights."""
    whole = AutoModelForMaskedLM.from_pretrained(
        plm, num_hidden_layers=2, attn_implementation="eager"
    )
    base = whole.base_model_prefix
    ours = {name.replace(PLM, f"{base}."): value for name, value in model.state_dict().items()}
    (head,) = (name for name, part in whole.named_children() if name != base)
    ours = {name.replace("head.", f"{head}.", 1): value for name, value in ours.items()}
    missing, _ = whole.load_state_dict(ours, strict=False)
    assert missing == []
    return whole.train()


def loss_of_reference(whole: Any, batch: Interaction, padding: int) -> Tensor:
    """The loss of padded texts, where the labels leave out tokens that were not chosen."""
    lengths = batch["lengths"].numpy()
    labels = torch.full_like(batch["tokens"], -100)
    labels[batch["places"]] = batch["truth"]
    rows = np.arange(len(lengths))
    seen, wanted = (
        torch.from_numpy(Ragged.from_lengths(values.numpy(), lengths).padded(rows, filler))
        for values, filler in ((batch["tokens"], padding), (labels, -100))
    )
    real = torch.arange(seen.shape[1]) < batch["lengths"][:, None]
    return whole(input_ids=seen, attention_mask=real.long(), labels=wanted).loss


@pytest.mark.parametrize("layers", [1, "all"])
def test_loss_and_gradients_are_those_of_transformers(make, plm: Path, layers) -> None:
    """Texts are packed and the head comes from another model: both could change the loss."""
    config, data, model = make(plm=str(plm), pretrain_teacher_finetune_layers=layers)
    model = model.train().double()
    batch = batch_of(config, data)
    whole = reference_of(model, plm).double()
    whole.eval()  # without dropout, as the settings of the tests have it
    (loss,) = model.calculate_loss(batch)
    expected = loss_of_reference(whole, batch, model.tokenizer.pad_token_id)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    loss.backward()
    expected.backward()
    compared = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        base = whole.base_model_prefix
        theirs = name.replace(PLM, f"{base}.")
        if name.startswith("head."):
            (head,) = (each for each, _ in whole.named_children() if each != base)
            theirs = name.replace("head", head, 1)
        gradient = whole.get_parameter(theirs).grad
        if name.endswith("self.key.bias"):  # held: a softmax is invariant to it
            assert parameter.grad is None
            assert gradient.abs().max() < 1e-12
            continue
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-7, atol=1e-9)
        compared += 1
    assert compared >= 15 + 5  # a layer, and the head


def test_the_head_is_the_language_models_own_where_it_has_one(
    make, tiny: Tiny, tmp_path: Path, caplog
) -> None:
    """bert-base-uncased has one; a random head would first damage what the layers know."""
    caplog.set_level("INFO")
    make()
    assert "no head for masked tokens" in caplog.text
    caplog.clear()
    torch.manual_seed(3)
    whole = AutoModelForMaskedLM.from_pretrained(tiny.plm)
    whole.cls.predictions.bias.data.normal_()
    whole.save_pretrained(tmp_path / "whole")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "whole" / file).write_bytes((tiny.plm / file).read_bytes())
    model = make(plm=str(tmp_path / "whole"))[2]
    for name, value in whole.cls.state_dict().items():
        assert torch.equal(model.head.state_dict()[name], value), name
    assert "no head for masked tokens" not in caplog.text


def test_a_random_heads_bias_starts_from_token_frequencies(make, plm: Path) -> None:
    """Otherwise the layers below would first learn word frequencies, the same for all texts."""
    _, data, model = make(plm=str(plm))
    (decoder,) = (
        part
        for part in model.head.modules()
        if isinstance(part, torch.nn.Linear) and part.out_features > HIDDEN
    )
    counts = np.ones(decoder.out_features)
    np.add.at(counts, data.tokens.values, 1)
    expected = torch.from_numpy(counts / counts.sum()).float()
    torch.testing.assert_close(decoder.bias.exp(), expected)
    assert expected.max() > 2 * expected.min()


def test_a_batch_without_hidden_tokens_has_a_loss_of_zero(make) -> None:
    """The mean over no token is NaN, which would end a training of days."""
    config, data, model = make()
    batch = batch_of(config, data)
    batch["places"], batch["truth"] = batch["places"][:0], batch["truth"][:0]
    (loss,) = model.calculate_loss(batch)
    loss.backward()
    assert loss == 0
