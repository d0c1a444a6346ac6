"""The field's known models as parts of the search space: each fixes what makes it, and leaves the rest to be tuned.

All keep one width for all fields, cross-entropy, every negative and every category; their width, optimizer, rate,
decay, initial scale, batch size, depth, sizes, activation, normalisation and dropout are free.
"""

from __future__ import annotations

from collections.abc import Mapping

from tunewright.space import Config

_PLAIN: Config = {"widths": "shared", "loss": "bce", "negatives_kept": 1.0, "hash_share": 1.0}
_NO_PAIRS: Config = {"pairs": "none"}
_FM: Config = {"pairs": "all", "pair_function": "inner", "pair_output": "logit"}
_MLP_BESIDE: Config = {"blocks": 2, "kind_2": "mlp", "from_2": "embeddings"}

BASELINES: Mapping[str, Config] = {
    # No embeddings: their width means nothing.
    "lr": {**_PLAIN, **_NO_PAIRS, "width": 2, "init": 0.03, "linear": True, "blocks": 0},
    # Rendle 2010.
    "fm": {**_PLAIN, **_FM, "linear": True, "blocks": 0},
    # Pan et al. 2018.
    "fwfm": {**_PLAIN, **_FM, "pair_function": "fwfm", "linear": True, "blocks": 0},
    # Guo et al. 2017.
    "deepfm": {**_PLAIN, **_FM, "linear": True, "blocks": 1, "kind_1": "mlp"},
    # Wang et al. 2021; stacked or parallel is left to be tuned.
    "dcn_v2": {**_PLAIN, **_NO_PAIRS, "linear": False, "blocks": 2, "kind_1": "cross", "kind_2": "mlp"},
    # Song et al. 2019, with the network beside it that they call AutoInt+.
    "autoint": {**_PLAIN, **_NO_PAIRS, **_MLP_BESIDE, "linear": True, "kind_1": "attention"},
    # Lian et al. 2018.
    "xdeepfm": {**_PLAIN, **_NO_PAIRS, **_MLP_BESIDE, "linear": True, "kind_1": "cin"},
}
