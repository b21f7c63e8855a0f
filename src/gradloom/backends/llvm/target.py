"""The machine that code is made for: its name to LLVM, its vectors, its registers."""

import functools
import threading
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

# LLVM's own tables are filled once; a process may ask from several threads.
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Target:
    """What the generator needs to know of a machine.

    Attributes:
        triple, cpu, features: as LLVM names them.
        vector: bits of a vector register; 0 for a machine without any.
        registers: how many of those it has.
        fused: whether it multiplies and adds in one instruction.
        masked: whether it loads and stores part of a vector.
        rounds: whether it rounds to integers in an instruction.
        position: whether code must run at any address, as that in a shared library does.
    """

    triple: str
    cpu: str
    features: str
    vector: int
    registers: int = 16
    fused: bool = True
    masked: bool = False
    rounds: bool = True
    position: bool = False

    def width(self, bits: int) -> int:
        """How many numbers of so many bits a vector has.

        >>> Target("", "", "", vector=256).width(64)
        4
        """
        return max(1, self.vector // bits)

    def machine(self) -> Any:
        """LLVM's target machine; a new one, for they are not safe to share between threads."""
        with _LOCK:
            initialize()
            chosen = llvm.Target.from_triple(self.triple)
        return chosen.create_target_machine(
            cpu=self.cpu,
            features=self.features,
            opt=2,
            reloc="pic" if self.position else "default",
            codemodel="default" if self.position else "jitdefault",
        )


@functools.cache
def initialize() -> None:
    """Make LLVM know its targets."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@functools.cache
def host() -> Target:
    """The machine that this process runs on.

    >>> host().vector >= 128
    True
    """
    found = dict(llvm.get_host_cpu_features())
    triple = llvm.get_process_triple()
    wide = bool(found.get("avx512f") and found.get("avx512vl") and found.get("avx512dq"))
    arm = triple.startswith(("aarch64", "arm64"))
    return Target(
        triple=triple,
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        vector=512 if wide else 256 if found.get("avx") else 128,
        registers=32 if wide or arm else 16,
        fused=arm or bool(found.get("fma")),
        masked=wide or bool(found.get("avx2")),
        rounds=arm or bool(found.get("sse4.1")),
    )
