"""Flax NNX layers that stand where ``nnx.Linear`` stood.

How a kernel is stored, initialised and multiplied is the linen layer's to say: each layer here asks
the linen layer of the same fields, and keeps the parameters.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from flax.nnx.nn.linear import default_bias_init, default_kernel_init
from flax.typing import DotGeneralT, Dtype, PrecisionLike
from jax.nn.initializers import Initializer
from jaxtyping import Array, Inexact, Num

from kfc_jax.layers import BlockDiagonalDense, FactoredDense, KFCDense, LowRankDense
from kfc_jax.nnx.parameters import NO_METADATA, add_kernel, arrays_of
from kfc_jax.structures import BlockDiagonalStructure, KroneckerStructure, KroneckerTerm

# That of NNX itself: another may stand in the place of JAX's while this is imported.
_DOT_GENERAL: Any = inspect.signature(nnx.Linear.__init__).parameters["dot_general"].default


# Parameters are attributes besides the fields, and layers are told apart by identity, as in NNX.
@dataclasses.dataclass(eq=False, repr=False)
class FactoredLinear(nnx.Module):
    """The base of layers that stand where ``nnx.Linear`` stood, with all its fields.

    A subclass says which linen layer has its kernel (`linen_layer`).

    Attributes:
      in_features: the number of input features; this and the other fields have the names, the
        order, the defaults and the meanings of those of ``nnx.Linear``.
      kernel_structure: how the kernel is stored; it follows from the fields.
    """

    in_features: int
    out_features: int
    _: dataclasses.KW_ONLY
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: dataclasses.InitVar[Initializer] = default_kernel_init
    bias_init: dataclasses.InitVar[Initializer] = default_bias_init
    dot_general: DotGeneralT = _DOT_GENERAL
    promote_dtype: Callable[..., Any] = promote_dtype
    preferred_element_type: Dtype | None = None
    rngs: dataclasses.InitVar[nnx.Rngs]
    kernel_metadata: dataclasses.InitVar[Mapping[str, Any]] = NO_METADATA
    bias_metadata: dataclasses.InitVar[Mapping[str, Any]] = NO_METADATA

    def __post_init__(
        self,
        kernel_init: Initializer,
        bias_init: Initializer,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any],
        bias_metadata: Mapping[str, Any],
    ) -> None:
        self.kernel_structure = self.linen_layer().resolve_structure(self.in_features)
        add_kernel(
            self,
            self.kernel_structure,
            lambda init: self.linen_layer(kernel_init=init).array_initializers(
                self.kernel_structure
            ),
            kernel_init,
            dtype=self.param_dtype,
            key=rngs.params(),
            metadata=kernel_metadata,
        )
        self.bias = nnx.data(None)
        if self.use_bias:
            bias = bias_init(rngs.params(), (self.out_features,), self.param_dtype)
            self.bias = nnx.Param(bias, **bias_metadata)

    def linen_layer(self, **fields: Any) -> FactoredDense:
        """Returns the linen layer with this kernel; ``fields`` are further ones of it.

        Raises:
          ValueError: if the layer's fields do not fit the size.
        """
        raise NotImplementedError

    def __call__(
        self,
        inputs: Num[Array | np.ndarray, "*batch in_features"],
        out_sharding: Any = None,
    ) -> Inexact[Array, "*batch out_features"]:
        """Returns ``inputs @ kernel + bias``.

        Args:
          inputs: the inputs.
          out_sharding: how the outputs shall lie over a mesh with explicit axes.

        Raises:
          ValueError: if the inputs are not those of the kernel.
        """
        bias = None if self.bias is None else self.bias[...]
        promote: Any = self.promote_dtype  # of NumPy arrays, too
        promoted = {
            name: promote((inputs, array, bias), dtype=self.dtype)
            for name, array in arrays_of(self, self.kernel_structure).items()
        }
        x, _, bias = next(iter(promoted.values()))
        arrays = {name: array for name, (_, array, _) in promoted.items()}
        if self.preferred_element_type is not None:
            # What a product of two arrays would sum in, all the products of factors are done in.
            dtype = jnp.promote_types(x.dtype, self.preferred_element_type)
            x = x.astype(dtype)
            arrays = {name: array.astype(dtype) for name, array in arrays.items()}
        is_replaced = self.dot_general is not _DOT_GENERAL
        layer = self.linen_layer(
            precision=self.precision, dot_general=self.dot_general if is_replaced else None
        )
        outputs = layer.multiply(x, self.kernel_structure, arrays)
        if self.preferred_element_type is not None:
            outputs = outputs.astype(self.preferred_element_type)
        if out_sharding is not None:
            outputs = jax.sharding.reshard(outputs, out_sharding)
        return outputs if bias is None else outputs + bias


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class KFCLinear(FactoredLinear):
    """A linear layer whose kernel is a sum of Kronecker products of small factors.

    It takes the place of ``nnx.Linear`` with no other change, as ``kfc_jax.KFCDense`` takes that of
    ``nn.Dense``. Its parameters are those of a ``KFCDense``, with the same names.

    Example::

      >>> import jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> from kfc_jax.nnx import KFCLinear
      >>> layer = KFCLinear(784, 1024, structure="8:28x32*28x32", rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 784))).shape
      (1, 1024)
      >>> {name: p.shape for name, p in nnx.to_pure_dict(nnx.state(layer)).items()}
      {'bias': (1024,), 'kernel_0_0': (8, 28, 32), 'kernel_0_1': (8, 28, 32)}

    Attributes:
      in_features: number of input features.
      out_features: number of output features.
      use_bias: whether to add a bias to the output.
      dtype: type of the computation (default: inferred from input and parameters).
      param_dtype: type of the parameters.
      precision: numerical precision, see ``jax.lax.Precision``.
      kernel_init: initialiser of a dense kernel; the factors' product takes over its variance (see
        ``kfc_jax.layers.initializers``).
      bias_init: initialiser of the bias.
      dot_general: replacement for ``jax.lax.dot_general``, used for every product, one factor
        after the other.
      promote_dtype: function that brings ``(inputs, factor, bias)`` to one type, called for every
        factor.
      preferred_element_type: type of the products and of the output before the bias.
      rngs: the keys; the layer takes as many as ``nnx.Linear`` does.
      kernel_metadata: metadata of all factors; names of the kernel's axes in ``out_sharding`` go to
        the factors as those of ``nnx.with_partitioning`` do.
      bias_metadata: metadata of the bias.
      structure: the kernel's structure, a single term, or its text form. Default: one balanced
        term, from ``rank`` and ``num_factors``.
      rank: rank of the balanced term. Default: 8, less for small layers.
      num_factors: number of factors of the balanced term.
      strategy: how to multiply by the factors, one of ``kfc_jax.product.STRATEGIES``.
        Default: what is predicted to be fastest for the batch and the platform.
    """

    structure: KroneckerStructure | KroneckerTerm | str | None = None
    rank: int | None = None
    num_factors: int = 2
    strategy: str = "auto"

    def linen_layer(self, **fields: Any) -> KFCDense:
        """Returns the ``KFCDense`` with this kernel."""
        return KFCDense(
            self.out_features,
            structure=self.structure,
            rank=self.rank,
            num_factors=self.num_factors,
            strategy=self.strategy,
            parent=None,
            **fields,
        )


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class LowRankLinear(FactoredLinear):
    """A linear layer whose kernel is a product of two thin matrices, as in a ``LowRankDense``.

    Attributes:
      in_features: number of input features; this and the other fields of ``nnx.Linear`` are as in
        ``KFCLinear``.
      rank: the number of columns of the first matrix and of rows of the second. Default: 8, or a
        lower one with which the layer has at most half as many parameters as a dense one.
    """

    rank: int | None = None

    def linen_layer(self, **fields: Any) -> LowRankDense:
        """Returns the ``LowRankDense`` with this kernel."""
        return LowRankDense(self.out_features, rank=self.rank, parent=None, **fields)


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class BlockDiagonalLinear(FactoredLinear):
    """A linear layer whose kernel has equal blocks on its diagonal, as in a ``BlockDiagonalDense``.

    Attributes:
      in_features: number of input features; this and the other fields of ``nnx.Linear`` are as in
        ``KFCLinear``, but that ``kernel_init`` is that of every block.
      structure: the kernel's structure, or its text form, ``blocks 4`` or ``blocks 4 interleaved``.
        It has to be given.
    """

    structure: BlockDiagonalStructure | str = ""

    def linen_layer(self, **fields: Any) -> BlockDiagonalDense:
        """Returns the ``BlockDiagonalDense`` with this kernel."""
        return BlockDiagonalDense(
            self.out_features, structure=self.structure, parent=None, **fields
        )
