"""Click-through models as a workload; the fidelity is chunks of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.recsys.ctr.space import ctr_space
from models.training import train
from tunewright.space import Config
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload


class CtrWorkload(Workload):
    """Learns who clicks what. Its space covers embeddings, interactions, network design, and loss and sampling.

    The one objective is the validation AUC: recommenders rank. A study that cares for size or speed names more:
    `parameters` and `latency_ms` (to score 256 rows) are reported too, as goals or, with a bound, as constraints;
    so is `log_loss`, for those who need probabilities.

    The space is for the fields of MovieLens-100k, which a generated table shares. For another table a study brings
    `models.recsys.ctr.space.ctr_space(fields)`; any part of that space will do, with the other parameters fixed.
    """

    name = "recsys.ctr"
    description = (
        "Click-through model on categorical fields, assembled from embedding widths, field interactions, up to five "
        "blocks and a choice of losses. The objective is the validation AUC; log-loss, number of parameters and "
        "latency are reported beside it."
    )
    space = ctr_space()
    space_follows_data = True
    objectives = (Objective(metric="auc", direction="maximize"),)
    fidelity = Fidelity(name="chunks", unit="chunks of rows", min=1, max=27)
    data_options = {
        "dataset": "movielens-100k (default), generated, criteo, avazu, or table (your own CSV or Parquet file)",
        "path": "the file, for criteo, avazu and table",
        "rows": "at most so many rows, the earliest; for generated, how many (default 50,000)",
        "seed": "of generated, a whole number (default 0)",
        "chunk_rows": "rows that one unit of the fidelity learns from (default 16,384)",
        "pairs": 'the pairs of fields that may meet, best first, such as ["user*item"] (default: ranked by the data)',
        "threads": "processor threads that one trial uses, a whole number (default 1)",
    }

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` chunks; reports `auc`, `log_loss`, `parameters`, `latency_ms` and `train_seconds`.

        Raises:
            WorkloadError: a data option is wrong, or the configuration does not fit the table.
        """
        from models.recsys.ctr.learner import CtrLearner
        from models.recsys.ctr.options import read_options

        options = read_options(data)
        learner = CtrLearner(
            config,
            options.table,
            seed=leg.seed,
            threads=options.threads,
            chunk_rows=options.chunk_rows,
            pairs=options.pairs,
        )
        train(learner, leg, checkpoint=checkpoint, report=report)
