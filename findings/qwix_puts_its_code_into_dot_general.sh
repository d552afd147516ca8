#!/usr/bin/env bash
# Qwix: while a quantised model runs, the name `jax.lax.dot_general` still leads to JAX's own function
# object, but the function has another code in it.
#
# Guess: Qwix intercepts `jax.lax.dot_general` as patching is done in Python, by putting another
#   function under the name for a while. So `jax.lax.dot_general is original` tells whether it is
#   there, and a reference that was taken before, `from jax.lax import dot_general`, goes around it.
# Seen (qwix 0.1.8, jax 0.10.2, flax 0.12.8): inside the model the name leads to the original object, so
#   the comparison says that nothing is replaced; its `__code__` is another one, and references that
#   were taken before are intercepted, too. Only a copy of the function with the old code is JAX's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 qwix==0.1.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import types
from importlib.metadata import version

import flax.linen as nn
import jax
import jax.numpy as jnp
import qwix

names = ("jax", "flax", "qwix")
print("python", sys.version.split()[0], *(f"{name} {version(name)}" for name in names))
ORIGINAL, CODE = jax.lax.dot_general, jax.lax.dot_general.__code__
COPY = types.FunctionType(CODE, ORIGINAL.__globals__, "copy", ORIGINAL.__defaults__)
COPY.__kwdefaults__ = ORIGINAL.__kwdefaults__
seen = {}


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.normal(1), (16, 8))
        numbers = (((1,), (0,)), ((), ()))
        seen["same object"] = jax.lax.dot_general is ORIGINAL
        seen["same code"] = ORIGINAL.__code__ is CODE
        return [dot(x, kernel, numbers) for dot in (jax.lax.dot_general, ORIGINAL, COPY)]


def off(y, exact):
    return float(jnp.abs(y - exact).max() / jnp.abs(exact).max())


x = jax.random.normal(jax.random.key(0), (4, 16))
variables = Layer().init(jax.random.key(1), x)
exact = Layer().apply(variables, x)[0]
rules = [qwix.QuantizationRule(module_path=".*", weight_qtype=jnp.int8, act_qtype=jnp.int8)]
quantized = qwix.quantize_model(Layer(), qwix.QtProvider(rules))
errors = [off(y, exact) for y in quantized.apply(variables, x)]
print("inside:", seen, "errors by name, by an earlier reference, by a copy:", errors)
holds = (
    seen == {"same object": True, "same code": False}
    and errors[0] > 1e-4
    and errors[1] > 1e-4
    and errors[2] < 1e-6
    and ORIGINAL.__code__ is CODE
)
print("as seen" if holds else "CHANGED")
sys.exit(0 if holds else 1)
PYTHON
