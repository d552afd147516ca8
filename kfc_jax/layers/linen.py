"""Flax linen layers that stand where ``nn.Dense`` stood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import PromoteDtypeFn, default_kernel_init
from flax.typing import DotGeneralT, Dtype, PrecisionLike
from jax.nn.initializers import Initializer
from jaxtyping import Array, Inexact, Num

from kfc_jax.layers.initializers import RANK, KernelDraw, factor_initializer
from kfc_jax.product import kernel_matmul
from kfc_jax.structures import (
    KroneckerStructure,
    KroneckerTerm,
    LayerStructure,
    LowRankStructure,
)


def make_arrays(
    layer: nn.Module,
    structure: LayerStructure,
    initializers: Mapping[str, Initializer],
    dtype: Dtype,
) -> dict[str, Array | np.ndarray]:
    """Returns the arrays of a layer's kernel by their names, its parameters."""
    return {
        # Of one that is there, Flax looks at the shape alone.
        name: layer.param(
            name,
            nn.initializers.zeros if layer.has_variable("params", name) else initializers[name],
            shape,
            dtype,
        )
        for name, shape in structure.array_shapes.items()
    }


class FactoredDense(nn.Module):
    """The base of layers that stand where ``nn.Dense`` stood, with all its fields.

    A subclass says how the kernel is stored (`resolve_structure`), how its arrays are initialised
    (`array_initializers`), and how inputs are multiplied by them (`multiply`). These are no calls
    of the layer: Flax does not intercept them, nor list them in its tables.

    Attributes:
      features: the number of output features; this and the other fields have the names, the order,
        the defaults and the meanings of those of ``nn.Dense``.
    """

    features: int
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()
    promote_dtype: PromoteDtypeFn = promote_dtype
    dot_general: DotGeneralT | None = None
    dot_general_cls: Any = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Keeps Flax from taking what a subclass defines for calls of the layer."""
        for name in ("resolve_structure", "array_initializers", "multiply"):
            if name in cls.__dict__:
                nn.nowrap(cls.__dict__[name])
        super().__init_subclass__(**arguments)

    @nn.nowrap
    def resolve_structure(self, inputs: int) -> LayerStructure:
        """Returns how the kernel of ``(inputs, features)`` is stored.

        Raises:
          ValueError: if the layer's fields do not fit the size.
        """
        raise NotImplementedError

    @nn.nowrap
    def array_initializers(self, structure: LayerStructure) -> Mapping[str, Initializer]:
        """Returns the initialisers of the arrays by their names, for one initialisation."""
        raise NotImplementedError

    @nn.nowrap
    def multiply(
        self,
        inputs: Num[Array | np.ndarray, "*batch inputs"],
        structure: LayerStructure,
        arrays: Mapping[str, Array],
    ) -> Inexact[Array, "*batch features"]:
        """Returns ``inputs @ kernel`` for the kernel that the arrays stand for."""
        return kernel_matmul(
            structure,
            inputs,
            arrays,
            precision=self.precision,
            dot_general=self._dot_general_replacement(),
        )

    @nn.compact
    def __call__(
        self, inputs: Num[Array | np.ndarray, "*batch inputs"]
    ) -> Inexact[Array, "*batch features"]:
        """Returns ``inputs @ kernel + bias``.

        Raises:
          ValueError: at trace time, if the structure does not fit the inputs and features.
        """
        structure = self.resolve_structure(jnp.shape(inputs)[-1])
        arrays = make_arrays(self, structure, self.array_initializers(structure), self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        promote: Any = self.promote_dtype  # of NumPy arrays, too
        promoted = {n: promote(inputs, a, bias, dtype=self.dtype) for n, a in arrays.items()}
        x, _, bias = next(iter(promoted.values()))
        by_name = {name: array for name, (_, array, _) in promoted.items()}
        outputs = self.multiply(x, structure, by_name)
        return outputs if bias is None else outputs + bias

    @nn.nowrap
    def _dot_general_replacement(self) -> DotGeneralT | None:
        """Returns what replaces ``lax.dot_general``; of a class, one instance per product."""
        if self.dot_general_cls is not None:
            return lambda *args, **kwargs: self.dot_general_cls()(*args, **kwargs)
        return self.dot_general


class KFCDense(FactoredDense):
    """A dense layer whose kernel is a sum of Kronecker products of small factors.

    It takes the place of ``nn.Dense`` with no other change: every field of ``nn.Dense`` is there,
    with the same name, order, default and meaning. The kernel is stored and multiplied factor by
    factor (Zhou & Wu, arXiv 1507.05775, section 3).

    Example::

      >>> import jax, jax.numpy as jnp
      >>> from kfc_jax import KFCDense
      >>> layer = KFCDense(features=1024, structure="8:28x32*28x32")
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 784)))
      >>> jax.tree.map(jnp.shape, variables)["params"]
      {'bias': (1024,), 'kernel_0_0': (8, 28, 32), 'kernel_0_1': (8, 28, 32)}

    Its parameters are the factors, one array ``(rank, n_k, m_k)`` for each factor of each term, and
    the bias.

    Attributes:
      features: number of output features.
      use_bias: whether to add a bias to the output.
      dtype: type of the computation (default: inferred from input and parameters).
      param_dtype: type of the parameters.
      precision: numerical precision, see ``jax.lax.Precision``.
      kernel_init: initialiser of a dense kernel; the factors' product takes over its variance (see
        ``kfc_jax.layers.initializers``).
      bias_init: initialiser of the bias.
      promote_dtype: function that brings ``(inputs, factor, bias)`` to one type, called as in
        ``nn.Dense``, once for every factor.
      dot_general: replacement for ``jax.lax.dot_general``, used for every product, one factor
        after the other.
      dot_general_cls: class of such replacements; one instance is made for every product.
      structure: the kernel's structure, a single term, or its text form. Default: one balanced term
        for the input that the layer sees, from ``rank`` and ``num_factors``.
      rank: rank of the balanced term. Default: 8, less for small layers.
      num_factors: number of factors of the balanced term.
      strategy: how to multiply by the factors, one of ``kfc_jax.product.STRATEGIES``.
        Default: what is predicted to be fastest for the batch and the platform.
    """

    structure: KroneckerStructure | KroneckerTerm | str | None = None
    rank: int | None = None
    num_factors: int = 2
    strategy: str = "auto"

    def resolve_structure(self, inputs: int) -> KroneckerStructure:
        """Returns the structure for a kernel of ``(inputs, features)``.

        Raises:
          ValueError: if the structure does not fit, or is given together with a rank.
        """
        if self.structure is None:
            return KroneckerStructure.balanced(inputs, self.features, self.rank, self.num_factors)
        if self.rank is not None:
            raise ValueError(
                f"KFCDense got structure='{self.structure}' and rank={self.rank}: the structure "
                "already holds its ranks, so leave rank out."
            )
        structure = self.structure
        if isinstance(structure, str):
            structure = KroneckerStructure.parse(structure)
        elif isinstance(structure, KroneckerTerm):
            structure = KroneckerStructure((structure,))
        if not isinstance(structure, KroneckerStructure):
            raise ValueError(
                f"KFCDense got structure={structure!r}; give a KroneckerStructure, a "
                "KroneckerTerm, or a text such as '8:28x32*28x32'."
            )
        return structure.fit(inputs, self.features)

    def array_initializers(self, structure: LayerStructure) -> Mapping[str, Initializer]:
        """Returns the initialisers of the factors, see ``kfc_jax.layers.initializers``."""
        assert isinstance(structure, KroneckerStructure)
        draw = KernelDraw(self.kernel_init)
        return {
            name: factor_initializer(draw, structure, t, k)
            for t, term in enumerate(structure.terms_of(structure.array_shapes))
            for k, name in enumerate(term)
        }

    def multiply(
        self,
        inputs: Num[Array | np.ndarray, "*batch inputs"],
        structure: LayerStructure,
        arrays: Mapping[str, Array],
    ) -> Inexact[Array, "*batch features"]:
        """Returns ``inputs @ kernel``, factor by factor."""
        assert isinstance(structure, KroneckerStructure)
        return kernel_matmul(
            structure,
            inputs,
            arrays,
            precision=self.precision,
            dot_general=self._dot_general_replacement(),
            strategy=self.strategy,
        )


class LowRankDense(FactoredDense):
    """A dense layer whose kernel is a product of two thin matrices: the SVD baseline.

    Example::

      >>> import jax, jax.numpy as jnp
      >>> from kfc_jax import LowRankDense
      >>> layer = LowRankDense(features=500, rank=3)
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 800)))
      >>> jax.tree.map(jnp.shape, variables)["params"]
      {'bias': (500,), 'kernel_u': (800, 3), 'kernel_v': (3, 500)}

    Attributes:
      features: number of output features; this and the other fields of ``nn.Dense`` are as in
        ``KFCDense``.
      rank: the number of columns of the first matrix and of rows of the second. Default: 8, or a
        lower one with which the layer has at most half as many parameters as a dense one.
    """

    rank: int | None = None

    def resolve_structure(self, inputs: int) -> LowRankStructure:
        """Returns the structure for a kernel of ``(inputs, features)``.

        Raises:
          ValueError: if the rank is below 1 or above the kernel's smaller side.
        """
        if self.rank is None:
            return LowRankStructure.of_default_rank(inputs, self.features)
        return LowRankStructure(inputs, self.features, self.rank)

    def array_initializers(self, structure: LayerStructure) -> Mapping[str, Initializer]:
        """Returns the initialisers of the two matrices.

        A low-rank kernel is a sum of Kronecker products of columns and rows, so that the scale is
        that of factors. Each matrix has the partitioning name of the kernel axis that it shares.
        """
        assert isinstance(structure, LowRankStructure)
        shape = ((structure.inputs, 1), (1, structure.features))
        columns_and_rows = KroneckerStructure((KroneckerTerm(shape, structure.rank),))
        draw = KernelDraw(self.kernel_init)
        kernel_axes = ((0, RANK), (RANK, 1))
        return {
            name: factor_initializer(draw, columns_and_rows, 0, k, kernel_axes=kernel_axes[k])
            for k, name in enumerate(structure.array_shapes)
        }
