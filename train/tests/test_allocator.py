"""Memory that is kept is not fetched again page by page."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nightseg_train import allocator

SCRIPT = """
import resource, sys
from nightseg_train import allocator
if len(sys.argv) > 1:
    allocator.keep_memory()
import torch
def faults():
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    before = faults()
print(faults() - before)
"""


def faults(*args: str) -> int:
    env = {k: v for k, v in os.environ.items() if k != allocator.NAME}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *args], capture_output=True, text=True, check=True, env=env)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_freed_memory_is_kept() -> None:
    plain = faults()
    assert plain > 16
    assert faults("keep") < plain / 8
