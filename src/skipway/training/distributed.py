"""Data-parallel training in several processes: process group, communication and launching.

Each process has the whole network and its share of every batch; gradients are averaged by torch's
DistributedDataParallel, over gloo between CPUs and NCCL between GPUs. Everything else (when to stop, when to write,
figures of an epoch) is exchanged over gloo in CPU memory, so that no GPU waits for it.
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
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # not named in torch's list of exports
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from skipway.errors import SkipwayError
from skipway.hardware import Hardware, available_cores
from skipway.training.lost_processes import (
    REMIND,
    entry,
    group_timeout,
    name_lost_processes,
    print_line,
    ranks_text,
)

T = TypeVar("T")
START_TIMEOUT = 600  # seconds until the last process of a group has started


@dataclass(frozen=True)
class Group:
    """The process group of a run, as one of its processes uses it. All methods are collective: each process must call
    them.

    `rank` of `world`; `local`: the rank on this machine; `restarts`: how often the group was started before, in all
    processes equal; `most`: how often torchrun may restart it after a failure.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    restarts: int = 0
    most: int = 0

    def any_rank(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.world == 1:
            return list(flags)
        reduced = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(reduced, dist.ReduceOp.MAX)
        return [bool(flag) for flag in reduced.tolist()]

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over the processes, on the CPU."""
        if self.world == 1:
            return values
        values = values.detach().cpu().clone()
        dist.all_reduce(values)
        return values

    def mean(self, values: list[float]) -> list[float]:
        """The mean of each value over the processes."""
        if self.world == 1:
            return values
        return (self.all_reduce(torch.tensor(values, dtype=torch.float64)) / self.world).tolist()

    def gather(self, value: T) -> list[T]:
        """The value of every process, this one's first, then by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return [found.pop(self.rank), *found]

    def broadcast(self, text: str) -> str:
        """The text of the first process, in all processes."""
        if self.world == 1:
            return text
        content = torch.tensor(list(text.encode()) if self.rank == 0 else [], dtype=torch.uint8)
        length = torch.tensor(len(content))
        dist.broadcast(length, 0)
        content = content if self.rank == 0 else torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0)
        return bytes(content.tolist()).decode()

    def broadcast_tensors(self, tensors: Iterator[Tensor]) -> None:
        """Overwrite `tensors` with those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """A machine's first process runs the context before its others, which then find its downloads in the cache."""
        if self.world > 1 and self.local:
            dist.barrier()
        yield
        if self.world > 1 and not self.local:
            dist.barrier()


SINGLE_PROCESS = Group()  # the one process of most runs


def sub_store(store: Store, rank: int, world: int) -> Store:
    """A part of `store` that only the `world` processes of this start use. Raises TimeoutError.

    torchrun has one store for all starts of a group (torch 2.15). A process that finds in it the address of a peer of
    an earlier start connects to nobody, and waits. So each process writes a random token, the first process replies to
    it with the name of the part until the other has confirmed, and entries of earlier starts match no new token.
    """
    own, start = secrets.token_hex(8), time.monotonic()
    reminded = start
    missing = set(range(1, world)) if rank == 0 else {rank}
    if rank:
        store.set(f"skipway/{rank}/token", own)
    while missing:
        for i in sorted(missing):
            token, reply, confirmed = (entry(store, f"skipway/{i}/{key}") for key in ("token", "reply", "confirmed"))
            if rank == 0 and confirmed == own:
                missing.discard(i)
            elif rank == 0 and token:
                store.set(f"skipway/{i}/reply", f"{token} {own}")
            elif rank and reply.startswith(f"{own} "):
                own = reply.split()[1]
                store.set(f"skipway/{i}/confirmed", own)
                missing.discard(i)
        now = time.monotonic()
        if now - start > START_TIMEOUT:
            raise TimeoutError(f"some of {world} processes did not start within {START_TIMEOUT} s")
        if now - reminded > REMIND:
            reminded = now
            whom = ranks_text(missing, world) if rank == 0 else f"the first of {world} processes"
            print_line(f"waiting for {whom} to start; giving up in {START_TIMEOUT - now + start:.0f} s")
        time.sleep(0.02)
    return PrefixStore(own, store)


@contextmanager
def init_distributed(hardware: Hardware) -> Iterator[tuple[Group, Hardware]]:
    """The group that torchrun's environment describes, or this process alone, and the hardware of this process in it.

    Raises SkipwayError where there are fewer GPUs than processes, or the others cannot be reached.
    """
    if dist.is_initialized() or "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield SINGLE_PROCESS, hardware
        return
    rank, world, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    counted, most = (int(os.environ.get(f"TORCHELASTIC_{name}", "0")) for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    own = local_device(hardware, local)
    backends = "cpu:gloo,cuda:nccl" if own.device.type == "cuda" else "gloo"
    try:
        every, _, _ = next(rendezvous("env://"))
        store, timeout = sub_store(every, rank, world), timedelta(seconds=group_timeout())
        dist.init_process_group(backends, store=store, rank=rank, world_size=world, timeout=timeout)
        group = Group(rank, world, local, 0, most)
        counted = max(counted, starts_before(every)) if rank == 0 else counted
        group = replace(group, restarts=max(group.gather(counted)))
    except (dist.DistError, ValueError, RuntimeError, TimeoutError) as error:
        why = str(error).splitlines()[0]
        raise SkipwayError(f"the other processes cannot be reached ({why}): start all of them with torchrun") from None
    try:
        with name_lost_processes(store, rank, world):
            yield group, own
    finally:
        dist.destroy_process_group()


def starts_before(store: Store) -> int:
    """How often a group was started on `store` before; called by the first process of each start.

    torchrun's TORCHELASTIC_RESTART_COUNT counts failures alone, not the restarts for a machine that joins, and on a
    machine that comes back it begins anew (torch 2.15). Where torchrun gives every start a store of its own
    (TORCH_DISABLE_SHARE_RDZV_TCP_STORE), this is 0, and that count is all there is.
    """
    return store.add("skipway/starts", 1) - 1


def local_device(hardware: Hardware, local: int) -> Hardware:
    """`hardware` with the GPU of the process `local` of this machine. Raises SkipwayError where there is none."""
    if hardware.device.type != "cuda":
        return hardware
    if local >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SkipwayError(f"process {local + 1} of this machine has no GPU, there are {count}: start fewer processes")
    torch.cuda.set_device(local)
    return replace(hardware, device=torch.device("cuda", local))


def data_parallel(net: nn.Module, hardware: Hardware, group: Group) -> nn.Module:
    """`net` with gradients averaged over the group's processes.

    Wrap again when other parameters are trained. Running statistics are not exchanged: those of the first process
    count.
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
    """Run `python -m skipway` with `arguments` in several processes on this machine; returns the exit code.

    If a process dies, all are restarted from the last checkpoint, up to `restarts` times. Threads are divided among
    them unless OMP_NUM_THREADS is set.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // processes)))
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
