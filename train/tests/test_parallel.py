"""Several processes train as one: the gradients of their shares of a batch are those of the whole batch."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

import made
from nightseg_train import loop, losses, parallel
from nightseg_train.method import Batch, Learner
from nightseg_train.methods import selftrain, source

SHARES = (0.3, 0.2, 0.02, 0.18, *[0.3 / 7] * 7)
LOOP = loop.Loop(precision="fp32", threads=1)
METHODS = ("source", "hard pixels", "selftrain")
Count = Callable[[Tensor], Tensor]


def make(name: str) -> Learner:
    """Return a method whose norms are frozen, as those of a share of a batch would differ from the whole batch's."""
    torch.manual_seed(0)
    method: Learner
    if name == "selftrain":
        s = selftrain.Settings(segment="ddrnet-tiny", easy=0.9, std=0.2, skip_relight=0.0, light_pictures=2)
        method = selftrain.SelfTrain(s, SHARES, -0.4)
    else:
        easy = 0.12 if name == "hard pixels" else 1.0
        method = source.Source(source.Settings(segment="ddrnet-tiny", std=0.2, easy=easy), SHARES)
    for module in method.modules().values():
        for m in module.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eval()
    return method


def batch() -> Batch:
    """Return two pictures of each kind: of the first one hardly anything is labelled, or sure by night."""
    b = made.batch(1)
    assert b.labels is not None
    b.labels[0, :, 4:] = 255
    night = torch.where(torch.arange(b.soft["night"].shape[3]) < 20, 1 / 11, b.soft["night"][:1])
    return dataclasses.replace(b, soft={**b.soft, "night": torch.cat([night, b.soft["night"][1:]])})


def gradients(rank: int, world: int, port: int, out: Path) -> None:
    """Take a step of each method with this process's share of the batch; the first process keeps the gradients."""
    torch.set_num_threads(1)
    if world > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        parallel.start(torch.device("cpu"))
    whole, at = batch(), slice(rank * 2 // world, (rank + 1) * 2 // world)
    assert whole.labels is not None
    x, soft = ({k: v[at] for k, v in part.items()} for part in (whole.x, whole.soft))
    share = Batch(0, x, whole.labels[at], soft)
    found: dict[str, Tensor] = {}
    for name in METHODS:
        method = make(name)
        loop.Run(method, LOOP, out / f"{world} {name}", 1).advance(lambda _: share, 1.0)
        trained = [p for m in method.modules().values() for p in m.parameters()]
        found[name] = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained])
    if rank == 0:
        torch.save(found, out / f"{world}.pt")
    parallel.stop()


def test_two_processes_find_the_gradients_of_one(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    gradients(0, 1, port, tmp_path)
    spawn(gradients, (2, port, tmp_path), 2)  # type: ignore[no-untyped-call]
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (1, 2))
    for name in METHODS:
        assert float(one[name].norm()) > 0
        apart = float((one[name] - two[name]).norm() / one[name].norm())
        assert apart < 1e-4, name


def shared(loss: Callable[[int, Count], Tensor]) -> Tensor:
    """Return the mean of the losses of two processes, loss(rank, count), that count together."""
    counts: list[Tensor] = []

    def note(value: Tensor) -> Tensor:
        counts.append(value.detach())
        return value.detach()

    for rank in range(2):
        loss(rank, note)
    mean = torch.stack(counts).mean(0)
    return torch.stack([loss(rank, lambda _: mean) for rank in range(2)]).mean()


@pytest.mark.parametrize("easy", [1.0, 0.3])
def test_the_denominator_of_the_cross_entropy_can_be_that_of_all(easy: float) -> None:
    g = torch.Generator().manual_seed(2)
    logits, weight = torch.randn(2, 4, 8, 8, generator=g), torch.tensor([0.5, 1.0, 1.5, 1.0])
    labels = torch.randint(0, 4, (2, 8, 8), generator=g)
    logits[0] *= 3
    labels[0, 2:] = 255

    def loss(i: int, count: Count) -> Tensor:
        return losses.cross_entropy(logits[i : i + 1], labels[i : i + 1], weight, easy, count)

    whole = losses.cross_entropy(logits, labels, weight, easy)
    assert float(shared(loss)) == pytest.approx(float(whole), rel=1e-5)
    alone = [loss(i, Tensor.detach) for i in range(2)]
    assert float(sum(alone) / 2) != pytest.approx(float(whole), rel=1e-2)


def test_the_jaccard_loss_of_a_share_is_a_share_of_that_of_all() -> None:
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 8, 8, generator=g, requires_grad=True)
    labels = torch.randint(0, 4, (2, 8, 8), generator=g)
    whole = losses.jaccard(logits, labels)
    parts = shared(lambda i, count: losses.jaccard(logits[i : i + 1], labels[i : i + 1], count))
    assert float(parts.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(v, logits)[0] for v in (parts, whole)))


def test_all_processes_count_also_where_nothing_is_labelled() -> None:
    asked: list[Tensor] = []
    labels = torch.full((1, 4, 4), 255)

    def count(value: Tensor) -> Tensor:
        asked.append(value)
        return value.detach() + 8

    assert float(losses.cross_entropy(torch.zeros(1, 3, 4, 4), labels, None, 0.9, count)) == 0
    assert len(asked) == 1
