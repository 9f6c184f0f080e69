"""Several processes that train one network: who they are, what they agree on, and how they are started.

Each has the whole network and its share of every batch; gradients are averaged by torch's DistributedDataParallel, over
gloo between processors and NCCL between GPUs. What is agreed besides (when to stop, when to write, figures of an epoch)
goes over gloo in the processors' memory, so that no GPU waits for it.
"""

import os
import secrets
import socket
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # not named in torch's list of exports
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from skipway.errors import SkipwayError
from skipway.hardware import Hardware

PATIENCE = 600  # seconds until the last process of a group has begun


@dataclass(frozen=True)
class Group:
    """The processes of a run as one of them sees it. All methods but those of one alone must be called by each.

    `rank` of `world`; `local`: the place among those of the same machine; `restarts`: how often torchrun had to start
    the group again, and `most` how often it may.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    restarts: int = 0
    most: int = 0

    def agree(self, *wishes: bool) -> list[bool]:
        """For each wish, whether any process has it."""
        if self.world == 1:
            return list(wishes)
        flags = torch.tensor(wishes, dtype=torch.uint8)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return [bool(flag) for flag in flags.tolist()]

    def summed(self, values: Tensor) -> Tensor:
        """The sum over the processes, on the CPU."""
        if self.world == 1:
            return values
        values = values.detach().cpu().clone()
        dist.all_reduce(values)
        return values

    def mean(self, values: list[float]) -> list[float]:
        """The mean over the processes of each value."""
        if self.world == 1:
            return values
        return (self.summed(torch.tensor(values, dtype=torch.float64)) / self.world).tolist()

    def told(self, text: str) -> str:
        """What the first process says, to all."""
        if self.world == 1:
            return text
        content = torch.tensor(list(text.encode()) if self.rank == 0 else [], dtype=torch.uint8)
        length = torch.tensor(len(content))
        dist.broadcast(length, 0)
        content = content if self.rank == 0 else torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0)
        return bytes(content.tolist()).decode()

    def spread(self, tensors: Iterator[Tensor]) -> None:
        """Overwrite `tensors` by those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """A machine's first process goes before its others, so that what it leaves in a cache is there for them."""
        if self.world > 1 and self.local:
            dist.barrier()
        yield
        if self.world > 1 and not self.local:
            dist.barrier()


ALONE = Group()  # the one process of most runs


def met(store: Store, rank: int, world: int) -> Store:
    """A part of `store` that only the `world` processes which are here now know of. Raises TimeoutError.

    torchrun has one store for all starts of a group (torch 2.15). A process that finds there where its peer of an
    earlier start listened connects to nobody, and waits. So each leaves a word of its own, the first process answers
    it with the name of the part until the other has confirmed, and what is left from earlier answers no new word.
    """
    own, deadline = secrets.token_hex(8), time.monotonic() + PATIENCE
    missing = set(range(1, world)) if rank == 0 else {rank}
    if rank:
        store.set(f"skipway/{rank}/word", own)
    while missing:
        for i in sorted(missing):
            word, answer, sure = (said(store, f"skipway/{i}/{what}") for what in ("word", "answer", "sure"))
            if rank == 0 and sure == own:
                missing.discard(i)
            elif rank == 0 and word:
                store.set(f"skipway/{i}/answer", f"{word} {own}")
            elif rank and answer.startswith(f"{own} "):
                own = answer.split()[1]
                store.set(f"skipway/{i}/sure", own)
                missing.discard(i)
        if time.monotonic() > deadline:
            raise TimeoutError(f"of {world} processes some did not begin within {PATIENCE} s")
        time.sleep(0.02)
    return PrefixStore(own, store)


def said(store: Store, key: str) -> str:
    """What is under `key`; empty for nothing yet."""
    return store.get(key).decode() if store.check([key]) else ""


@contextmanager
def joined(hardware: Hardware) -> Iterator[tuple[Group, Hardware]]:
    """The group that torchrun's environment describes, or this process alone, and the hardware of this process in it.

    Raises SkipwayError where there are fewer GPUs than processes, or the others cannot be reached.
    """
    if dist.is_initialized() or "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE, hardware
        return
    rank, world, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    restarts, most = (int(os.environ.get(f"TORCHELASTIC_{name}", "0")) for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    own = own_device(hardware, local)
    backends = "cpu:gloo,cuda:nccl" if own.device.type == "cuda" else "gloo"
    try:
        store, _, _ = next(rendezvous("env://"))
        dist.init_process_group(backends, store=met(store, rank, world), rank=rank, world_size=world)
    except (dist.DistError, ValueError, RuntimeError, TimeoutError) as fault:
        why = str(fault).splitlines()[0]
        raise SkipwayError(f"the other processes cannot be reached ({why}): start all of them with torchrun") from None
    try:
        yield Group(rank, world, local, restarts, most), own
    finally:
        dist.destroy_process_group()


def own_device(hardware: Hardware, local: int) -> Hardware:
    """`hardware` with the GPU of the process `local` of this machine. Raises SkipwayError where there is none."""
    if hardware.device.type != "cuda":
        return hardware
    if local >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SkipwayError(f"process {local + 1} of this machine has no GPU, there are {count}: start no more")
    torch.cuda.set_device(local)
    return replace(hardware, device=torch.device("cuda", local))


def shared(net: nn.Module, hardware: Hardware, group: Group) -> nn.Module:
    """`net`, whose gradients are averaged over the group's processes.

    To be made anew when other parameters learn. Running statistics are not exchanged: those of the first process count.
    """
    if group.world == 1 or not any(p.requires_grad for p in net.parameters()):
        return net
    devices = [hardware.device.index] if hardware.device.type == "cuda" else None
    with warnings.catch_warnings():  # torch 2.15 renames the option, which 2.11 does not know
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(net, devices, broadcast_buffers=False)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def launch(processes: int, arguments: Sequence[str], restarts: int = 3) -> int:
    """Run `python -m skipway` with `arguments` as so many processes of this machine; returns the exit code.

    A process that dies has all of them started again from the last checkpoint, up to `restarts` times. Threads are
    shared out among them unless OMP_NUM_THREADS is set.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        run_id=str(free_port()),
        max_restarts=restarts,
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "skipway", *arguments)
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except ChildFailedError as failed:
        code = failed.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    return 0
