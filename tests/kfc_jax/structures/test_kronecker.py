import itertools
import math
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfc_jax import KFCDense, KroneckerStructure, KroneckerTerm, materialize
from kfc_jax.structures import read_layer_structure
from tests.kfc_jax.reference import (
    dense_kernel,
    message_of,
    random_factors,
    structures,
    terms,
    unchecked,
)

fast = settings(max_examples=100, deadline=None, derandomize=True, database=None)

MIXED = "8:28x32*28x32+4:14x16*56x64"
PADDED = "16:64x60*64x63@4096x3755"


def suggested(message):
    """Returns the structure that the remedy of a misfit message names."""
    return KroneckerStructure.parse(
        re.fullmatch(r".* nearest structure that fits is '(.+)'\.", message)[1]
    )


# The text form


@fast
@given(structures())
def test_parse_and_str_are_inverse(structure):
    assert KroneckerStructure.parse(str(structure)) == structure
    assert hash(KroneckerStructure.parse(str(structure))) == hash(structure)


@pytest.mark.parametrize(
    "text", ["1:784x1024", MIXED, PADDED, "2:2x3*3x2*4x5*1x2", "1:7x5*7x2+3:49x1*1x10"]
)
def test_str_and_parse_are_inverse(text):
    assert str(KroneckerStructure.parse(text)) == text


@fast
@given(structures())
def test_repr_is_an_expression_for_the_structure(structure):
    assert eval(repr(structure), {"KroneckerStructure": KroneckerStructure}) == structure


def test_parse_reads_ranks_shapes_and_size_in_order():
    structure = KroneckerStructure.parse("3:4x5*6x7+2:8x7*3x5@23x34")
    assert [term.rank for term in structure.terms] == [3, 2]
    assert [term.shapes for term in structure.terms] == [((4, 5), (6, 7)), ((8, 7), (3, 5))]
    assert (structure.inputs, structure.features) == (23, 34)
    assert (structure.padded_inputs, structure.padded_features) == (24, 35)


def test_the_rank_defaults_to_one():
    assert KroneckerStructure.parse("28x32*28x32") == KroneckerStructure.parse("1:28x32*28x32")


@pytest.mark.parametrize(
    "text",
    ["", "8", "8:", "a:2x2", "8:2x2x2", "2x2+", "+2x2", "2x2**2x2", "-1:2x2", "2.0:2x2*2x2", "2*2"],
)
def test_unreadable_text_names_itself_and_the_right_form(text):
    message = message_of(KroneckerStructure.parse, text)
    assert f"'{text}'" in message
    assert "RANK:N1xM1*N2xM2" in message


@pytest.mark.parametrize("size", ["", "2", "2x", "axb", "2x2x2"])
def test_an_unreadable_size_names_itself_and_the_right_form(size):
    message = message_of(KroneckerStructure.parse, f"2x2@{size}")
    assert f"'{size}'" in message
    assert f"'2x2@{size}'" in message
    assert "INPUTSxFEATURES" in message


# Terms


@fast
@given(terms())
def test_counts_of_a_term_are_those_of_its_arrays(term):
    (arrays,) = random_factors(KroneckerStructure((term,)))
    assert term.num_factors == len(arrays)
    assert term.num_parameters == sum(array.size for array in arrays)
    assert dense_kernel(KroneckerStructure((term,)), [arrays]).shape == (term.inputs, term.features)


def test_counts_are_exact_integers_beyond_float_precision():
    side = 10**8 + 7
    structure = KroneckerStructure.parse(f"{side}x1*1x{side}")
    assert structure.dense_parameters == side**2 > 2**53
    # The first factor leaves one scalar per example, the second spreads it out again.
    assert structure.flops(10**8 + 1) == 4 * side * (10**8 + 1)


@pytest.mark.parametrize(
    "shapes", [((2, 3), (4, 2)), ((3, 3), (2, 2)), ((1, 6), (5, 1)), ((2, 2), (2, 1))]
)
def test_max_rank_reaches_any_kernel_of_two_factors_and_no_less_does(shapes):
    (n1, m1), (n2, m2) = shapes
    term = KroneckerTerm(shapes)
    assert term.max_rank == min(n1 * m1, n2 * m2)
    kernel = np.random.default_rng(0).standard_normal((n1 * n2, m1 * m2))
    # Rearranged so that a Kronecker product is an outer product (Van Loan and Pitsianis).
    rearranged = kernel.reshape(n1, n2, m1, m2).transpose(0, 2, 1, 3).reshape(n1 * m1, n2 * m2)
    u, s, vt = np.linalg.svd(rearranged, full_matrices=False)

    def error(rank):
        a = (u[:, :rank] * s[:rank]).T.reshape(rank, n1, m1).astype(np.float32)
        b = vt[:rank].reshape(rank, n2, m2).astype(np.float32)
        return np.abs(np.asarray(materialize([(a, b)])) - kernel).max()

    assert error(term.max_rank) < 1e-5
    if term.max_rank > 1:  # the truncated SVD is the best, and it is not enough
        assert error(term.max_rank - 1) > 1e-2


@pytest.mark.parametrize("shapes", [((4, 3),), ((2, 3), (3, 1)), ((2, 1), (3, 2), (2, 2))])
def test_max_rank_reaches_any_kernel_of_any_number_of_factors(shapes):
    term = KroneckerTerm(shapes, KroneckerTerm(shapes).max_rank)
    sizes = [n * m for n, m in shapes]
    largest = max(range(len(sizes)), key=sizes.__getitem__)
    rows, columns = ([side[i] for side in shapes] for i in (0, 1))
    kernel = np.random.default_rng(0).standard_normal((term.inputs, term.features))
    count = len(shapes)
    axes = [axis for k in range(count) for axis in (k, count + k)]
    tensor = kernel.reshape(*rows, *columns).transpose(axes).reshape(sizes)
    # One product for every fibre along the largest side, the other factors being unit matrices.
    flat = [np.zeros((term.rank, size), np.float32) for size in sizes]
    others = (range(size) if k != largest else (slice(None),) for k, size in enumerate(sizes))
    for r, index in enumerate(itertools.product(*others)):
        for k, i in enumerate(index):
            flat[k][r, i] = tensor[index] if k == largest else 1
    assert r + 1 == term.rank
    factors = [f.reshape(term.rank, *shape) for f, shape in zip(flat, shapes, strict=True)]
    np.testing.assert_allclose(materialize([factors]), kernel, rtol=1e-6)


@pytest.mark.parametrize(("shapes", "limit"), [(((4, 3),), 1), (((2, 3), (4, 2)), 6)])
def test_a_rank_out_of_range_is_an_error_that_names_the_limit(shapes, limit):
    KroneckerTerm(shapes, limit)
    for rank in (0, -1, limit + 1, 1000):
        message = message_of(KroneckerTerm, shapes, rank)
        assert f"Rank {rank} " in message
        assert f"from 1 to {limit}" in message


@pytest.mark.parametrize("shapes", [(), ((0, 2),), ((2, 3), (4, -1))])
def test_impossible_shapes_are_an_error_that_shows_them_and_an_example(shapes):
    message = message_of(KroneckerTerm, shapes)
    assert str(shapes) in message
    assert KroneckerStructure.parse(re.search("example '(.+)'", message)[1])


@pytest.mark.parametrize(("shapes", "rank"), [(((2.5, 3),), 1), (((2, 3), (2, 3)), 1.9)])
def test_sizes_and_ranks_that_are_not_whole_numbers_are_an_error(shapes, rank):
    with pytest.raises((ValueError, TypeError), match=r"2\.5|1\.9"):
        KroneckerTerm(shapes, rank)


# FLOPs


def order_flops(term, order, batch):
    """Multiplies and adds of contracting the factors in this order, one axis at a time."""
    rows, columns = ([side[i] for side in term.shapes] for i in (0, 1))
    sides, flops = list(rows), 0
    for k in order:
        flops += 2 * batch * term.rank * math.prod(sides) * columns[k]
        sides[k] = columns[k]
    return flops


@fast
@given(terms(max_side=6), st.integers(0, 7))
def test_the_contraction_order_is_the_best_of_all_orders(term, batch):
    orders = list(itertools.permutations(range(term.num_factors)))
    assert term.contraction_order in orders
    best = min(order_flops(term, order, batch) for order in orders)
    assert order_flops(term, term.contraction_order, batch) == best
    assert term.factored_flops(batch) == best


def test_the_contraction_order_is_exact_where_floats_are_not():
    n = 2**60
    term = KroneckerTerm(((n, n + 1), (n + 1, n + 2), (n, n)))
    best = min(itertools.permutations(range(3)), key=lambda order: order_flops(term, order, 1))
    assert order_flops(term, term.contraction_order, 1) == order_flops(term, best, 1)


@pytest.mark.parametrize(
    ("shapes", "order"),
    [
        (((4, 1), (1, 4)), (0, 1)),  # shrink first
        (((1, 4), (4, 1)), (1, 0)),
        (((7, 2), (10, 5)), (0, 1)),  # 10 * 2 * (7 + 5) = 240 < 7 * 5 * (10 + 2) = 420
        (((10, 5), (7, 2)), (1, 0)),
        (((3, 3), (3, 3), (4, 3)), (2, 0, 1)),  # ties keep their order
    ],
)
def test_the_contraction_order_of_known_shapes(shapes, order):
    assert KroneckerTerm(shapes).contraction_order == order


@fast
@given(terms())
def test_materialising_counts_every_product_of_the_construction(term):
    sizes = np.cumprod([n * m for n, m in term.shapes])
    heads = sum(int(size) for size in sizes[1:-1])
    last = 2 * int(sizes[-1]) if term.num_factors > 1 else 0
    assert term.materialize_flops == term.rank * (heads + last)


@fast
@given(structures(), st.integers(0, 300))
def test_flops_are_the_least_over_all_choices_of_terms_to_materialise(structure, batch):
    def cost(choice):
        flops = 2 * batch * structure.inputs * structure.features * any(choice)
        return flops + sum(
            term.materialize_flops if dense else term.factored_flops(batch)
            for term, dense in zip(structure.terms, choice, strict=True)
        )

    choices = list(itertools.product([False, True], repeat=len(structure.terms)))
    assert structure.flops(batch) == min(map(cost, choices))
    assert cost(structure.materialized_terms(batch)) == structure.flops(batch)


def test_flops_of_one_dense_factor_are_those_of_a_dense_layer():
    structure = KroneckerStructure.parse("1:784x1024")
    assert structure.flops(32) == 2 * 32 * 784 * 1024
    assert structure.num_parameters == structure.dense_parameters == 784 * 1024


def test_flops_of_a_known_structure_in_both_regimes():
    structure = KroneckerStructure.parse("4:28x32*28x32")
    assert structure.flops(1) == 2 * 4 * 28 * 32 * (28 + 32)
    rank, batch = 256, 4096
    structure = KroneckerStructure.parse(f"{rank}:28x32*28x32")
    assert structure.materialized_terms(batch) == (True,)
    assert structure.flops(batch) == 2 * (rank + batch) * 784 * 1024


# Sums


@fast
@given(structures())
def test_counts_of_a_sum_are_those_of_its_arrays(structure):
    factors = random_factors(structure)
    parameters = sum(array.size for arrays in factors for array in arrays)
    assert structure.num_parameters == parameters
    assert structure.dense_parameters == dense_kernel(structure, factors).size
    assert structure.reduction == pytest.approx(1 - parameters / structure.dense_parameters)


@fast
@given(structures())
def test_a_structure_knows_its_padding(structure):
    assert structure.padded_inputs == max(term.inputs for term in structure.terms)
    assert structure.padded_features == max(term.features for term in structure.terms)
    padded = (structure.padded_inputs, structure.padded_features)
    assert structure.is_padded == (padded != (structure.inputs, structure.features))
    assert structure.is_padded == ("@" in str(structure))
    assert structure.inputs <= structure.padded_inputs <= 1.05 * structure.inputs
    assert structure.features <= structure.padded_features <= 1.05 * structure.features


def test_terms_with_different_padding_are_allowed_when_the_size_is_given():
    structure = KroneckerStructure.parse("2:10x10*10x10+1:9x10*11x10@98x100")
    assert structure.padded_inputs == 100
    assert structure.is_padded


def test_structures_are_values():
    a, b = KroneckerStructure.parse(MIXED), KroneckerStructure.parse(MIXED)
    assert a == b
    assert len({a, b, KroneckerStructure.parse(PADDED)}) == 2
    assert pickle.loads(pickle.dumps(a)) == a
    with pytest.raises(AttributeError):
        a.inputs = 3
    # Lists are taken too, and compare equal.
    with unchecked():
        of_lists = KroneckerStructure([KroneckerTerm([[2, 3], [4, 5]])])
    assert of_lists == KroneckerStructure.parse("2x3*4x5")


def test_no_term_is_an_error_with_an_example():
    message = message_of(KroneckerStructure, ())
    assert KroneckerStructure.parse(re.search("example '(.+)'", message)[1])


def test_terms_of_different_sizes_are_an_error_that_names_them():
    message = message_of(KroneckerStructure.parse, "1:2x2*3x3+1:2x2*4x3")
    assert "inputs: [6, 8]" in message
    assert "@INPUTSxFEATURES" in message
    assert "features: [6, 8]" in message_of(KroneckerStructure.parse, "1:2x2*3x3+1:2x2*3x4")


@pytest.mark.parametrize(("text", "side"), [("2x2@0x2", "inputs"), ("2x2@2x0", "features")])
def test_an_empty_kernel_is_an_error(text, side):
    assert f"at least 1 of {side}, got 0" in message_of(KroneckerStructure.parse, text)


# Fitting a layer


@pytest.mark.parametrize(
    ("text", "inputs", "features"),
    [
        ("1:28x32*28x32", 784, 1024),
        ("1:28x32*28x32", 747, 976),  # 5% of padding
        (PADDED.partition("@")[0], 4096, 3755),
        ("1:2x2*3x2", 5, 4),  # 20%, but 6 is the next size that splits well
        ("1:2x2*2x2*4x2", 13, 8),  # for three factors, 16 is
    ],
)
def test_fit_pads_what_is_larger_within_bounds(text, inputs, features):
    structure = KroneckerStructure.parse(text).fit(inputs, features)
    assert (structure.inputs, structure.features) == (inputs, features)
    assert structure.terms == KroneckerStructure.parse(text).terms
    assert structure.fit(inputs, features) == structure


@pytest.mark.parametrize(
    ("text", "inputs", "features"),
    [
        ("8:28x32*28x32", 800, 1024),  # too small
        ("8:28x32*28x32", 784, 1025),
        ("8:28x32*28x32", 746, 1024),  # over 5%
        ("8:28x32*28x32", 784, 975),
        ("1:12x10", 10, 10),  # one factor needs no padding
        ("4:2x2*3x2", 5, 7),
        ("3:2x3*3x3*2x2+1:12x18", 3755, 10),
        (MIXED, 800, 500),
    ],
)
def test_a_misfit_names_both_sizes_and_the_nearest_structure_that_fits(text, inputs, features):
    structure = KroneckerStructure.parse(text)
    message = message_of(structure.fit, inputs, features)
    assert f"'{text}'" in message
    assert f"{structure.inputs}x{structure.features}" in message
    assert f"{inputs}x{features}" in message
    remedy = suggested(message)
    assert remedy.fit(inputs, features).inputs == inputs
    assert [t.num_factors for t in remedy.terms] == [t.num_factors for t in structure.terms]


def test_the_suggestion_is_near_and_leaves_fitting_sides_alone():
    message = message_of(KroneckerStructure.parse("8:28x32*28x32").fit, 800, 1024)
    assert str(suggested(message)) in ("8:25x32*32x32", "8:32x32*25x32")


@fast
@given(structures(max_factors=3), st.integers(1, 400), st.integers(1, 400))
def test_fit_either_fits_or_suggests_what_fits(structure, inputs, features):
    structure = KroneckerStructure(structure.terms)
    try:
        fitted = structure.fit(inputs, features)
    except ValueError as error:
        fitted = suggested(str(error)).fit(inputs, features)
    assert (fitted.inputs, fitted.features) == (inputs, features)
    assert inputs <= fitted.padded_inputs
    assert features <= fitted.padded_features


@pytest.mark.parametrize(
    ("text", "exact", "size"),
    [
        ("4:16x20*50x26", "4:16x20*50x25", (800, 500)),
        ("4:16x21*50x25", "4:16x20*50x25", (800, 500)),
        ("4:16x20*51x25", "4:16x20*50x25", (800, 500)),
        ("4:16x20*51x26", "4:16x20*50x25", (800, 500)),  # a digit of each side
        ("4:16x20*50x26+1:8x26*100x20", "4:16x20*50x25+1:8x25*100x20", (800, 500)),
        ("8:64x1*16x196", "8:64x1*16x195", (1024, 195)),
        ("1:810x500", "1:800x500", (800, 500)),
    ],
)
def test_a_mistyped_digit_is_an_error_that_names_the_exact_structure(text, exact, size):
    structure = KroneckerStructure.parse(text)
    message = message_of(structure.fit, *size)
    assert f"'{exact}'" in message
    assert suggested(message) == KroneckerStructure.parse(exact)
    # The other remedy: to say that it is meant.
    meant = re.search("write '(.+?)'", message)[1]
    assert KroneckerStructure.parse(meant).fit(*size).terms == structure.terms


def test_a_layer_of_a_mistyped_structure_is_refused():
    layer = KFCDense(500, structure="4:16x20*50x26")
    message = message_of(layer.init, jax.random.key(0), jnp.ones((1, 800)))
    assert "'4:16x20*50x25'" in message
    assert "4:16x20*50x25" in message_of(read_layer_structure, "4:16x20*50x26", 800, 500)


def test_padding_that_is_not_needed_is_said_once(caplog):
    structure = KroneckerStructure.parse("5:16x21*50x24")  # 504 for 500, two digits away
    for _ in range(3):
        structure.fit(800, 500)
    (record,) = caplog.records
    assert "5:16x21*50x24" in record.getMessage()
    assert "800x504" in record.getMessage()
    meant = re.search("write '(.+)'", record.getMessage())[1]
    assert KroneckerStructure.parse(meant).fit(800, 500) == structure.fit(800, 500)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("size", [(4096, 3755), (97, 89), (53, 10), (5, 4), (747, 976)])
@pytest.mark.parametrize("num_factors", [2, 3])
def test_padding_that_is_needed_or_proposed_is_quiet(size, num_factors, caplog):
    proposed = [
        KroneckerStructure.balanced(*size, num_factors=num_factors),
        *KroneckerStructure.candidates(*size, num_factors=num_factors)[:20],
    ]
    for structure in proposed:
        assert structure.fit(*size) == structure
        assert KroneckerStructure.read(str(structure), *size) == structure
    balanced = KroneckerStructure(proposed[0].terms)
    assert balanced.fit(*size) == proposed[0]  # as written by hand, without the size
    assert not caplog.records


def test_a_padded_structure_does_not_change_its_size_silently():
    message = message_of(KroneckerStructure.parse(PADDED).fit, 4096, 3756)
    for part in (PADDED, "4096x3755", "4096x3756", "'@'"):
        assert part in message


# Defaults and candidates

AWKWARD = [(784, 1024), (800, 500), (500, 10), (4096, 3755), (97, 89), (1, 1), (1, 13), (5, 2)]


@pytest.mark.parametrize("num_factors", [1, 2, 3, 4])
@pytest.mark.parametrize(("inputs", "features"), AWKWARD)
def test_balanced_fits_any_size_with_bounded_padding(inputs, features, num_factors):
    structure = KroneckerStructure.balanced(inputs, features, rank=1, num_factors=num_factors)
    (term,) = structure.terms
    assert (structure.inputs, structure.features) == (inputs, features)
    assert (term.rank, term.num_factors) == (1, num_factors)
    for size, padded in (
        (inputs, structure.padded_inputs),
        (features, structure.padded_features),
    ):
        assert size <= padded <= 1.35 * size
        if size >= 1000:
            assert padded <= 1.018 * size
    rows, columns = zip(*term.shapes, strict=True)
    assert max(rows) <= 3 * min(rows) or num_factors == 1
    assert max(columns) <= 3 * min(columns) or num_factors == 1


@fast
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 4))
def test_balanced_pairs_its_splits_for_the_fewest_parameters(inputs, features, num_factors):
    (term,) = KroneckerStructure.balanced(inputs, features, 1, num_factors).terms
    rows, columns = zip(*term.shapes, strict=True)
    pairings = itertools.permutations(columns)
    least = min(sum(n * m for n, m in zip(rows, p, strict=True)) for p in pairings)
    assert term.num_parameters == least


def test_balanced_of_known_sizes():
    assert str(KroneckerStructure.balanced(784, 1024, rank=8, num_factors=2)) == "8:28x32*28x32"
    assert str(KroneckerStructure.balanced(1024, 1024, rank=2, num_factors=3)) == "2:8x16*8x8*16x8"
    assert str(KroneckerStructure.balanced(800, 500, rank=1, num_factors=1)) == "1:800x500"
    assert KroneckerStructure.balanced(784, 1024).terms[0].rank == 8


@fast
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 4))
def test_the_default_rank_saves_half_of_the_parameters_where_any_rank_does(
    inputs, features, num_factors
):
    structure = KroneckerStructure.balanced(inputs, features, num_factors=num_factors)
    (term,) = structure.terms
    one = KroneckerTerm(term.shapes).num_parameters
    assert 1 <= term.rank <= min(8, term.max_rank)
    if 2 * one <= structure.dense_parameters:
        assert structure.reduction >= 0.5
    else:
        assert term.rank == 1
    if term.rank < min(8, term.max_rank):  # a higher one would not save half
        assert 2 * (term.rank + 1) * one > structure.dense_parameters


@pytest.mark.parametrize("call", [KroneckerStructure.balanced, KroneckerStructure.candidates])
def test_arguments_out_of_range_are_errors_that_name_them(call):
    assert "inputs, got 0" in message_of(call, 0, 10)
    assert "features, got -3" in message_of(call, 10, -3)
    assert "num_factors=0" in message_of(call, 10, 10, num_factors=0)
    assert "got 0" in message_of(KroneckerStructure.candidates, 10, 10, rank=0)
    assert "from 1 to 10" in message_of(KroneckerStructure.balanced, 10, 10, rank=11)


@pytest.mark.parametrize("num_factors", [1, 2, 3])
@pytest.mark.parametrize(("inputs", "features"), [(12, 10), (36, 24), (97, 10), (13, 11)])
def test_candidates_are_every_shape_that_fits(inputs, features, num_factors):
    candidates = KroneckerStructure.candidates(inputs, features, num_factors)
    balanced = KroneckerStructure.balanced(inputs, features, 1, num_factors)
    size = (balanced.padded_inputs, balanced.padded_features)
    expected = set()
    for sides in itertools.product(*(range(1, n + 1) for n in size)):
        if num_factors == 1:
            shapes = ((sides[0], sides[1]),)
            if sides == size:
                expected.add(shapes)
            continue
        if size[0] % sides[0] or size[1] % sides[1]:
            continue
        rest = size[0] // sides[0], size[1] // sides[1]
        if num_factors == 2:
            expected.add((sides, rest))
            continue
        for n in range(1, rest[0] + 1):
            for m in range(1, rest[1] + 1):
                if rest[0] % n == 0 and rest[1] % m == 0:
                    expected.add((sides, (n, m), (rest[0] // n, rest[1] // m)))
    if num_factors > 1:
        expected = {shapes for shapes in expected if (1, 1) not in shapes}
    assert {c.terms[0].shapes for c in candidates} == expected
    assert len(candidates) == len(expected)
    assert all((c.inputs, c.features) == (inputs, features) for c in candidates)
    assert all(c.terms[0].rank == 1 for c in candidates)


def test_candidates_start_with_the_fewest_parameters():
    candidates = KroneckerStructure.candidates(784, 1024)
    counts = [c.num_parameters for c in candidates]
    assert counts == sorted(counts)
    assert KroneckerStructure.balanced(784, 1024, rank=1).num_parameters == counts[0]
    assert all(c.flops(1) > 0 for c in candidates)


def test_candidates_of_a_rank_have_it_and_leave_out_shapes_that_cannot():
    ones, sixes = (KroneckerStructure.candidates(12, 10, rank=rank) for rank in (1, 6))
    reaching = {c.terms[0].shapes for c in ones if c.terms[0].max_rank >= 6}
    assert {c.terms[0].shapes for c in sixes} == reaching
    assert 0 < len(sixes) < len(ones)
    assert all(c.terms[0].rank == 6 for c in sixes)


@pytest.mark.parametrize(
    "text",
    [
        "1:1000000000x1*1000000000x1",  # each side is fine alone
        "1:2x2*2147483648x1",
        "*".join(["999999999999999999x1"] * 30),
        "1:" + "9" * 5_000 + "x3",
        "1:1x1@" + "9" * 5_000 + "x3",
    ],
)
def test_sizes_that_no_layer_has_are_one_short_error_at_once(text):
    message = message_of(KroneckerStructure.parse, text)
    assert "no layer has" in message or "Cannot read" in message
    assert len(message) < 400
