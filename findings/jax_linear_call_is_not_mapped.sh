#!/usr/bin/env bash
# JAX: a linear function with a transpose of its own has gradients, but no Jacobian.
#
# Guess: `jax.custom_derivatives.linear_call`, which is public and documented without a limit, gives
#   a function that all of JAX's transformations take, as `custom_jvp` and `custom_vjp` do: forward
#   mode, reverse mode by the transpose that was given, `vmap`, and so `jacrev` and `hessian`.
# Seen (jax 0.10.2): values, `jvp`, `grad` and `linear_transpose` are right. `vmap` raises
#   NotImplementedError, "Batching rule for 'linear_call' not implemented", and with it `jacfwd`,
#   `jacrev`, `hessian` and gradients of each example: everything that maps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call

print("python", sys.version.split()[0], "jax", jax.__version__)
matrix = jnp.arange(6.0).reshape(2, 3)
x, g = jnp.ones(3), jnp.ones(2)


def product(x):
    return linear_call(lambda a, x: a @ x, lambda a, y: y @ a, matrix, x)


def square(x):
    return jnp.sum(product(x) ** 2)


def raised(call):
    try:
        call()
    except NotImplementedError as error:
        return str(error)
    return ""


def expect(name, holds):
    print("as seen:" if holds else "CHANGED:", name)
    return holds


seen = [
    expect("the value", jnp.allclose(product(x), matrix @ x)),
    expect("jvp", jnp.allclose(jax.jvp(product, (x,), (x,))[1], matrix @ x)),
    expect("grad", jnp.allclose(jax.grad(square)(x), 2 * (matrix @ x) @ matrix)),
    expect("linear_transpose", jnp.allclose(jax.linear_transpose(product, x)(g)[0], g @ matrix)),
]
mapping = {
    "vmap": lambda: jax.vmap(product)(jnp.ones((4, 3))),
    "vmap of grad": lambda: jax.vmap(jax.grad(square))(jnp.ones((4, 3))),
    "jacfwd": lambda: jax.jacfwd(product)(x),
    "jacrev": lambda: jax.jacrev(product)(x),
    "hessian": lambda: jax.hessian(square)(x),
}
for name, call in mapping.items():
    message = raised(call)
    seen.append(expect(f"{name} raises {message!r}", "linear_call" in message))
sys.exit(0 if all(seen) else 1)
PYTHON
