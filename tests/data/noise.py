# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Prints the table of tests/support/noise_literals.hpp. It shares nothing with the library but the documented layout.

The generator is written from the paper (Salmon et al., SC 2011) and checked against Random123's known answers; fp32 is
computed in rational numbers that are rounded once per operation; every normal is compared with the formula in double:
sqrt(-2 ln u) cos(2 pi t), with u = ((word >> 1) | 1) / 2^31 and t = word / 2^32.
"""

import math
import re
from fractions import Fraction

MASK = 0xFFFFFFFF


def philox(counter, key):
    for _ in range(10):
        a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & MASK, (a >> 32) ^ counter[3] ^ key[1], a & MASK]
        key = [(key[0] + 0x9E3779B9) & MASK, (key[1] + 0xBB67AE85) & MASK]
    return counter


def rounded(x):
    """The nearest fp32 number, ties to even; normal numbers only."""
    x = Fraction(x)
    if x == 0:
        return x
    unit = Fraction(2) ** (math.frexp(float(abs(x)))[1] - 24)
    return round(x / unit) * unit


def fma(a, b, c):
    return rounded(Fraction(a) * Fraction(b) + Fraction(c))


def root(x):
    """The nearest fp32 square root."""
    scale = 4 ** 80
    return rounded(Fraction(math.isqrt(int(x * scale * scale)), scale))


def polynomial(coefficients, x):
    value = rounded(coefficients[0])
    for c in coefficients[1:]:
        value = fma(value, x, rounded(c))
    return value


def squared_radius(word):
    """-2 ln u by Cephes' logf: u = (1 + f) 2^exponent with 1 + f in [sqrt(1/2), sqrt(2))."""
    u = rounded((word >> 1) | 1)
    exponent = math.frexp(float(u))[1]
    m = u / Fraction(2) ** exponent
    if m < Fraction(0x3504F3 | 0x800000, 1 << 24):
        m, exponent = 2 * m, exponent - 1
    exponent, f = exponent - 31, m - 1
    p = polynomial([7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1], f)
    square = rounded(f * f)
    log = rounded(rounded(p * f) * square)
    log = fma(exponent, rounded(-2.12194440e-4), log)
    log = fma(Fraction(-1, 2), square, log)
    log = rounded(log + f)
    log = fma(exponent, Fraction(0.693359375), log)
    return -2 * log


def circle(word):
    """cos and sin of 2 pi word / 2^32 by Cephes' cosf and sinf, about the nearest multiple of a quarter turn."""
    quarter, rest = divmod((word + (1 << 29)) & MASK, 1 << 30)
    step = rounded(Fraction(1.57079632679489661923)) / 2 ** 30
    angle = rounded(rounded(rest - (1 << 29)) * step)
    square = rounded(angle * angle)
    s = polynomial([-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1], square)
    sine = fma(rounded(s * square), angle, angle)
    c = polynomial([2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2], square)
    cosine = fma(rounded(c * square), square, fma(Fraction(-1, 2), square, 1))
    return [(cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine)][quarter]


def normals(words):
    found = []
    for radius_word, angle_word in (words[:2], words[2:]):
        radius = root(squared_radius(radius_word))
        pair = [rounded(part * radius) for part in circle(angle_word)]
        exact = math.sqrt(-2 * math.log(((radius_word >> 1) | 1) / 2 ** 31))
        turn = 2 * math.pi * angle_word / 2 ** 32
        for z, formula in zip(pair, (exact * math.cos(turn), exact * math.sin(turn))):
            assert abs(float(z) - formula) < 1.5e-6, (float(z), formula)
        found += pair
    return found


assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]) == [
    0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]

INITIAL = 0xFFFF
for seed, update, prompt, seed_index, step, branch, block in [
    (42, 3, 7, 2, 5, 4, 0),
    (42, 3, 7, 2, 5, 4, 1),
    (42, 3, 7, 2, INITIAL, 0, 0),
    (42, 3, 7, 2, INITIAL, 0, 256),
    (0x01234567, 0x89ABCDEF, 0xDEADBEEF, 0x00C0FFEE, 0x1234, 0x5678, 0x9ABCDEF0),
    (1, 2, 3, 4, 5, 6, 0xFFFFFFFF),
]:
    of_step = "tempflow::initial_noise_step" if step == INITIAL else f"{step:#x}"
    drawn = normals(philox([block, step | branch << 16, seed_index, prompt], [seed, update]))
    print(f"{{.key = {{.seed = {seed:#x}, .update = {update:#x}}},")
    print(f" .id = {{.prompt = {prompt:#x}, .seed = {seed_index:#x}, .step = {of_step}, .branch = {branch:#x}}},")
    print(f" .block = {block:#x},")
    print(" .normals = {" + ", ".join(re.sub("0+p", "p", float(z).hex()) + "f" for z in drawn) + "}},")
