"""Memory that is kept is not fetched again page by page."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from nightseg_train import allocator
if len(sys.argv) > 1:
    assert allocator.keep_memory()
def faults():
    torch.ones(16 << 20)  # above the 32 MiB up to which glibc learns by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):  # the heap finds its size in the first few
    before = faults()
print(faults() - before)
"""


def faults(*args: str) -> int:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *args], capture_output=True, text=True, check=True, env=env)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_freed_memory_is_kept() -> None:
    plain = faults()
    assert plain > 16
    assert faults("keep") < plain / 4
