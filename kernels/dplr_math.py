"""The arithmetic that every fast implementation shares; it knows arrays, pairs and operators alone.

With `theta = 2 pi l / length` and `t = tan(theta / 2)` the bilinear transform's node is `z = 2 i t`. For a product
`v = u_n v_n` and the scaled eigenvalue `dt w`, a conjugate pair's term of the Cauchy sum `R_uv` is

    (a / t + i b) F,    a = -2 dt Re(v conj(dt w)),    b = 4 dt Re(v),
    F = 1 / ((|dt w|^2 - 4 t^2) / t - 4 i Re(dt w)).

All products share F. They are, in this order, `B C_d`, `B Q`, `P C_d`, `P Q`, and Woodbury's correction makes the
spectrum `K_d = (1 + i t) (R_BCd - R_BQ R_PCd / (1 + R_PQ))`.

Two things keep float32 accurate next to an eigenvalue, where little is left of large numbers:

- The two terms of K cancel there, and more so in the gradient to dt. K stays the same when B is split as
  `B' + beta P`, for any real beta: `K_d = (1 + i t) (R_B'Cd + (beta - R_B'Q) R_PCd / (1 + R_PQ))`. With beta the
  least-squares fit nothing is left to cancel for HiPPO-LegS, where `B = sqrt(2) P`, and less for other B.
- `|dt w|^2` and `4 t^2` are each kept as a sum of two float32 numbers, and their high parts subtract exactly.

Gradients are pairs `dL / d real, dL / d imaginary`; with y = f(x) analytic, x's is `conj(f'(x))` times y's.
"""

from diffwave_jax.kernels.complex_pair import PLAIN, Arithmetic, Pair


def factor(nodes, modulus2, modulus2_low, real4, arithmetic: Arithmetic = PLAIN) -> Pair:
    """F, from tables of nodes and the coefficients of states that broadcast against them."""
    real, imaginary = factor_over_real4(nodes, modulus2, modulus2_low, real4, arithmetic)
    return Pair(real, real4 * imaginary)


def factor_over_real4(nodes, modulus2, modulus2_low, real4, arithmetic: Arithmetic = PLAIN) -> Pair:
    """F's real part, and its imaginary part still to be multiplied by `real4`."""
    real = ((modulus2 - nodes.square) + (modulus2_low - nodes.square_low)) * nodes.inverse
    inverse = arithmetic.reciprocal(arithmetic.multiply_add(real, real, real4 * real4))
    return Pair(real * inverse, inverse)


def factor_gradient(nodes, factor: Pair, gradient: Pair, arithmetic: Arithmetic = PLAIN) -> tuple:
    """F's gradient to minus that of `modulus2`, and to that of `real4` over t; each still to be summed over nodes.

    `F^2 / t` is the derivative, up to the sign, to `modulus2`.
    """
    multiply_add, subtract_product, _ = arithmetic
    over_t = nodes.inverse * factor.real
    real = subtract_product(nodes.inverse * factor.imaginary, factor.imaginary, over_t * factor.real)
    half = over_t * factor.imaginary
    imaginary = half + half
    return (
        multiply_add(real, gradient.real, imaginary * gradient.imaginary),
        subtract_product(imaginary, gradient.real, real * gradient.imaginary),
    )


def stretch_gradient(b, to_b, real4, to_real4, to_square):
    """The gradient of a head's `Coefficients.stretch`.

    `to_square` is the sum over nodes of `4 t^2` times the gradient of `modulus2`.
    """
    return (b * to_b).sum((-2, -1)) + (real4 * to_real4).sum(-1) - 2 * to_square.sum(-1)


def spectrum(t, beta, sums: list[Pair]) -> list[Pair]:
    """K_d from the 2 D + 2 sums R."""
    *sums_b, bq = sums[: len(sums) // 2]
    *sums_p, pq = sums[len(sums) // 2 :]
    ratio = _ratio(beta, bq, pq)
    bilinear = Pair(1.0, t)
    return [bilinear * (bc + ratio * pc) for bc, pc in zip(sums_b, sums_p, strict=True)]


def spectrum_gradient(t, beta, sums: list[Pair], gradients: list[Pair]) -> list[Pair]:
    """The gradient of K_d to that of the 2 D + 2 sums R; `sums` are only the last D + 2: B Q, P C_d, P Q."""
    bq, *sums_p, pq = sums
    to_bc = [Pair(1.0, -t) * gradient for gradient in gradients]
    correction = _sum([pc.conjugate() * gradient for pc, gradient in zip(sums_p, to_bc, strict=True)])
    to_bq = -(_one_plus(pq).reciprocal().conjugate() * correction)
    to_b, ratio = [*to_bc, to_bq], _ratio(beta, bq, pq).conjugate()
    return [*to_b, *(ratio * gradient for gradient in to_b)]


def _sum(pairs: list[Pair]) -> Pair:
    total = pairs[0]
    for pair in pairs[1:]:
        total = total + pair
    return total


def _ratio(beta, bq: Pair, pq: Pair) -> Pair:
    return Pair(beta - bq.real, -bq.imaginary) * _one_plus(pq).reciprocal()


def _one_plus(pq: Pair) -> Pair:
    return Pair(1 + pq.real, pq.imaginary)
