"""What ranks do in the tests of expert parallelism: each function runs in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from models.moe.errors import ExchangeError
from models.moe.exchange import Exchange
from models.moe.execution import sorted_experts
from models.moe.gates import Place, create
from models.moe.layer import Experts
from models.moe.link_model import LinkModel
from models.moe.parallel import ParallelExperts, calibrate, timed_exchange
from models.moe.pulse import Pulse

TIMEOUT = timedelta(seconds=60)
# Where a rank dies, the others wait for as long as this.
SHORT_TIMEOUT = timedelta(seconds=10)


class Ranks:
    """Starts a function on all ranks and gathers what they return; `what` is (rank, topology, pulse, *arguments)."""

    def __init__(self, what, topology, *arguments) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.models.moe.moe_ranks"])
        self.store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.queue = context.Queue()
        self.processes = [
            context.Process(target=_rank, args=(what, rank, topology, self.store.port, self.queue, arguments))
            for rank in range(topology.ranks)
        ]
        for process in self.processes:
            process.start()

    def results(self, expected=None):
        """rank -> result of as many ranks as expected (all, unless told)."""
        wanted = len(self.processes) if expected is None else expected
        found = dict(self.queue.get(timeout=240) for _ in range(wanted))
        for process in self.processes:
            if wanted < len(self.processes) and process.is_alive():
                process.kill()
            process.join()
        for rank, result in found.items():
            if isinstance(result, str) and result.startswith("Traceback"):
                raise AssertionError(f"rank {rank}: {result}")
        return found


def _rank(what, rank, topology, port, queue, arguments):
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=topology.ranks, timeout=TIMEOUT)
    try:
        with Pulse(dist.TCPStore("127.0.0.1", port, is_master=False), rank, topology.ranks) as pulse:
            queue.put((rank, what(rank, topology, pulse, *arguments)))
    except BaseException:
        queue.put((rank, traceback.format_exc()))
    queue.close()
    queue.join_thread()
    # Process groups of ranks that are gone do not end in order.
    os._exit(0)


def exchanged(rank, topology, pulse, way, seed):
    """Rows that say where they come from and where they go, over random uneven counts; and their gradient."""
    if way == "auto":
        way = calibrate(topology, timeout=TIMEOUT, pulse=pulse, sizes=(64, 4096))
    exchange = Exchange(topology, way=way, timeout=TIMEOUT, pulse=pulse)
    counts = torch.randint(0, 4, (topology.ranks, topology.ranks), generator=torch.Generator().manual_seed(seed))
    counts[0, :] = 0
    plan, told = exchange.plan(counts[rank], torch.full((topology.ranks, 1), 10 * rank))
    rows = [[float(rank), float(to), float(i)] for to in range(topology.ranks) for i in range(counts[rank, to])]
    tensor = torch.tensor(rows).view(-1, 3).requires_grad_()
    came = exchange.rows(tensor, plan)
    expected = [[float(of), float(rank), float(i)] for of in range(topology.ranks) for i in range(counts[of, rank])]
    (came * (1 + torch.arange(3))).sum().backward()
    gradient_right = torch.equal(tensor.grad, (1.0 + torch.arange(3)).expand(len(rows), 3))
    return came.tolist() == expected and told[:, 0].tolist() == [10 * r for r in range(topology.ranks)], gradient_right


def way_of_rows(rank, topology, pulse, seconds, size):
    """The way that rows go by a model with these seconds at 64 and 4,096 bytes."""
    model = LinkModel((64, 4096), seconds)
    _, went = timed_exchange(Exchange(topology, way=model, timeout=TIMEOUT, pulse=pulse), size)
    return went


def layer_of(topology, rank):
    """The gate, all experts, and tokens of all ranks: the same on each."""
    random = torch.Generator().manual_seed(3)
    gate = create("topk", Place(6, 8, random), {"k": 2})
    experts = Experts(8, 6, 10, "swiglu", random)
    tokens = torch.randn(topology.ranks, 9, 6, generator=random)
    return gate, experts, tokens


def equals_one_process(rank, topology, pulse, way):
    """Largest differences from what one process computes: outputs, input gradients, expert gradients."""
    gate, experts, tokens = layer_of(topology, rank)
    together = tokens.flatten(0, 1).requires_grad_()
    whole = sorted_experts(together, gate(together), experts.up, experts.down, "swiglu")
    whole.square().sum().backward()
    parallel = ParallelExperts(Exchange(topology, way=way, timeout=TIMEOUT, pulse=pulse), 8)
    mine = slice(rank * parallel.local, (rank + 1) * parallel.local)
    up, down = (w.detach()[mine].clone().requires_grad_() for w in (experts.up, experts.down))
    x = tokens[rank].clone().requires_grad_()
    y = parallel(x, gate(x), up, down, "swiglu")
    y.square().sum().backward()
    rows = slice(9 * rank, 9 * (rank + 1))
    pairs = [(y, whole[rows]), (x.grad, together.grad[rows])]
    pairs += [(up.grad, experts.up.grad[mine]), (down.grad, experts.down.grad[mine])]
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def trains(rank, topology, pulse, way, folder, steps, dies=None):
    """Train experts over ranks, saving after every step; `dies` is (rank, step, signal sent to itself).

    Resumes from the last step that all ranks saved. Gives this rank's weights, or the error's data.
    """
    gate, experts, tokens = layer_of(topology, rank)
    timeout = TIMEOUT if dies is None else SHORT_TIMEOUT
    parallel = ParallelExperts(Exchange(topology, way=way, timeout=timeout, pulse=pulse), 8)
    mine = slice(rank * parallel.local, (rank + 1) * parallel.local)
    up, down = (w.detach()[mine].clone().requires_grad_() for w in (experts.up, experts.down))
    done = min(max([0, *(int(p.stem) for p in Path(folder, str(r)).glob("*"))]) for r in range(topology.ranks))
    own = Path(folder, str(rank))
    own.mkdir(exist_ok=True)
    if done:
        saved = torch.load(own / f"{done}.pt", weights_only=True)
        with torch.no_grad():
            up.copy_(saved["up"])
            down.copy_(saved["down"])
    dist.barrier()
    for step in range(done + 1, steps + 1):
        parallel._exchange.step = step
        if dies is not None and dies[:2] == (rank, step):
            os.kill(os.getpid(), dies[2])
        try:
            y = parallel(tokens[rank], gate(tokens[rank]), up, down, "swiglu")
            grads = torch.autograd.grad((y - 1).square().sum(), (up, down))
        except ExchangeError as error:
            return {"message": str(error), "step": error.step, "missing": error.missing}
        with torch.no_grad():
            for weight, grad in zip((up, down), grads, strict=True):
                weight -= 0.01 * grad
        torch.save({"up": up.detach(), "down": down.detach()}, own / f"{step}.pt")
    return up.tolist()


KILL, STOP = signal.SIGKILL, signal.SIGSTOP
