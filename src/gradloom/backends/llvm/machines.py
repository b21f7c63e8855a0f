"""The machines that code can be exported for, by name.

Code for other machines than this one is plain: it fits every processor of the family named.
"""

from dataclasses import dataclass, replace

from gradloom.backends.llvm.target import Target, host
from gradloom.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to export for.

    Attributes:
        name: what it is called.
        about: what it is, for the header.
        target: what the generator needs to know.
        real: bits of the widest number that it has instructions for; 0 for none.
        pic: whether code must run at any address.
        small: whether short code comes before fast code.
    """

    name: str
    about: str
    target: Target
    real: int = 64
    pic: bool = False
    small: bool = False

    @property
    def narrow(self) -> bool:
        """Whether addresses have 32 bits."""
        return self.target.triple.startswith(("thumb", "riscv32", "wasm32"))

    def target_for(self, bits: int) -> Target:
        """The target for numbers of so many bits: without an instruction for them none is fused."""
        if bits <= self.real:
            return self.target
        return replace(self.target, fused=False, rounds=False, vector=0)


# A processor with floats alone reckons some functions of floats in double precision, by helpers, of
# which none is fused; so its floats are not fused either (which would take as long).


def _cortex(number: str, about: str, triple: str, real: int, rounds: bool) -> Machine:
    target = Target(triple, f"cortex-{number}", "", 0, fused=real == 64, rounds=rounds)
    return Machine(f"cortex-{number}", f"Arm Cortex-{number.upper()}: {about}", target, real,
                   small=True)  # fmt: skip


def _riscv(name: str, about: str, features: str, real: int) -> Machine:
    bits = name[5:7]
    triple, cpu = f"riscv{bits}-unknown-none-elf", f"generic-rv{bits}"
    target = Target(triple, cpu, features, 0, fused=real == 64, rounds=False)
    return Machine(name, f"RISC-V {about}", target, real, pic=bits == "64", small=bits == "32")


def _x86(level: str, about: str, vector: int) -> Machine:
    new = vector > 128
    target = Target("x86_64-unknown-linux-gnu", level, "", vector, fused=new, masked=new,
                    rounds=new)  # fmt: skip
    return Machine(level, f"x86-64 {about}, ELF", target, pic=True)


_HARD, _SOFT = "thumbv7em-unknown-none-eabihf", "thumbv7m-unknown-none-eabi"
_KNOWN = [
    _x86("x86-64", "(SSE2)", 128),
    _x86("x86-64-v3", "with AVX2 and FMA", 256),
    Machine(
        "aarch64",
        "AArch64, ELF",
        Target("aarch64-unknown-linux-gnu", "generic", "+reserve-x18", 128, 32),
        pic=True,
    ),
    _cortex("m0", "no floating point", "thumbv6m-unknown-none-eabi", 0, False),
    _cortex("m3", "no floating point", _SOFT, 0, False),
    _cortex("m4", "single precision", _HARD, 32, False),
    _cortex("m7", "double precision", _HARD, 64, True),
    _cortex("m33", "single precision", "thumbv8m.main-unknown-none-eabihf", 32, True),
    _riscv("riscv32", "RV32IMAC, no floating point, ILP32", "+m,+a,+c", 0),
    _riscv("riscv32f", "RV32IMAFC, single precision, ILP32F", "+m,+a,+f,+c", 32),
    _riscv("riscv64", "RV64GC, LP64D", "+m,+a,+f,+d,+c", 64),
    Machine(
        "wasm32",
        "WebAssembly with 128-bit vectors",
        Target("wasm32-unknown-unknown", "generic", "+simd128,+bulk-memory", 128, fused=False),
    ),
]
MACHINES = {machine.name: machine for machine in _KNOWN}


def machine(name: str) -> Machine:
    """The machine of a name; `host` is the one that this process runs on.

    Raises:
        ArgumentError: there is none.

    >>> machine("cortex-m4").about
    'Arm Cortex-M4: single precision'
    >>> machine("z80")
    Traceback (most recent call last):
    gradloom.errors.ArgumentError: no target is called 'z80'; there are host, x86-64, x86-64-v3,
    aarch64, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33, riscv32, riscv32f, riscv64,
    wasm32
    """
    if name == "host":
        here = host()
        return Machine("host", f"{here.triple}, {here.cpu}", here, pic=True)
    if name not in MACHINES:
        raise ArgumentError(
            f"no target is called {name!r}; there are {', '.join(['host', *MACHINES])}"
        )
    return MACHINES[name]
