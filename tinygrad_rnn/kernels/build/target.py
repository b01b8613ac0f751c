"""The processor that LLVM compiles for: vector registers and fused multiply-add.

The answer is read off LLVM's own assembly for a tiny function, so that it is right for every architecture and
for every CPU that is forced with ``NUMBA_CPU_NAME`` or ``NUMBA_CPU_FEATURES``.
"""

import re
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from numba.core import config as numba_config
from numba.core.codegen import get_host_cpu_features

config: Any = numba_config


class Target(NamedTuple):
    """The target that Numba compiles for."""

    cpu: str
    features: str
    vector_bytes: int  # 64 with AVX-512, 32 with AVX, 16 with SSE2 and NEON
    has_fma: bool
    registers: int  # vector registers: 32 with AVX-512 and NEON, otherwise 16


_PROBE = """
define void @probe(ptr %p) {
  %a = load <16 x float>, ptr %p, align 64
  %b = fadd <16 x float> %a, %a
  store <16 x float> %b, ptr %p, align 64
  ret void
}
define float @fused(float %x) {
  %y = call float @llvm.fma.f32(float %x, float %x, float %x)
  ret float %y
}
declare float @llvm.fma.f32(float, float, float)
"""


def probe() -> Target:
    """The target of Numba's CPU, from what LLVM makes of a sum of 16 numbers and a fused multiply-add."""
    cpu = config.CPU_NAME or llvm.get_host_cpu_name()
    if config.CPU_FEATURES is not None:
        features = config.CPU_FEATURES
    elif config.CPU_NAME:
        features = ""  # a forced CPU means the vectors that this CPU has, whatever else the host offers
    else:
        features = get_host_cpu_features()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=2)
    source = _PROBE
    if llvm.llvm_version_info[0] < 17:  # before opaque pointers were the default
        source = source.replace("ptr %p", "<16 x float>* %p")
    module = llvm.parse_assembly(source)
    assembly = machine.emit_assembly(module)
    has_fma = re.search(r"\bfmaf\b", assembly) is None  # no call of the C library
    if target.name.startswith("x86"):
        if "%zmm" in assembly:
            return Target(cpu, features, 64, has_fma, 32)
        return Target(cpu, features, 32 if "%ymm" in assembly else 16, has_fma, 16)
    return Target(cpu, features, 16, has_fma, 32)


TARGET = probe()
