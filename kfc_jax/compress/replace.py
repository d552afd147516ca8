"""Running a model that was written with `nn.Dense` on compressed parameters, without an edit."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Mapping
from typing import Any

import flax.linen as nn

from kfc_jax.compress.find_layers import leaves_of_layers
from kfc_jax.compress.plan import Structures, structures_of
from kfc_jax.layers import FactoredDense, layer_for
from kfc_jax.structures import DenseStructure, read_layer_structure

_FIELDS = (
    *("features", "use_bias", "dtype", "param_dtype", "precision", "kernel_init", "bias_init"),
    *("promote_dtype", "dot_general", "dot_general_cls"),
)


@dataclasses.dataclass(frozen=True)
class CompressedModel:
    """A model in which the layers of a plan are `KFCDense`, `LowRankDense` or of another kind.

    It has the model's ``init`` and ``apply``, with the same arguments. Its variables are those of
    the model, with factors where kernels were: those that `convert` returns, or new ones.

    Example::

      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from kfc_jax import CompressedModel, convert
      >>> model, x = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)]), jnp.ones((8, 48))
      >>> structures = {"layers_0": "2:6x8*8x8"}
      >>> params, _ = convert(model.init(jax.random.key(0), x)["params"], structures)
      >>> CompressedModel(model, structures).apply({"params": params}, x).shape
      (8, 10)

    Attributes:
      model: the model.
      structures: a `CompressionPlan`, or the structures by the layers' paths.
    """

    model: nn.Module
    structures: Structures

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Returns new variables, as ``model.init`` does.

        Raises:
          ValueError: if a structure is for a layer that the model does not have.
        """
        with replace_dense(self.structures):
            variables = self.model.init(*args, **kwargs)
        if "method" not in kwargs:  # else some layers may rightly be left out
            self._check_all_replaced(variables.get("params", {}))
        return variables

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model, as ``model.apply`` does."""
        with replace_dense(self.structures):
            return self.model.apply(*args, **kwargs)

    def _check_all_replaced(self, params: Mapping[str, Any]) -> None:
        # By the arrays: a function that is compiled already is not traced again.
        layers = {path: arrays for path, (_, arrays) in leaves_of_layers(params)}
        for path, text in structures_of(self.structures).items():
            kernel = DenseStructure.parameter
            if text != DenseStructure.kind and kernel in layers.get(path, {kernel: None}):
                dense = {path: arrays for path, arrays in layers.items() if kernel in arrays}
                raise ValueError(
                    f"The model calls no dense layer {path!r}, for which there is the structure "
                    f"'{text}'; it has {', '.join(dense) or 'none that is left'}."
                )


@contextlib.contextmanager
def replace_dense(structures: Structures) -> Generator[None]:
    """Within it, every `nn.Dense` that a structure is given for is the compressed layer.

    For what `CompressedModel` does not do. It acts while Flax calls the modules: under ``jit``,
    while the function is traced. So put it inside the function that is jitted.

    Args:
      structures: a `CompressionPlan`, or the structures by the layers' paths.

    Raises:
      ValueError: where a structure is for a module that is not dense, or does not fit.
    """
    texts = {
        path: text
        for path, text in structures_of(structures).items()
        if text != DenseStructure.kind
    }

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        path = "/".join(module.path)
        if path not in texts or context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, FactoredDense):  # the replacement itself
            return call(*args, **kwargs)
        if not isinstance(module, nn.Dense):
            raise ValueError(
                f"The plan gives layer {path!r} the structure '{texts[path]}', but it is a "
                f"{type(module).__name__}, not an nn.Dense: leave it out of the plan (exclude)."
            )
        fields = {name: getattr(module, name) for name in _FIELDS}
        # In the very scope of the layer that it stands for, so that the parameters' path stays.
        fields["parent"] = module.scope
        inputs = (args[0] if args else kwargs["inputs"]).shape[-1]
        structure = read_layer_structure(texts[path], inputs, module.features)
        return layer_for(structure, **fields)(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield
