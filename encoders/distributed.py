"""How do several processes train one model? Who is first, whose batch is whose, and gradients averaged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
"""How long the others wait while the first one distils, measures or writes."""
_AT_ONCE = 1 << 24


def _own_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train together; alone by default.

    Gradients are averaged after each backward pass rather than by DistributedDataParallel: that wraps one module's
    `forward` and reduces inside `backward`, while a step here asks encoder and tower several times, runs backward once
    a piece (see `accumulate`), and need not touch every parameter. What is lost is that reduction overlaps computation.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=_own_device)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes, measures and prints."""
        return self.rank == 0

    def from_first(self, value: T) -> T:
        """Return the first process's value in all of them; who gets here early waits."""
        if self.world == 1:
            return value
        box = [value if self.first else None]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process through, then the others, so that these find what it has left in a cache."""
        if not self.first:
            self.from_first(None)
        yield
        if self.first:
            self.from_first(None)

    def share(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield every `world`-th of the batches, as many in each process.

        All draw the same batches; a last round that is not full begins again at its own first batch.
        """
        left = iter(batches)
        while one_round := tuple(islice(left, self.world)):
            yield one_round[self.rank % len(one_round)]

    def sums(self, values: list[float]) -> list[float]:
        """Return each value's sum over the processes."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def all(self, values: list[T]) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        if self.world == 1:
            return values
        boxes: list[list[T]] = [[] for _ in range(self.world)]
        distributed.all_gather_object(boxes, values)
        return [value for box in boxes for value in box]

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), src=0)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes; one that no process has stays none."""
        if self.world == 1:
            return
        for bucket in _buckets([value for value in parameters if value.requires_grad]):
            parts = [torch.zeros_like(value) if value.grad is None else value.grad for value in bucket]
            # how many processes have each gradient travels in the same message
            held = torch.tensor([float(value.grad is not None) for value in bucket], device=self.device)
            flat = torch.cat([*(part.reshape(-1).float() for part in parts), held])
            distributed.all_reduce(flat)
            owners = flat[-len(bucket) :].tolist()
            start = 0
            for value, owned in zip(bucket, owners, strict=True):
                end = start + value.numel()
                if owned:
                    value.grad = (flat[start:end] / self.world).view_as(value).to(value.dtype)
                start = end


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, by NCCL where there are GPUs, else by Gloo; or stay alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    device = _own_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    opened = not distributed.is_initialized()
    if opened:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
    yield Ranks(rank=distributed.get_rank(), world=distributed.get_world_size(), device=device)
    if opened:  # not after an error: the others may still wait for this process, and torchrun ends them
        distributed.barrier()
        distributed.destroy_process_group()


def _buckets(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield runs of parameters of about `_AT_ONCE` numbers: few messages, and little memory beside the gradients."""
    bucket: list[Tensor] = []
    held = 0
    for value in parameters:
        bucket.append(value)
        held += value.numel()
        if held >= _AT_ONCE:
            yield bucket
            bucket, held = [], 0
    if bucket:
        yield bucket
