"""Do prompts made for each text beat one prompt for all, and do they come up to full fine-tuning?

    python -m benchmarks.ipt [--data NAME] [--few] [--main] [--seeds N] [--quick] [--json FILE]

MiniLM (22.7 million parameters, frozen but for LoRA, BitFit and full fine-tuning), texts of at most 32 tokens, and the
same optimizer steps, batches and draws of texts for every method. Each method chooses among three learning rates on
a draw and on held-out texts of which nothing is reported; `--quick` takes the middle one. Two sets are real (sentiment
of tweets; which candidate tweeted), one is made up so that the label depends on the text's own key word. Differences
are in percentage points of accuracy, paired by seed and by text, on up to 2,000 held-out texts of each set, none of
which IPT's default was chosen by. Their 95% intervals count both what another draw of the texts that are learned from
would change and what another choice of those judged on would. 16 texts of each class are learned from, and without
`--few` 1,000 as well; with `--main` only by the methods that the headline compares and a linear probe. Draws are five
unless `--seeds` says otherwise. Each row is told as it is measured.

ipt_minus_prompt_tuning_points, ipt_minus_full_finetune_points
    mean over seeds and data sets of IPT (made from the second layer, for those above) minus the other; few texts each
ipt_minus_p_tuning_v2_points
    the same against a task prompt that enters every layer too
..._points_DATASET, and _low, _high
    one data set's mean and its interval
ipt_tuned_share_percent
    tuned parameters by all parameters of the model
..._step_seconds, ..._memory_mb
    median processor time of an optimizer step; highest memory beyond the loaded model, each in a process of its own
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from benchmarks._harness import Result, arguments, count, publish
from benchmarks._ipt_runs import CONTENDERS, Contender, Runs, Setting, cost
from models.data.text import load_texts
from models.ipt.backbone import load_backbone
from models.ipt.methods import build

NAME = "ipt"
IPT = "IPT late"
RIVALS = {
    "prompt tuning": "ipt_minus_prompt_tuning_points",
    "P-tuning v2": "ipt_minus_p_tuning_v2_points",
    "full fine-tuning": "ipt_minus_full_finetune_points",
}
COSTS = {IPT: "ipt", "LoRA": "lora", "full fine-tuning": "full_finetune"}
DATASETS = ("tweets", "candidates", "keywords")


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        shots: texts of each class; the first is the headline's.
        names: contenders.
        tuned: whether learning rates are chosen.
    """

    datasets: Sequence[str]
    shots: Sequence[int]
    names: Sequence[str]
    seeds: int
    steps: int
    batch: int
    select: int
    test: int
    tuned: bool


FULL = Scale(DATASETS, (16, 1000), [one.name for one in CONTENDERS], 5, 60, 16, 100, 2_000, True)
MAIN = ["linear probe", IPT, *RIVALS]
QUICK = Scale(("tweets", "keywords"), (16,), MAIN, 2, 16, 8, 0, 80, False)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", choices=DATASETS)
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--main", action="store_true")
    parser.add_argument("--seeds", type=count)
    own, rest = parser.parse_known_args(argv)
    found = arguments(NAME, "Do prompts made for each text beat one prompt for all?", rest)
    scale = scale or (QUICK if found.quick else FULL)
    if own.data:
        scale = replace(scale, datasets=(own.data,))
    if own.few:
        scale = replace(scale, shots=scale.shots[:1])
    if own.main:
        scale = replace(scale, names=MAIN)
    if own.seeds:
        scale = replace(scale, seeds=own.seeds)
    torch.set_num_threads(1)
    options = (f" --data {own.data}" if own.data else "") + (" --few" if own.few else "")
    options += (" --main" if own.main else "") + (f" --seeds {own.seeds}" if own.seeds else "")
    result = Result(NAME, found.command + options)
    chosen = [one for one in CONTENDERS if one.name in scale.names]
    runs = Runs()
    shares = {one.name: _share(one, scale.batch) for one in chosen}
    pooled: dict[str, list[float]] = {headline: [] for headline in RIVALS.values()}
    for shots in scale.shots:
        for dataset in scale.datasets:
            setting = Setting(dataset, shots, scale.steps, scale.batch, scale.select, scale.test)
            right = {one.name: _right(runs, one, setting, scale, result, shares[one.name]) for one in chosen}
            differences = _differences(right)
            result.headline |= _headline(differences, dataset, shots if shots != scale.shots[0] else None)
            if shots == scale.shots[0]:
                for name, values in differences.items():
                    pooled[name] += values.mean(axis=1).tolist()
    result.headline |= {name: statistics.fmean(values) for name, values in pooled.items()}
    result.headline["ipt_tuned_share_percent"] = 100 * shares[IPT]
    for one in CONTENDERS:
        if one.name in COSTS:
            measured = cost(one, Setting(scale.datasets[0], 16, 1, scale.batch, 0, 4))
            result.headline |= {f"{COSTS[one.name]}_{figure}": value for figure, value in measured.items()}
    publish(result, found.json)


def _right(
    runs: Runs, one: Contender, setting: Setting, scale: Scale, result: Result, share: float
) -> NDArray[np.float64]:
    """(seeds, texts) 100 where a text is labelled rightly, else 0; adds a row."""
    rate = runs.best_rate(one, setting) if scale.tuned else one.rates[1]
    right = 100.0 * np.array([runs.right(one, rate, setting, seed) for seed in range(scale.seeds)])
    mean, low, high = _both_ways(right)
    result.keep(
        {
            "data set": setting.dataset,
            "per class": setting.shots,
            "method": one.name,
            "accuracy %": mean,
            "low": low,
            "high": high,
            "learning rate": rate,
            "tuned %": 100 * share,
        }
    )
    return right


def _differences(right: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Headline -> (seeds, texts) points of IPT minus the rival's."""
    return {headline: right[IPT] - right[rival] for rival, headline in RIVALS.items()}


def _both_ways(points: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean of (seeds, texts) and its 95% interval; the ends are the mean for a single seed.

    Variances of the seeds' means and of the texts' means are added, which counts twice what a seed does to a text: the
    interval is a little too wide rather than too narrow. Student's t has the seeds' degrees of freedom, the fewer.
    """
    mean, (seeds, texts) = float(points.mean()), points.shape
    if min(seeds, texts) < 2:
        return mean, mean, mean
    variance = points.mean(axis=1).var(ddof=1) / seeds + points.mean(axis=0).var(ddof=1) / texts
    half = float(stats.t.ppf(0.975, seeds - 1)) * math.sqrt(variance)
    return mean, mean - half, mean + half


def _headline(differences: Mapping[str, NDArray[np.float64]], dataset: str, shots: int | None) -> dict[str, float]:
    found: dict[str, float] = {}
    where = dataset if shots is None else f"{dataset}_{shots}_per_class"
    for name, values in differences.items():
        mean, low, high = _both_ways(values)
        found |= {f"{name}_{where}": mean, f"{name}_{where}_low": low, f"{name}_{where}_high": high}
    return found


def _share(one: Contender, batch: int) -> float:
    """Tuned parameters by the model's, for the first data set's number of classes."""
    classes = len(load_texts(DATASETS[0]).classes)
    method = build(one.at(one.rates[1], batch), load_backbone("minilm"), classes, torch.Generator().manual_seed(0))
    return method.tuned_share


if __name__ == "__main__":
    main()
