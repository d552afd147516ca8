"""A model's arrays with the structures of its layers, in one file of the format safetensors."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kfc_jax.compress.layer_arrays import kernel_arrays, planned_arrays, structure_of_layer
from kfc_jax.compress.parameter_trees import leaves_of_layers
from kfc_jax.compress.plan import CompressionPlan, LayerPlan, Structures, structures_of
from kfc_jax.structures import DenseStructure, LayerStructure, layer_kinds

_FORMAT_VERSION = 1
_ENTRY = "kfc_jax"
"""The entry of the metadata: one, with all of it as JSON.

Several would come in another order every time, and the same model would be other bytes.
"""

_LAYOUT = ("name", "shape", "stack", "rows", "is_table")
"""The fields of a `LayerPlan` that say how the model stores a kernel."""

_AGAIN = "Write or fetch the file again."

_TYPES = {
    *("bool", "float16", "float32", "float64", "bfloat16"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model's variables and what its layers are made of, saved and loaded together.

    The file is of the format `safetensors`, which other programs read, too, and which holds no
    code. Every array is in it by its path, such as ``params/fc1/kernel_0_0``, bit by bit; the
    structures' kinds and text forms are in its metadata. The same checkpoint always gives the same
    bytes. It needs the package of that name: ``pip install 'kfc-jax[safetensors]'``.

    Example::

      >>> import os, tempfile
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from kfc_jax import CompressedModel, convert
      >>> from kfc_jax.compress import Checkpoint
      >>> model, x = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)]), jnp.ones((8, 48))
      >>> structures = {"layers_0": "2:6x8*8x8"}
      >>> params, _ = convert(model.init(jax.random.key(0), x)["params"], structures)
      >>> path = os.path.join(tempfile.mkdtemp(), "small.safetensors")
      >>> Checkpoint({"params": params}, structures).save(path)
      >>> loaded = Checkpoint.load(path)
      >>> CompressedModel(model, loaded.structures).apply(loaded.variables, x).shape
      (8, 10)

    Attributes:
      variables: the model's variables as Flax has them: dictionaries of arrays, ``params`` and
        perhaps others, such as ``batch_stats``. Empty ones are not saved.
      structures: a `CompressionPlan`, or the structures by the layers' paths in ``params``, as
        `convert` and `CompressedModel` take them. Layers that are not named have no factors.
      metadata: what else is to be kept, in values that JSON has.

    Raises:
      ValueError: if there are no ``params``, a layer does not have the arrays of its structure, or
        has factors and there is no structure for it.
    """

    variables: Mapping[str, Any]
    structures: Structures = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._checked_structures()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file.

        Raises:
          ValueError, ModuleNotFoundError: as `to_bytes`.
          OSError: if the file cannot be written.
        """
        Path(path).write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Returns the content of the file.

        Raises:
          ValueError: if a variable is no array, is of a type that the file cannot hold, or has a
            name with a ``/`` in it.
          ModuleNotFoundError: if safetensors is not installed.
        """
        arrays = {name: _array(name, leaf) for name, leaf in _leaves(self.variables)}
        content = {
            "format_version": _FORMAT_VERSION,
            "structures": {
                path: {
                    "kind": structure.kind,
                    "structure": str(structure),
                    **_layout_of(self.structures, path),
                }
                for path, structure in self._checked_structures().items()
            },
            "metadata": dict(self.metadata),
        }
        return _safetensors().numpy.save(arrays, {_ENTRY: json.dumps(content)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Reads a file that `save` wrote; its arrays are of NumPy, its structures texts by path.

        They are a plan if the model stores a kernel otherwise than as one matrix.

        Raises:
          ValueError: naming the file, if it is no safetensors file, not a whole one, without
            structures, of a newer format or of kinds that are not known here, or if its arrays are
            not those of its structures.
          OSError: if the file is not there or cannot be read.
          ModuleNotFoundError: if safetensors is not installed.
        """
        safetensors = _safetensors()
        Path(path).open("rb").close()  # its errors name the file
        try:
            with safetensors.safe_open(os.fspath(path), framework="np") as file:
                entry = (file.metadata() or {}).get(_ENTRY)
                names = file.keys() if entry else ()
                arrays = {name: file.get_tensor(name) for name in names}
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is no whole safetensors file ({error}). {_AGAIN}") from error
        if not entry:
            raise ValueError(
                f"{path} is a safetensors file without the structures of layers: its metadata has "
                f"no {_ENTRY!r}. Take one that kfc_jax.compress.Checkpoint saved; "
                "safetensors.numpy.load_file reads arrays alone."
            )
        texts, plans, kinds, metadata = _read_entry(path, entry)
        try:
            tree = _tree(arrays)
            loaded = cls(tree, _structures(tree, texts, plans), metadata)
            found = {layer: its.kind for layer, its in loaded._checked_structures().items()}
            if found != kinds:
                raise ValueError(f"Its layers are of the kinds {found}, and it says {kinds}.")
        except ValueError as error:
            raise ValueError(f"{path} contradicts itself. {error} {_AGAIN}") from error
        return loaded

    def _checked_structures(self) -> dict[str, LayerStructure]:
        """Returns the structures by path, and raises as the class says."""
        params = self.variables.get("params")
        if not isinstance(params, Mapping):
            raise ValueError(
                "A model's variables have 'params', but these have "
                f"{', '.join(map(str, self.variables)) or 'nothing'}: of parameters make "
                '{"params": params}.'
            )
        layers = {path: arrays for path, (_, arrays) in leaves_of_layers(params)}
        found = {}
        planned = {}
        if isinstance(self.structures, CompressionPlan):
            planned = {its.path: its for its in self.structures.layers if its.shape}
        for path, text in structures_of(self.structures).items():
            if path not in layers:
                raise ValueError(
                    f"The parameters have no layer {path!r}; they have "
                    f"{', '.join(layers) or 'none'}."
                )
            if path in planned and planned[path].method != DenseStructure.kind:
                planned_arrays(planned[path], layers[path])
                found[path] = planned[path].kernel
            elif path in planned:
                found[path] = planned[path].kernel
            else:
                found[path] = structure_of_layer(path, layers[path], text)
        for path, arrays in layers.items():
            factors = kernel_arrays(arrays).keys() - {DenseStructure.parameter}
            if factors and path not in found:
                raise ValueError(
                    f"Layer {path!r} has {', '.join(sorted(factors))}, which mean nothing without "
                    "their structure: give it in structures."
                )
        return found


def _layout_of(structures: Structures, path: str) -> dict[str, Any]:
    """Returns how a layer's kernel lies in its array, if it is no matrix of its own."""
    plans = structures.layers if isinstance(structures, CompressionPlan) else ()
    its = next((its for its in plans if its.path == path and its.shape), None)
    return {} if its is None else {"layout": {field: getattr(its, field) for field in _LAYOUT}}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields what is in nested dictionaries, by its path."""
    for key, value in ((str(key), value) for key, value in tree.items()):
        if not key or "/" in key:
            raise ValueError(
                f"{key!r} in {prefix or 'the variables'} is no name in a file: take one without "
                "'/', which stands between names."
            )
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _array(name: str, leaf: Any) -> np.ndarray:
    """Returns an array as NumPy's, and as safetensors wants it."""
    dtype = getattr(getattr(leaf, "dtype", None), "name", None)
    if dtype not in _TYPES:
        raise ValueError(
            f"{name} is of type {dtype or type(leaf).__name__}; a file takes arrays of "
            f"{', '.join(sorted(_TYPES))}. (Boxes around arrays: flax.linen.unbox.)"
        )
    # In C's order: of others the entries come back in other places (safetensors issue 825).
    return np.asarray(leaf, order="C")


def _tree(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns variables of arrays by their paths."""
    tree: dict[str, Any] = {"params": {}}
    for path, array in arrays.items():
        *keys, last = path.split("/")
        place = tree
        for key in keys:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ValueError(f"{path} lies inside another array.")
        if last in place:
            raise ValueError(f"{path} is an array and has others inside.")
        place[last] = array
    return tree


def _read_entry(
    path: str | os.PathLike[str], entry: str
) -> tuple[dict[str, str], dict[str, LayerPlan], dict[str, str], dict[str, Any]]:
    """Returns the texts, layouts and kinds of structures by path, and the metadata of a file.

    Raises:
      ValueError: naming the file, if they cannot be read, are of another version, or a kind is not
        known here.
    """
    try:
        content = json.loads(entry)
        if (version := content["format_version"]) == _FORMAT_VERSION:
            layers, metadata = content["structures"], dict(content["metadata"])
            texts = {layer: str(its["structure"]) for layer, its in layers.items()}
            layouts = {layer: its["layout"] for layer, its in layers.items() if "layout" in its}
            kinds = {layer: str(its["kind"]) for layer, its in layers.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} has metadata that cannot be read ({type(error).__name__}: {error}). {_AGAIN}"
        ) from error
    if version != _FORMAT_VERSION:
        raise ValueError(
            f"{path} is of version {version} of the format, and this kfc_jax reads version "
            f"{_FORMAT_VERSION}: take the kfc_jax that wrote it, or a newer one."
        )
    for layer, kind in kinds.items():
        if kind not in layer_kinds():
            raise ValueError(
                f"{path} has a layer {layer!r} of kind {kind!r}, which is none of "
                f"{', '.join(layer_kinds())}: import the module that defines it first."
            )
    try:
        plans = {layer: _with_layout(layer, texts[layer], its) for layer, its in layouts.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} has a layout that cannot be read ({error}). {_AGAIN}") from error
    return texts, plans, kinds, metadata


def _structures(
    tree: Mapping[str, Any], texts: Mapping[str, str], plans: Mapping[str, LayerPlan]
) -> Structures:
    """Returns the texts of structures by path, or a plan where kernels lie otherwise."""
    if not plans:
        return texts
    layers = dict(leaves_of_layers(tree["params"]))
    whole = []
    for path, text in texts.items():
        if path not in plans:
            its = structure_of_layer(path, layers[path][1] if path in layers else {}, text)
            whole.append(LayerPlan(path, its.inputs, its.features, str(its)))
        else:
            whole.append(plans[path])
    return CompressionPlan(tuple(whole))


def _with_layout(path: str, text: str, layout: Mapping[str, Any]) -> LayerPlan:
    """Returns what became of a layer, from its text and layout in a file."""
    name, shape, stack, rows, is_table = (layout[field] for field in _LAYOUT)
    columns = [axis for axis in range(len(shape)) if axis not in (*stack, *rows)]
    inputs, features = (math.prod(int(shape[axis]) for axis in axes) for axes in (rows, columns))
    sizes = [tuple(map(int, values)) for values in (shape, stack, rows)]
    return LayerPlan(
        path,
        inputs,
        features,
        text,
        name=str(name),
        shape=sizes[0],
        stack=sizes[1],
        rows=sizes[2],
        is_table=bool(is_table),
    )


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Checkpoints are files of safetensors, which is not installed: "
            "pip install 'kfc-jax[safetensors]'."
        ) from error
    return safetensors
