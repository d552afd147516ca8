"""Models as functions of their parameters, in linen and nnx."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax.core import DenyList

from kfc_jax.compress.boxes import without_boxes


@dataclasses.dataclass(frozen=True)
class ModelFunction:
    """A model as a function of its parameters and inputs.

    Attributes:
      params: the parameters, without boxes.
      boxes: the boxes that were around them, by the paths of their arrays.
      rest: what else the model keeps, such as running averages: any tree of arrays.
      run: the function of ``(params, rest, *args, **kwargs)``.
    """

    params: Any
    boxes: Mapping[str, Any]
    rest: Any
    run: Callable[..., Any]

    @classmethod
    def of(cls, model: Any, variables: Any = None) -> ModelFunction:
        """Returns a model's function.

        Args:
          model: a linen module (or whatever has its ``apply``), an nnx module, or a function of
            ``(params, *args, **kwargs)``.
          variables: the variables of a linen module, ``{"params": ...}``, or the parameters that a
            function takes; an nnx module has its own.

        Raises:
          ValueError: if the variables are missing, or are not as said.
        """
        nnx = sys.modules.get("flax.nnx")  # who uses linen alone does not load it
        if nnx is not None and isinstance(model, nnx.Module):
            if variables is not None:
                raise ValueError("An nnx module has its parameters itself: leave variables out.")
            return cls._of_nnx(model)
        if variables is None:
            raise ValueError(
                f"The variables of {type(model).__name__} are missing: give those that "
                "model.init returned, or the parameters that the function takes."
            )
        if not hasattr(model, "apply"):
            function = lambda params, _, *args, **kw: model(params, *args, **kw)  # noqa: E731
            return cls(*without_boxes(variables), (), function)
        if not isinstance(variables, Mapping) or "params" not in variables:
            raise ValueError(
                "A model's variables have 'params', and these have "
                f"{', '.join(map(str, variables)) if isinstance(variables, Mapping) else 'none'}: "
                'of parameters make {"params": params}.'
            )
        rest = {name: value for name, value in variables.items() if name != "params"}

        def run(params: Any, rest: Any, *args: Any, **kwargs: Any) -> Any:
            return model.apply({"params": params, **rest}, *args, **parameters_stay(kwargs))

        return cls(*without_boxes(variables["params"]), rest, run)

    @classmethod
    def _of_nnx(cls, model: Any) -> ModelFunction:
        from flax import nnx

        graph, state, rest = nnx.split(model, nnx.Param, ...)

        def run(params: Any, rest: Any, *args: Any, **kwargs: Any) -> Any:
            ours = jax.tree.map(lambda leaf: leaf, state)
            nnx.replace_by_pure_dict(ours, params)
            return nnx.merge(graph, ours, rest)(*args, **kwargs)

        return cls(nnx.to_pure_dict(state), {}, rest, run)


def parameters_stay(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options of ``apply`` with which parameters are not among what is returned.

    ``mutable=True`` would return kernels as they are, as if the model did something with them.
    """
    is_all = options.get("mutable") is True
    return {**options, "mutable": DenyList("params")} if is_all else options


def arguments_of(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments that a batch is for a model.

    A tuple is several arguments, a dictionary is arguments by name, anything else is one argument.
    """
    if isinstance(batch, tuple) and not hasattr(batch, "_fields"):
        return batch, {}
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (batch,), {}
