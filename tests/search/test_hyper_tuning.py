"""RecBole's own search, as its documentation shows it, on models of impressions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny import DATASET, Tiny

from recbole_tinynews.search.hyper_tuning import HyperTuning, objective_function

pytest.importorskip("hyperopt", reason="the extra search is not installed: hyperopt")
pytest.importorskip("plotly", reason="the extra search is not installed: plotly")


@pytest.mark.whole
def test_recboles_hyper_tuning_tries_every_choice_and_writes_its_files(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Its own objective function imports ray, builds another data set and unpickles weights."""
    named = {"model": "PLMNR", "dataset": DATASET, "checkpoint_dir": str(tmp_path / "saved")}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**tiny.settings("PLMNR"), **named}))
    (tmp_path / "model.hyper").write_text(
        "negatives choice [2,3]\nnews_pooling choice ['mean','cls']\n"
    )
    tuning = HyperTuning(
        objective_function=objective_function,
        algo="exhaustive",
        params_file=str(tmp_path / "model.hyper"),
        fixed_config_file_list=[str(tmp_path / "base.yaml")],
        display_file=str(tmp_path / "tuning.html"),
    )
    tuning.run()
    tuning.export_result(output_file=str(tmp_path / "tuning.txt"))
    assert len(tuning.params2result) == 4
    best = tuning.params2result[tuning.params2str(tuning.best_params)]
    assert best["best_valid_score"] == max(tuning.score_list)
    assert (tmp_path / "tuning.txt").read_text().count("Test result:") == 4
    assert "PLMNR tuning process" in (tmp_path / "tuning.html").read_text()
