"""The logit of content, against features counted one by one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from tiny import Tiny

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE


@torch.no_grad()
def test_scores_are_those_of_features_counted_one_by_one(tiny: Tiny) -> None:
    """A share over slots instead of clicks, or an unknown category that matches, would rank too."""
    world = tiny.world("CategoryAndTitle")
    model = world.model.eval()
    batch = world.shown([*range(14)])
    ends = np.concatenate([[0], batch[IMPRESSION_SIZE].cumsum(0).numpy()])
    plain = []
    for row, (a, b) in enumerate(pairwise(ends)):
        clicks = [int(news) for news in batch[HISTORY][row] if news]
        for candidate in batch[CANDIDATES][a:b].tolist():
            found = [0.0] * 4
            if clicks:
                for place, field in enumerate(("category", "subcategory")):
                    codes = world.train.item_feat[field]
                    same = [codes[each] == codes[candidate] != 0 for each in clicks]
                    found[place] = sum(map(bool, same)) / len(clicks)
                vectors = model.encode_news(torch.tensor([candidate, *clicks]))
                cosines = vectors[1:] @ vectors[0]
                found[2:] = [float(cosines.mean()), float(cosines.max())]
            plain.append(found)
    expected = (torch.tensor(plain) - model.content_mean) / model.content_scale
    torch.testing.assert_close(model.features(batch), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.predict(batch), expected @ model.weights, rtol=1e-4, atol=1e-4)
    assert (model.weights != 0).any()


def test_a_term_of_time_is_refused_with_the_model_that_has_both(tiny: Tiny) -> None:
    """It would be left out without a word."""
    config = tiny.config("CategoryAndTitle", popularity="added", head_init="pretrained")
    (mistake,) = config.model_class.conflicting_settings(config, "")
    assert "popularity expects none in CategoryAndTitle, got added" in mistake
