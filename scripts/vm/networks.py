"""The phase of the package's own networks, on an emulated processor: whether they compute what they should."""

from __future__ import annotations

import json

from install import INSTALLED
from machine import check
from session import Session


def run(s: Session) -> None:
    """Verify the bundle of the package."""
    s.step("boot", s.boot, INSTALLED, "networks")
    for precision in ("fp32", "int8"):
        s.step(f"synth-11 in {precision} on the processor alone", verify, s, precision)
    s.vm.off()


def verify(s: Session, precision: str) -> str:
    """Replay the bundle's golden vectors in the machine, with the engines of the package."""
    code, text = s.vm.code(f"nightseg bundle verify synth-11 --json --provider cpu --precision {precision}", 1800)
    check(code == 0, text)
    checks = json.loads(text[text.index("{") : text.rindex("}") + 1])["checks"]
    check(len(checks) == 1 and checks[0]["holds"], text)
    off, same = checks[0]["logits_relative"], 100 * checks[0]["mask_agreement"]
    return f"logits are off by {off:.2g} of their range, masks agree on {same:.2f} %"
