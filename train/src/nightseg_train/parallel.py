"""Several processes that train as one (torchrun): gradients and the denominators of losses are averaged over them.

Each process computes its share of the global batch. With every denominator (valid pixels, summed class weights)
averaged by `mean`, and gradients by `mean_gradients`, the step equals that of one process with the whole batch, as far
as the networks' batch norms see the same statistics (frozen, or of the share; see docs/training.md). No wrapper is put
around the networks: a method runs several of them several times per step, in parts, which a wrapper's hooks do not
allow for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def start(device: torch.device) -> None:
    """Join the other processes where torchrun started several; do nothing where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def world() -> tuple[int, int]:
    """Return (rank, number of processes); (0, 1) alone."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def mean(value: Tensor) -> Tensor:
    """Return a detached value averaged over the processes; as it is where there is one."""
    value = value.detach().clone()
    if world()[1] > 1:
        distributed.all_reduce(value)
        value /= world()[1]
    return value


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients over the processes, in one flat message; a missing one counts as nought."""
    if world()[1] == 1:
        return
    wanted = [p for p in parameters if p.requires_grad]
    for p in wanted:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.reshape(-1) for p in wanted if p.grad is not None])
    distributed.all_reduce(flat)
    flat /= world()[1]
    at = 0
    for p in wanted:
        if p.grad is not None:
            p.grad.copy_(flat[at : at + p.numel()].view_as(p))
        at += p.numel()


def same_everywhere(module: nn.Module) -> None:
    """Copy the first process's parameters and buffers to the others."""
    if world()[1] > 1:
        for value in module.state_dict().values():
            distributed.broadcast(value, 0)
