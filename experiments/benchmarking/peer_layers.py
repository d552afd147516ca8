"""Other libraries' layers on the same work: ``x`` times a sum of Kronecker products.

Every builder takes the arrays as NumPy has them and returns a function that does the work and
returns ``y``; for the training pass it also computes the gradients by inputs and parameters. The
libraries are imported only here, inside the functions.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class PeerWork:
    """The arrays of a case.

    Attributes:
      x: inputs `(batch, inputs)`.
      a: first factors `(rank, n1, m1)`.
      b: second factors `(rank, n2, m2)`.
      features: columns of the result; the product's may be more, then it is cut off.
      g: gradient of the result `(batch, features)`; None for the forward pass.
    """

    x: np.ndarray
    a: np.ndarray
    b: np.ndarray
    features: int
    g: np.ndarray | None

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows and columns of the product, padding included."""
        return self.a.shape[1] * self.b.shape[1], self.a.shape[2] * self.b.shape[2]

    def expected_row(self) -> np.ndarray:
        """Returns the first row of the result."""
        x = np.zeros(self.sizes[0], np.float32)
        x[: self.x.shape[1]] = self.x[0]
        x = x.reshape(self.a.shape[1], self.b.shape[1])
        row = sum(a.T @ x @ b for a, b in zip(self.a, self.b, strict=True))
        return row.reshape(-1)[: self.features]


Call = Callable[[], Any]


def version(peer: str) -> str:
    """Returns the version of a peer's package, which is imported.

    Raises:
      ImportError: if it cannot be.
    """
    module = importlib.import_module(PEERS[peer].module)
    package = PEERS[peer].package
    if peer == EARLIER:
        assert module.__file__
        return f"{package} of revision {Path(module.__file__).parents[1].name}"
    return f"{package} {importlib.metadata.version(package)}"


def _torch_dense(work: PeerWork) -> Call:
    import torch

    kernel = sum(np.kron(a, b) for a, b in zip(work.a, work.b, strict=True))
    kernel = torch.tensor(kernel[: work.x.shape[1], : work.features], requires_grad=True)
    return _torch_call(work, [kernel], lambda x: x @ kernel)


def _fastkron(work: PeerWork) -> Call:
    from pyfastkron import fastkronnumpy

    x = np.pad(work.x, ((0, 0), (0, work.sizes[0] - work.x.shape[1])))
    pairs = [list(map(np.ascontiguousarray, pair)) for pair in zip(work.a, work.b, strict=True)]

    def call() -> np.ndarray:
        y = fastkronnumpy.gemkm(x, pairs[0])
        for pair in pairs[1:]:  # it multiplies by one product; the sum goes on in its result
            y = fastkronnumpy.gemkm(x, pair, 1.0, 1.0, y)
        return y[:, : work.features]

    return call


def _lycoris(work: PeerWork) -> Call:
    import torch
    from lycoris.modules.lokr import LokrModule

    def layer(a: Any, b: Any) -> Any:
        base = torch.nn.Linear(*work.sizes, bias=False, device="meta")
        lokr = LokrModule("lokr", base, lora_dim=max(work.sizes), full_matrix=True)
        lokr.lokr_w1, lokr.lokr_w2 = a, b
        return lokr.bypass_forward_diff

    return _adapters(work, layer)


def _peft(work: PeerWork) -> Call:
    import torch
    from peft import LoKrConfig
    from peft.tuners.lokr.layer import Linear

    def layer(a: Any, b: Any) -> Any:
        base = torch.nn.Linear(*work.sizes, bias=False, device="meta")
        rank = max(work.sizes)  # so high that both factors are whole; alpha alike: no scaling
        lokr = Linear(base, "default", LoKrConfig(), r=rank, alpha=rank)
        lokr.lokr_w1["default"], lokr.lokr_w2["default"] = a, b
        return functools.partial(lokr._get_delta_activations, "default")

    return _adapters(work, layer)


def _adapters(work: PeerWork, layer: Callable[[Any, Any], Any]) -> Call:
    """Sums layers of one product each: these libraries' layers have no sums of products."""
    import torch

    parameters, layers = [], []
    for a, b in zip(work.a, work.b, strict=True):
        pair = [torch.nn.Parameter(torch.tensor(np.ascontiguousarray(f.T))) for f in (a, b)]
        parameters += pair
        layers.append(layer(*pair))
    return _torch_call(work, parameters, _fitted(work, lambda x: sum(each(x) for each in layers)))


def _tensorly(work: PeerWork) -> Call:
    import tltorch
    import torch

    rank, n1, m1 = work.a.shape
    _, n2, m2 = work.b.shape
    linear = tltorch.FactorizedLinear(  # a tensor train of two matrices is such a sum of products
        (n1, n2), (m1, m2), factorization="blocktt", rank=rank, bias=False
    )
    first, second = linear.weight.factors
    first.data = torch.tensor(np.ascontiguousarray(work.a.transpose(2, 1, 0)[None]))
    second.data = torch.tensor(np.ascontiguousarray(work.b.transpose(0, 2, 1)[..., None]))
    return _torch_call(work, [first, second], _fitted(work, linear))


def _fitted(work: PeerWork, forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Makes a layer of the product's size one of the case's: pads inputs, cuts off features."""
    from torch.nn import functional

    padding = work.sizes[0] - work.x.shape[1]
    if (padding, work.features) == (0, work.sizes[1]):
        return forward
    return lambda x: forward(functional.pad(x, (0, padding)))[:, : work.features]


def _torch_call(work: PeerWork, parameters: Sequence[Any], forward: Callable[[Any], Any]) -> Call:
    import torch

    x = torch.tensor(work.x, requires_grad=work.g is not None)
    if work.g is None:

        def call() -> Any:
            with torch.no_grad():
                return forward(x)

        return call
    g = torch.tensor(work.g)

    def call_with_gradients() -> Any:
        y = forward(x)
        torch.autograd.grad(y, [x, *parameters], g)
        return y.detach()

    return call_with_gradients


def _earlier(work: PeerWork) -> Call:
    import jax

    import kfc_jax

    # Before version 0.2 the class had another name.
    kind = getattr(kfc_jax, "KroneckerStructure", None) or kfc_jax.KroneckerSum
    term = kfc_jax.KroneckerTerm((work.a.shape[1:], work.b.shape[1:]), len(work.a))
    structure = kind((term,), work.x.shape[1], work.features)

    def product(x: Any, a: Any, b: Any) -> Any:
        return kfc_jax.kronecker_matmul(x, [[a, b]], structure=structure)

    def with_gradients(x: Any, a: Any, b: Any, g: Any) -> Any:
        y, transpose = jax.vjp(product, x, a, b)
        return y, transpose(g)

    arrays = [jax.numpy.asarray(array) for array in (work.x, work.a, work.b)]
    function = product
    if work.g is not None:
        function, arrays = with_gradients, [*arrays, jax.numpy.asarray(work.g)]
    compiled = jax.jit(function).lower(*arrays).compile()

    def call() -> Any:
        result = jax.block_until_ready(compiled(*arrays))
        return result if work.g is None else result[0]

    return call


@dataclasses.dataclass(frozen=True)
class Peer:
    """A layer of another library.

    Attributes:
      package: on the package index.
      module: to import.
      build: makes the function to time.
      trains: whether the training pass is compared too.
    """

    package: str
    module: str
    build: Callable[[PeerWork], Call]
    trains: bool = True


EARLIER = "earlier"

PEERS = {
    "torch_dense": Peer("torch", "torch", _torch_dense),
    "fastkron": Peer("pyfastkron", "pyfastkron", _fastkron, trains=False),
    "lycoris": Peer("lycoris-lora", "lycoris.modules.lokr", _lycoris),
    "peft": Peer("peft", "peft.tuners.lokr", _peft),
    "tensorly": Peer("tensorly-torch", "tltorch", _tensorly),
    EARLIER: Peer("kfc_jax", "kfc_jax", _earlier),
}
"""By name: PyTorch's dense product, FastKron, LyCORIS' LoKr (bypass: the kernel is not formed),
PEFT's LoKr (the kernel is formed), TensorLy-Torch's factorised layer (a block tensor train), and
this library at an earlier revision."""

LIBRARIES = tuple(name for name in PEERS if name != EARLIER)
