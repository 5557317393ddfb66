"""RecBole's own entry points as docs/install.md starts them, with the extra ``recbole``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.whole,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason='needs ray: pip install -e ".[recbole]"',
    ),
]

SCRIPT = """
from recbole_tinynews.recbole_models.patches import allow_recbole_entry_points
allow_recbole_entry_points()
from recbole.quick_start import load_data_and_model, objective_function, run_recbole
from recbole.trainer import HyperTuning
from recbole.utils.case_study import full_sort_topk

few = {"epochs": 1, "train_batch_size": 8192, "show_progress": False, "use_gpu": False,
       "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "mode": "full"}}
result = run_recbole("BPR", "ml-100k", config_dict={**few, "checkpoint_dir": "saved"})
assert result["test_result"]["recall@10"] > 0

from pathlib import Path
config, model, dataset, _, _, test = load_data_and_model(str(next(Path("saved").glob("BPR-*"))))
users = dataset.token2id(dataset.uid_field, ["196", "186"])
print(full_sort_topk(users, model, test, k=3)[1].shape)

def objective(config_dict, config_file_list):
    given = {**few, "model": "BPR", "dataset": "ml-100k", **config_dict}
    return objective_function(given, None, False)

tuning = HyperTuning(objective, space=SPACE, algo="bayes", max_evals=1)
tuning.run()
assert tuning.best_params["embedding_size"] in (8, 16)
"""


def test_recboles_own_entry_points_run_beside_the_package(tmp_path: Path) -> None:
    """RecBole's pin of ray can't be met, and without any ray its quick_start does not import."""
    space = 'from hyperopt import hp\nSPACE = {"embedding_size": hp.choice("e", [8, 16])}\n'
    done = subprocess.run(
        [sys.executable, "-c", f"{space}{SCRIPT}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "[2, 3]" in done.stdout
