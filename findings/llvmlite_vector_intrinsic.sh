#!/usr/bin/env bash
# llvmlite's builder of IR cannot name an intrinsic that is overloaded on a vector type.
#
# Guess: `Module.declare_intrinsic("llvm.fma", [vector])` gives LLVM's function for vectors of eight
#   floats, `llvm.fma.v8f32`, as it gives `llvm.fma.f32` for a float: LLVM names both alike, and
#   llvmlite has vector types.
# Seen (llvmlite 0.50.0, LLVM 22): an AttributeError, as a vector type has no `intrinsic_name`; for a
#   float it works. The same LLVM takes the vector function where its declaration is written as text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet llvmlite==0.50.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import llvmlite
from llvmlite import binding, ir

print("python", sys.version.split()[0], "llvmlite", llvmlite.__version__, "LLVM", binding.llvm_version_info)
number, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), 8)
module = ir.Module("finding")
print("float:", module.declare_intrinsic("llvm.fma", [number]).name)
try:
    print("vector:", module.declare_intrinsic("llvm.fma", [vector]).name)
except AttributeError as error:
    print("vector:", type(error).__name__, error)
else:
    sys.exit("it has changed: the vector's function is named")
text = """
declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)
define <8 x float> @f(<8 x float> %x) {
  %y = call <8 x float> @llvm.fma.v8f32(<8 x float> %x, <8 x float> %x, <8 x float> %x)
  ret <8 x float> %y
}
"""
binding.parse_assembly(text).verify()
print("as text: accepted")
PYTHON
