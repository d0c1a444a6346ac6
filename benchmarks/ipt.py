"""Do prompts made for each text beat one prompt for all, and do they come up to full fine-tuning?

    python -m benchmarks.ipt [--data NAME] [--few] [--main] [--quick] [--json FILE]

MiniLM (22.7 million parameters, frozen but for LoRA, BitFit and full fine-tuning), texts of at most 32 tokens, and the
same optimizer steps, batches and draws of texts for every method. Each method chooses among three learning rates on
a draw and on held-out texts of which nothing is reported; `--quick` takes the middle one. Two sets are real (sentiment
of tweets; which candidate tweeted), one is made up so that the label depends on the text's own key word. Differences
are in percentage points of accuracy, paired by seed, with Student's 95% interval: over draws of the texts that are
learned from alone. All draws are judged on the same 200 texts; what another choice of these would give is not in it.
16 texts of each class are learned from, and without `--few` 1,000 as well; with `--main` only by the methods that the
headline compares and a linear probe. Each row is told as it is measured.

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
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks._harness import Result, arguments, interval, publish
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


FULL = Scale(DATASETS, (16, 1000), [one.name for one in CONTENDERS], 5, 60, 16, 100, 200, True)
MAIN = ["linear probe", IPT, *RIVALS]
QUICK = Scale(("tweets", "keywords"), (16,), MAIN, 2, 16, 8, 0, 80, False)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", choices=DATASETS)
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--main", action="store_true")
    own, rest = parser.parse_known_args(argv)
    found = arguments(NAME, "Do prompts made for each text beat one prompt for all?", rest)
    scale = scale or (QUICK if found.quick else FULL)
    if own.data:
        scale = replace(scale, datasets=(own.data,))
    if own.few:
        scale = replace(scale, shots=scale.shots[:1])
    if own.main:
        scale = replace(scale, names=MAIN)
    torch.set_num_threads(1)
    options = (f" --data {own.data}" if own.data else "") + (" --few" if own.few else "")
    options += " --main" if own.main else ""
    result = Result(NAME, found.command + options)
    chosen = [one for one in CONTENDERS if one.name in scale.names]
    runs = Runs()
    shares = {one.name: _share(one, scale.batch) for one in chosen}
    pooled: dict[str, list[float]] = {headline: [] for headline in RIVALS.values()}
    for shots in scale.shots:
        for dataset in scale.datasets:
            setting = Setting(dataset, shots, scale.steps, scale.batch, scale.select, scale.test)
            scores = {one.name: _scores(runs, one, setting, scale, result, shares[one.name]) for one in chosen}
            differences = _differences(scores)
            result.headline |= _headline(differences, dataset, shots if shots != scale.shots[0] else None)
            if shots == scale.shots[0]:
                for name, values in differences.items():
                    pooled[name] += values
    result.headline |= {name: statistics.fmean(values) for name, values in pooled.items()}
    result.headline["ipt_tuned_share_percent"] = 100 * shares[IPT]
    for one in CONTENDERS:
        if one.name in COSTS:
            measured = cost(one, Setting(scale.datasets[0], 16, 1, scale.batch, 0, 4))
            result.headline |= {f"{COSTS[one.name]}_{figure}": value for figure, value in measured.items()}
    publish(result, found.json)


def _scores(runs: Runs, one: Contender, setting: Setting, scale: Scale, result: Result, share: float) -> list[float]:
    """Accuracy in percent for each seed; adds a row."""
    rate = runs.best_rate(one, setting) if scale.tuned else one.rates[1]
    scores = [100 * runs.run(one, rate, setting, seed) for seed in range(scale.seeds)]
    mean, low, high = interval(scores)
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
    return scores


def _differences(scores: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Headline -> IPT minus the rival, seed by seed."""
    return {
        headline: [ours - theirs for ours, theirs in zip(scores[IPT], scores[rival], strict=True)]
        for rival, headline in RIVALS.items()
    }


def _headline(differences: Mapping[str, Sequence[float]], dataset: str, shots: int | None) -> dict[str, float]:
    found: dict[str, float] = {}
    where = dataset if shots is None else f"{dataset}_{shots}_per_class"
    for name, values in differences.items():
        mean, low, high = interval(values)
        found |= {f"{name}_{where}": mean, f"{name}_{where}_low": low, f"{name}_{where}_high": high}
    return found


def _share(one: Contender, batch: int) -> float:
    """Tuned parameters by the model's, for the first data set's number of classes."""
    classes = len(load_texts(DATASETS[0]).classes)
    method = build(one.at(one.rates[1], batch), load_backbone("minilm"), classes, torch.Generator().manual_seed(0))
    return method.tuned_share


if __name__ == "__main__":
    main()
