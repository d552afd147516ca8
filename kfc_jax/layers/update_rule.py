"""What the updates of factors are multiplied by, so that the layer moves like a dense one.

At one learning rate a factor moves the layer's output far less than a dense kernel does: its
entries are larger than the kernel's and fewer. Its multiplier makes up for this. It is the product
of the factor's own scale, so that in one step every factor changes by the same fraction, and of a
number that all factors of a layer share, with which the layer's output moves as far as a dense
layer's. Moving scale from one factor to another, which leaves the kernel as it is, therefore moves
the multipliers along: all that counts is the kernel.

The shared number: let the layer have ``n`` inputs of unit size, and let factor k of a term have
``n_k`` rows, in ``r`` products (the rank), where the other factors' product is a matrix of ``n_o``
rows (``n = n_k n_o``), ``m_o`` columns and root-mean-square entries ``s_o``. The batch has ``b``
independent examples. First, all entries move by plus or minus 1, as under Adam.

A dense kernel's gradient entry sums one contribution of every example, so that an example agrees
with the signs of somewhat more than half of the entries, by ``1 / sqrt(b)``. It moves its own
output by ``n / sqrt(b)``, coherently over the inputs; the other examples move it by a random walk
over the inputs, ``sqrt(n)``.

A factor's gradient entry sums over examples and over the ``m_o`` output columns that share it.
What moves one output is the sum of ``r n_k`` such entries, times inputs seen through the other
factors, ``s_o sqrt(n_o)`` in size. There are three parts:

- the output's own gradient, coherent over ranks and rows: ``r n_k s_o sqrt(n_o / (m_o b))``;
- the other columns of the same example, coherent over rows (they see the same inputs), a random
  walk over ranks: ``n_k s_o sqrt(r (1 - 1/m_o) / b)``, large for the columns of low rank alone;
- the other examples, a random walk over ranks and all inputs: ``s_o sqrt(r n)``.

The first part adds coherently over all factors of all terms, the others as random walks. Now
factor k moves by its scale ``s_k`` times the shared number ``f``, and ``s_k s_o = p`` is the same
for all factors of a term. With ``c = n / b``, equal movement means::

    f^2 [ c (sum_k p r / sqrt(n_o m_o))^2  +  sum_k p^2 r (1 + c (1 - 1/m_o) / n_o^2) ]  =  c + 1

For one dense factor the multiplier is 1. A low-rank kernel is the case ``n x 1`` (x) ``1 x m``.

Other transforms move factor k by entries that are ``t_k`` times those by which they move a dense
kernel, and its multiplier is ``f s_k / t_k``:

- ``sign``: all entries have the size of the learning rate, and ``t_k = 1``;
- ``gradient``, plain steps: a factor's gradient is ``s_o sqrt(n_o m_o)`` times the dense kernel's;
- ``relative``, steps in proportion to the array: ``t_k = s_k / s``, with ``s`` the root mean square
  of the kernel's entries. The multipliers of a layer are all the same;
- ``orthogonal``: a matrix ``p x q`` moves by one of singular values 1 or, for lack of examples, 0;
  Muon scales it by ``sqrt(max(1, q / p))``. Of ``v`` singular values of 1, entries have the size
  ``sqrt(v / (p min(p, q)))``. A dense kernel has ``v = min(b, n, m)``, a factor, whose gradient
  sums over the other factors as well, ``v = min(b min(n_o, m_o), p, q)``. Low-rank matrices are
  taken as they are stored, ``n x r`` and ``r x m``.

A table of embeddings sees inputs with a single one, and the other examples move none of its rows:
a dense row moves its output by 1, whatever ``b`` is. A factor's row is shared by
``b_k = 1 + b / n_k`` examples. An output's own gradient is one of ``b_k m_o`` in that of an entry,
coherent over ranks, ``r s_o / sqrt(b_k m_o)``; the others are a random walk over ranks::

    f^2 [ (sum_k p r / sqrt(b_k m_o))^2  +  sum_k p^2 r (1 - 1 / (b_k m_o)) ]  =  1

and under plain steps ``t_k = s_o sqrt(b_k m_o)``. By its rows and names a table is a dense layer,
so that it has to be told. A table that is the classifier, too, moves as one that is looked up.

The scales are read off the parameters that the optimizer is initialised with. So the rule holds
for any ``kernel_init`` and for factors that came from a decomposition.

Inputs of a real batch are correlated, and its independent examples fewer than its examples; the
rule takes ``b = 64`` (measured: output movement relative to dense 1.0 to 1.3 for 64 independent
inputs, 1.0 to 2.2 for 256, 0.3 to 1.2 for 64 that went through a ReLU). How much of the rule
trains best depends on the rest of the network too: the ``gain``. At the rates that are best for the
network, a quarter of the rule is (`docs/training.md`): ``DEFAULT_GAIN``.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Collection, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kfc_jax.layers.find_factors import Factor, Layer, factors_by_layer, layer_of, path_name

Update = Literal["sign", "gradient", "relative", "orthogonal"]

_INDEPENDENT_EXAMPLES = 64.0
_LEAST_VARIANCE = 0.1  # of a kernel whose scale is believed, relative to lecun_normal


def factor_multipliers(
    params: Any, *, gain: float = 1.0, update: Update = "sign", tables: Collection[str] = ()
) -> Any:
    """Returns what to multiply the updates of ``params`` by, so that factors keep up.

    Factors are known by their names (``kfc_jax.structures.kind_of_parameter``). Arrays may have
    further leading axes (layers stacked by ``nn.scan`` or ``nn.vmap`` along axis 0), which share
    one multiplier. The rule is derived in the docstring of this module.

    Example::

      >>> import jax, jax.numpy as jnp
      >>> from kfc_jax import KFCDense, factor_multipliers
      >>> layer = KFCDense(features=512, structure="2:16x16*64x32")
      >>> params = layer.init(jax.random.key(0), jnp.ones((1, 1024)))["params"]
      >>> jax.tree.map(lambda m: round(float(m)), factor_multipliers(params))
      {'bias': 1, 'kernel_0_0': 22, 'kernel_0_1': 8}

    Args:
      params: any tree of parameters.
      gain: a number that all multipliers of factors are multiplied by.
      update: what is multiplied: ``sign`` for steps whose entries have the size of the learning
        rate whatever the gradient's (Adam, Lion, RMSProp), ``gradient`` for plain SGD, also with
        momentum, ``relative`` for steps in proportion to the parameters (LAMB, Adafactor),
        ``orthogonal`` for Muon.
      tables: the paths of tables of embeddings, or patterns of them such as ``*table``: their rows
        are looked up, and they move less. For ``sign`` and ``gradient`` alone.

    Returns:
      A tree like ``params`` with float32 scalars: 1 for everything that is not a factor.

    Raises:
      ValueError: if ``gain`` or ``update`` is not as said, a layer lacks some of its factors, or
        there is no such table.
    """
    check_rule(gain, update, tables)
    multipliers = multipliers_by_path(params, update, tables)

    def multiplier(path: Any, leaf: Any) -> Float[Array, ""]:
        del leaf
        name = path_name(path)
        return gain * multipliers[name] if name in multipliers else jnp.ones((), jnp.float32)

    return jax.tree_util.tree_map_with_path(multiplier, params)


def multipliers_by_path(
    params: Any, update: Update, tables: Collection[str] = ()
) -> dict[str, Float[Array, ""]]:
    """Returns the multiplier of every factor, by its path, without the gain."""
    result = {}
    layers = factors_by_layer(params)
    looked_up = _tables_among(layers, tables)
    for layer in layers:
        is_table = layer_of(layer[0][0]) in looked_up
        inputs, features = (
            max(math.prod(f.array.shape[axis] for f in term) for term in layer) for axis in (-2, -1)
        )
        coherence = inputs / _INDEPENDENT_EXAMPLES
        coherent = walk = variance = jnp.zeros(())
        scales = []
        for term in layer:
            rank = term[0].array.shape[-3]
            scales.append(_scales(term, usual_variance=1 / (inputs * rank * len(layer))))
            product = jnp.prod(scales[-1])
            variance += rank * product**2
            for factor in term:
                n_o, m_o = _others(factor, term)
                if is_table:
                    share = 1 / _sharing(factor, m_o)
                    coherent += rank * product * math.sqrt(share)
                    walk += rank * product**2 * (1 - share)
                    continue
                coherent += rank * product / math.sqrt(n_o * m_o)
                walk += rank * product**2 * (1 + coherence * (1 - 1 / m_o) / n_o**2)
        if is_table:
            fraction, usual = 1 / jnp.sqrt(coherent**2 + walk), 1 / features
        else:
            fraction = jnp.sqrt((coherence + 1) / (coherence * coherent**2 + walk))
            usual = 1 / inputs
        # A nearly zero kernel would ask for steps that are far too large once it has grown.
        fraction *= jnp.minimum(1.0, jnp.sqrt(variance / (usual * _LEAST_VARIANCE)))
        for term, of_term in zip(layer, scales, strict=True):
            for factor, scale in zip(term, of_term, strict=True):
                n_o, m_o = _others(factor, term)
                step: Any = 1.0  # of the factor, as a multiple of the dense kernel's
                if update == "gradient":
                    summed = _sharing(factor, m_o) if is_table else n_o * m_o
                    step = jnp.prod(of_term) / scale * math.sqrt(summed)
                elif update == "relative":
                    step = scale / jnp.sqrt(variance)
                elif update == "orthogonal":
                    summed = _INDEPENDENT_EXAMPLES * min(n_o, m_o)
                    step = _orthogonal_entry(*factor.matrix, summed)
                    step /= _orthogonal_entry(inputs, features, _INDEPENDENT_EXAMPLES)
                result[factor.path] = fraction * scale / step
    return result


def _tables_among(layers: Sequence[Layer], patterns: Collection[str]) -> set[str]:
    """Returns the paths of the layers that some patterns fit.

    Raises:
      ValueError: if one fits none.
    """
    paths = {layer_of(layer[0][0]) for layer in layers}
    found = {pattern: set(fnmatch.filter(paths, pattern)) for pattern in patterns}
    if missing := sorted(pattern for pattern, fitting in found.items() if not fitting):
        raise ValueError(
            f"No table {missing[0]!r} is stored as factors; the layers that are: "
            f"{', '.join(sorted(paths)) or 'none'}."
        )
    return set().union(*found.values())


def _sharing(factor: Factor, m_o: int) -> float:
    """Returns how many outputs' gradients an entry of a table's factor sums up."""
    return (1 + _INDEPENDENT_EXAMPLES / factor.array.shape[-2]) * m_o


def _others(factor: Factor, term: Sequence[Factor]) -> tuple[int, int]:
    """Returns the numbers of rows and columns of the product of a term's other factors."""
    rows, columns = (math.prod(f.array.shape[axis] for f in term) for axis in (-2, -1))
    return rows // factor.array.shape[-2], columns // factor.array.shape[-1]


def _orthogonal_entry(rows: int, columns: int, examples: float) -> float:
    """Returns the size of the entries of Muon's step of a matrix, from so many examples."""
    return math.sqrt(min(examples, rows, columns) / (rows * min(rows, columns)))


def check_rule(gain: Any, update: str, tables: Collection[str] = ()) -> None:
    """Raises ValueError if the gain or the kind of update is not one that the rule knows."""
    if isinstance(tables, str):
        raise ValueError(f"tables is {tables!r}; give a list of paths, as tables=[{tables!r}].")
    if tables and update not in ("sign", "gradient"):
        raise ValueError(
            f"There is no rule for tables under update={update!r}, but for 'sign' and 'gradient': "
            "give them an optimizer of their own, with optax.multi_transform."
        )
    if update not in get_args(Update):
        raise ValueError(
            f"update is {update!r}; take 'sign' (for Adam and Lion), 'gradient' (for SGD), "
            "'relative' (for LAMB and Adafactor) or 'orthogonal' (for Muon)."
        )
    if isinstance(gain, int | float) and not 0 < gain < math.inf:
        raise ValueError(
            f"gain is {gain}, but must be above 0 and finite: 1 is the rule as it is. To train "
            "without it, leave scale_factor_updates out."
        )


def _scales(term: Sequence[Factor], usual_variance: float) -> Float[Array, " factors"]:
    """Returns the root-mean-square entry of every factor.

    Factors that are all zeros (the layer starts from a kernel of zeros) get the scale with which
    the entries of a single product would have the ``usual_variance``.
    """
    squares = jnp.stack([jnp.mean(jnp.square(f.array.astype(jnp.float32))) for f in term])
    rest = jnp.prod(jnp.where(squares > 0, squares, 1.0))
    share = (usual_variance / rest) ** (1 / jnp.maximum(1, jnp.sum(squares == 0)))
    return jnp.sqrt(jnp.where(squares > 0, squares, share))
