"""Is OnlineTune faster than what stands, and never slower? All methods under the same changing load.

    python -m benchmarks.onlinetune --simulated [--quick] [--json FILE] [--sessions N] [--ablated N] [--processes N]
    python -m benchmarks.onlinetune --server postgresql|mariadb [--quick] [--json FILE] [--seed N] [--methods NAME,NAME]

`--simulated` runs seeded sessions on databases whose truth is known (`optimizers.onlinetune.simulated`), of families
on which no default was chosen. All methods get the same servers, seeds, memory guard and rules; only OnlineTune and
`rules` heed the rules, and only OnlineTune ends intervals early. `--server` runs a real server under a real load: see
`benchmarks._onlinetune_live`. `--methods` runs some of the methods only, beside OnlineTune and the default.

gain            work done in the whole session against the work that the reference settings would have done, the
                intervals of learning and the seconds before a roll-back counted; mean over sessions
unsafe share    intervals whose settings were truly more than the margin (5%) below the reference in that interval
below share     the same, more than 0.5% below
optimum         the gain of who always ran the best settings there are
worst interval  least work of any interval of any session, against the reference's
best baseline   the one with the largest mean gain in this very run, which favours it

`regret_vs_safe_optimum` is optimum less gain. `seconds_per_recommendation` is the 95th percentile over decisions on a
server with 40 knobs after 1,000 intervals (300 with `--quick`). More `--processes` change decision times only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from benchmarks import _onlinetune_simulated as simulated
from benchmarks._harness import Result, arguments, count, publish
from optimizers.onlinetune.baselines import BASELINES

NAME = "onlinetune"


def main(argv: Sequence[str] | None = None, scale: simulated.Scale | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--simulated", action="store_true")
    where.add_argument("--server", choices=["postgresql", "mariadb"])
    parser.add_argument("--sessions", type=count)
    parser.add_argument("--ablated", type=count)
    parser.add_argument("--processes", type=count, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", type=_methods, default=[])
    own, rest = parser.parse_known_args(argv)
    found = arguments(NAME, "Is OnlineTune faster than what stands, and never slower?", rest)
    if own.server is not None:
        # It starts servers, and needs what these need.
        from benchmarks import _onlinetune_live as live

        options = f" --server {own.server}" + (f" --seed {own.seed}" if own.seed else "")
        options += f" --methods {','.join(own.methods)}" if own.methods else ""
        headline, rows = live.run(own.server, found.quick, own.seed, own.methods)
    else:
        scale = replace(scale or (simulated.QUICK if found.quick else simulated.FULL), processes=own.processes)
        sessions = own.sessions or scale.sessions
        scale = replace(scale, sessions=sessions, ablated=min(own.ablated or scale.ablated, sessions))
        asked = {"--sessions": own.sessions, "--ablated": own.ablated}
        options = " --simulated" + "".join(f" {name} {n}" for name, n in asked.items() if n is not None)
        headline, rows = simulated.run(scale)
    publish(Result(NAME, found.command + options, headline, rows), found.json)


def _methods(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in BASELINES]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(BASELINES)}")
    return names


if __name__ == "__main__":
    main()
