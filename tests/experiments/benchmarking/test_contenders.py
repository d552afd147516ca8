import jax
import numpy as np
import pytest

from experiments.benchmarking.cases import Case
from experiments.benchmarking.contenders import (
    NAMES,
    contenders,
    einsum_flops,
    floor_seconds,
    floor_work,
    low_rank_matrices,
)
from kfc_jax import KroneckerStructure


def kernel_of(arrays, structure):
    kernel = sum(np.kron(a, b) for a, b in zip(arrays["a"], arrays["b"], strict=True))
    return kernel[: structure.inputs, : structure.features].astype(np.float64)


def test_every_contender_has_a_name_of_its_own():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(("shape", "batch"), [((12, 20), 9), ((23, 11), 1)])  # and a padded one
def test_all_but_low_rank_compute_the_same_as_numpy(shape, batch):
    case = Case(*shape, 2, batch, "training")
    arrays = {name: np.asarray(array) for name, array in case.arrays().items()}
    kernel = kernel_of(arrays, case.structure)
    seen = []
    for contender in contenders(case):
        seen.append(contender.name)
        if contender.name.startswith("low_rank"):
            continue
        with jax.default_matmul_precision("highest"):
            y, (of_x, of_parameters) = jax.jit(contender.function)(*contender.arguments)
        np.testing.assert_allclose(y, arrays["x"] @ kernel, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(of_x, arrays["g"] @ kernel.T, rtol=1e-4, atol=1e-4)
        of_kernel = arrays["x"].T.astype(np.float64) @ arrays["g"]
        if contender.name == "dense":
            np.testing.assert_allclose(of_parameters, of_kernel, rtol=1e-4, atol=1e-4)
        else:  # along a direction: the derivative by the kernel tells that by the factors
            a, b = arrays["a"], arrays["b"]
            along = kernel_of({"a": a, "b": b}, case.structure)  # of growing `a`
            expected = float((of_kernel * along).sum())
            ((of_a, of_b),) = of_parameters
            assert float((of_a * a).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-3)
            assert float((of_b * b).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert tuple(seen) == NAMES


def test_the_forward_pass_gives_the_product_alone():
    case = Case(12, 20, 2, 3, "forward")
    outputs = {c.name: c.function(*c.arguments) for c in contenders(case)}
    assert all(y.shape == (3, 20) for y in outputs.values())
    np.testing.assert_allclose(outputs["einsum"], outputs["dense"], rtol=1e-4, atol=1e-4)


def test_low_rank_has_about_as_many_parameters():
    structure = KroneckerStructure.balanced(784, 1024, 16)
    u, v = low_rank_matrices(structure)
    assert (u.shape[0], v.shape[1]) == (784, 1024)
    assert abs(u.size + v.size - structure.num_parameters) <= (784 + 1024) / 2


def test_flops_of_the_einsum_are_those_of_an_order_of_two_products():
    b, r, n1, m1, n2, m2 = 8, 3, 4, 6, 5, 2
    structure = KroneckerStructure.parse(f"{r}:{n1}x{m1}*{n2}x{m2}")
    a_first = 2 * b * r * n2 * m1 * (n1 + m2)
    b_first = 2 * b * r * n1 * m2 * (n2 + m1)
    assert einsum_flops(structure, b) == min(a_first, b_first)


def test_the_floor_is_the_larger_of_flops_and_bytes():
    case = Case(4096, 4096, 4, 32, "forward")
    flops, bytes_ = floor_work(case)
    assert flops == 2 * (2 * 32 * 4 * 64**3)
    assert bytes_ == 4 * (2 * 32 * 4096 + 4 * 2 * 64**2)
    assert floor_seconds(case, flops, bytes_ / 3) == pytest.approx(3.0)
    assert floor_seconds(case, flops / 5, bytes_) == pytest.approx(5.0)
    training = floor_work(Case(4096, 4096, 4, 32, "training"))
    assert training == (3 * flops, 2 * bytes_)


def test_the_floor_takes_the_dense_product_where_that_is_less_work():
    case = Case(64, 64, 16, 512, "forward")
    assert floor_work(case)[0] < case.structure.terms[0].factored_flops(512)
    assert floor_work(case)[0] >= case.dense_flops
