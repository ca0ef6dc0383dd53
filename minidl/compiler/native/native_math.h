/* Mathematical functions without branches, so that compilers turn loops over them into vector code.

   A template for two precisions, which mathfunctions.py fills in. REAL is float or double, WORD the
   unsigned integer of that size. A trailing R is the precision: exp_R is exp_f32 or exp_f64, fabsR is
   fabsf or fabs, 1.0R is 1.0f or 1.0. Names in capitals are constants from the table there, *_series_R
   are polynomials from polynomials.py. A blank line ends a function, which may use those above it.

   Each function is right for all numbers, infinities, signed zeros, denormals and NaN; comparisons are
   written so that NaN passes through. Rounding is to nearest, and no expression may be rearranged. */

/* a * b + c: in one rounding, where the processor has an instruction for it. */
INLINE REAL fma_R(REAL a, REAL b, REAL c) {
#ifdef HAS_FMA
    return fmaR(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE WORD bits_R(REAL x) {
    union { REAL number; WORD bits; } both;
    both.number = x;
    return both.bits;
}

INLINE REAL number_R(WORD bits) {
    union { REAL number; WORD bits; } both;
    both.bits = bits;
    return both.number;
}

/* SHIFT + k, k being the integer nearest to x / log(2): beside SHIFT no digits after the point have
   room, and the lowest bits of the sum are those of k. */
INLINE REAL halvings_R(REAL x) {
    return fma_R(x, LOG2_E, SHIFT);
}

/* k of SHIFT + k, plus an even number that makes it positive. */
INLINE WORD positive_R(REAL shifted) {
    return bits_R(shifted) - bits_R(SHIFT) + 4096u;
}

/* 2^k for a k + 4096 that gives a normal number. */
INLINE REAL power_of_two_R(WORD positive) {
    return number_R((positive - 4096u + BIAS) << DIGITS);
}

/* 2^k y, in two factors, because 2^k alone may be too large or too small; only the second rounds. */
INLINE REAL scale_R(REAL y, REAL shifted) {
    WORD positive = positive_R(shifted);
    WORD half = (positive >> 1) + 2048u;
    return y * power_of_two_R(half) * power_of_two_R(positive - half + 4096u);
}

/* x - k log(2), between -log(2) / 2 and log(2) / 2. LN2_HIGH has so few digits that k LN2_HIGH is exact. */
INLINE REAL rest_R(REAL x, REAL shifted) {
    REAL k = shifted - SHIFT;
    return fma_R(k, -LN2_LOW, fma_R(k, -LN2_HIGH, x));
}

/* exp(r) - 1 of a rest. */
INLINE REAL expm1_of_rest_R(REAL r) {
    return fma_R(r * r, exp_series_R(r), r);
}

/* exp(x) = 2^k exp(x - k log(2)) */
INLINE REAL exp_R(REAL x) {
    REAL limited = x < EXP_ZERO ? EXP_ZERO : x;
    limited = limited > EXP_INFINITE ? EXP_INFINITE : limited;
    REAL shifted = halvings_R(limited);
    return scale_R(1.0R + expm1_of_rest_R(rest_R(limited, shifted)), shifted);
}

INLINE REAL exp2_R(REAL x) {
    REAL limited = x < EXP2_ZERO ? EXP2_ZERO : x;
    limited = limited > EXP2_INFINITE ? EXP2_INFINITE : limited;
    REAL shifted = limited + SHIFT;
    REAL rest = (limited - (shifted - SHIFT)) * LN2;
    return scale_R(1.0R + expm1_of_rest_R(rest), shifted);
}

/* exp(size) / 2, which is a number where exp(size) may be too large; for size >= 0. */
INLINE REAL half_exp_R(REAL size) {
    REAL limited = size > EXP_INFINITE + 1.0R ? EXP_INFINITE + 1.0R : size;
    REAL shifted = halvings_R(limited);
    return scale_R(1.0R + expm1_of_rest_R(rest_R(limited, shifted)), shifted - 1.0R);
}

INLINE REAL cosh_R(REAL x) {
    REAL half = half_exp_R(fabsR(x));
    return half + 0.25R / half;
}

/* exp(x) - 1 = 2 (2^(k-1) (exp(r) - 1) + 2^(k-1) - 1/2), where 2^(k-1) is never too large. */
INLINE REAL expm1_R(REAL x) {
    REAL limited = x < EXPM1_ONE ? EXPM1_ONE : x;
    limited = limited > EXP_INFINITE ? EXP_INFINITE : limited;
    REAL shifted = halvings_R(limited);
    REAL half = power_of_two_R(positive_R(shifted) - 1u);
    REAL y = 2.0R * fma_R(half, expm1_of_rest_R(rest_R(limited, shifted)), half - 0.5R);
    return fabsR(x) < TINY ? x : y;
}

/* (e + e / (e + 1)) / 2, e = exp(|x|) - 1, where both terms of the definition are nearly 1/2 */
INLINE REAL sinh_R(REAL x) {
    REAL size = fabsR(x);
    REAL e = expm1_R(size > 2.0R ? 2.0R : size);
    REAL half = half_exp_R(size);
    REAL y = size < 2.0R ? 0.5R * (e + e / (e + 1.0R)) : half - 0.25R / half;
    return copysignR(y, x);
}

/* (exp(2 |x|) - 1) / (exp(2 |x|) + 1) with the sign of x */
INLINE REAL tanh_R(REAL x) {
    REAL size = fabsR(x);
    REAL e = expm1_R(2.0R * (size > TANH_ONE ? TANH_ONE : size));
    return copysignR(e / (e + 2.0R), x);
}

/* 1 / (1 + exp(-x)), and for negative x exp(x) / (1 + exp(x)), which has digits where it is small. */
INLINE REAL sigmoid_R(REAL x) {
    REAL e = exp_R(-fabsR(x));
    return (x < 0.0R ? e : 1.0R) / (1.0R + e);
}

/* x = 2^k (1 + g), g between sqrt(1/2) - 1 and sqrt(2) - 1; of a positive x. */
INLINE REAL split_R(REAL x, REAL *k) {
    int denormal = x < SMALLEST;
    REAL normal = denormal ? x * RAISE : x;
    WORD above = (bits_R(normal) - bits_R(ROOT_HALF) + ((WORD)(BIAS + 1u) << DIGITS)) >> DIGITS;
    *k = number_R(bits_R(UNITS) + above) - UNITS - (denormal ? ABOVE_RAISED : ABOVE);
    return number_R(bits_R(normal) - ((above - (BIAS + 1u)) << DIGITS)) - 1.0R;
}

/* log(1 + g) - g = s (g^2 / 2 + s^2 series(s^2)) - g^2 / 2, s = g / (2 + g), by log(1 + g) = 2 artanh(s) */
INLINE REAL log_beyond_R(REAL g) {
    REAL s = g / (2.0R + g);
    REAL z = s * s;
    REAL half = 0.5R * g * g;
    return fma_R(s, fma_R(z, log_series_R(z), half), -half);
}

/* y, a logarithm of x > 0; and what it is of other x. */
INLINE REAL log_or_special_R(REAL x, REAL y) {
    y = x == INFINITY ? x : y;
    y = x == 0.0R ? -(REAL)INFINITY : y;
    return x < 0.0R || x != x ? (REAL)NAN : y;
}

INLINE REAL log_R(REAL x) {
    REAL k;
    REAL g = split_R(x, &k);
    REAL y = fma_R(k, LN2_HIGH, g + fma_R(k, LN2_LOW, log_beyond_R(g)));
    return log_or_special_R(x, y);
}

INLINE REAL log2_R(REAL x) {
    REAL k;
    REAL g = split_R(x, &k);
    REAL small = fma_R(log_beyond_R(g), LOG2_E, g * LOG2_E_LOW);
    return log_or_special_R(x, k + fma_R(g, LOG2_E, small));
}

/* log(u) + lost / u, where u = 1 + x is rounded and lost what the rounding lost. */
INLINE REAL log1p_R(REAL x) {
    REAL u = 1.0R + x;
    REAL added = u - 1.0R;
    REAL lost = (x - added) + (1.0R - (u - added));
    REAL correction = lost / u;
    REAL y = log_R(u) + (correction == correction ? correction : 0.0R);
    return fabsR(x) < TINY ? x : y;
}

/* erfc(z) for z >= 0: exp(-z^2) series(t) / (1 + 2 z), t = (z - c) / (z + c). The function that the
   series stands for is nearly constant (Shepherd and Laframboise 1981). z^2 is taken as the square of a
   z of half the digits, which is exact, and a remainder that goes into the exponential. */
INLINE REAL erfc_of_size_R(REAL size) {
    REAL z = size > ERFC_ZERO ? ERFC_ZERO : size;
    REAL high = number_R(bits_R(z) & HALF_OF_DIGITS);
    REAL shifted = halvings_R(-z * z);
    REAL rest = rest_R(-high * high, shifted) - (z - high) * (z + high);
    REAL factor = erfc_series_R((z - ERFC_CENTER) / (z + ERFC_CENTER)) / (1.0R + 2.0R * z);
    return scale_R(fma_R(expm1_of_rest_R(rest), factor, factor), shifted);
}

/* x + x series(x^2), for small x */
INLINE REAL erf_near_R(REAL x) {
    return fma_R(x, erf_series_R(x * x), x);
}

INLINE REAL erf_R(REAL x) {
    REAL size = fabsR(x);
    REAL far = copysignR(1.0R - erfc_of_size_R(size), x);
    return size < ERF_NEAR ? erf_near_R(x) : far;
}

INLINE REAL erfc_R(REAL x) {
    REAL size = fabsR(x);
    REAL tail = erfc_of_size_R(size);
    REAL far = x < 0.0R ? 2.0R - tail : tail;
    return size < 0.5R ? 1.0R - erf_near_R(x) : far;
}

/* log(exp(a) + exp(b)), without overflow; two equal infinities are no difference. */
INLINE REAL logaddexp_R(REAL a, REAL b) {
    REAL larger = a > b ? a : b;
    REAL gap = a == b ? 0.0R : fabsR(a - b);
    return gap == gap ? larger + log1p_R(exp_R(-gap)) : gap;
}

/* sin(r + low) and cos(r + low) for r between -pi / 4 and pi / 4, low being what r has no digits for. */
INLINE REAL sine_R(REAL r, REAL low) {
    REAL z = r * r;
    return r + (r * z * sin_series_R(z) + low * (1.0R - 0.5R * z));
}

INLINE REAL cosine_R(REAL r, REAL low) {
    REAL z = r * r;
    REAL top = 1.0R - 0.5R * z;
    return top + (((1.0R - top) - 0.5R * z) + (z * z * cos_series_R(z) - r * low));
}

/* sin(r + low + quarter pi / 2) */
INLINE REAL wave_R(REAL r, REAL low, WORD quarter) {
    REAL y = quarter & 1u ? cosine_R(r, low) : sine_R(r, low);
    return number_R(bits_R(y) ^ ((quarter & 2u) << SIGN));
}

INLINE REAL sin_R(REAL x) {
    REAL low;
    WORD quarter;
    REAL r = reduce_R(x, &low, &quarter);
    return fabsR(x) < TINY ? x : wave_R(r, low, quarter);
}

INLINE REAL cos_R(REAL x) {
    REAL low;
    WORD quarter;
    REAL r = reduce_R(x, &low, &quarter);
    return wave_R(r, low, quarter + 1u);
}

INLINE REAL tan_R(REAL x) {
    REAL low;
    WORD quarter;
    REAL r = reduce_R(x, &low, &quarter);
    REAL sine = sine_R(r, low);
    REAL cosine = cosine_R(r, low);
    REAL y = (quarter & 1u ? -cosine : sine) / (quarter & 1u ? sine : cosine);
    return fabsR(x) < TINY ? x : y;
}

/* t + t^3 series(t^2) for t up to tan(pi / 8), and beyond by arctan(x) = pi / 4 + arctan((x - 1) / (x + 1))
   = pi / 2 - arctan(1 / x) */
INLINE REAL arctan_R(REAL x) {
    REAL size = fabsR(x);
    int middle = size > TAN_OF_EIGHTH;
    int far = size > 1.0R / TAN_OF_EIGHTH;
    REAL above = middle ? size - 1.0R : size;
    REAL below = middle ? size + 1.0R : 1.0R;
    REAL t = (far ? -1.0R : above) / (far ? size : below);
    REAL turns = far ? 2.0R : 1.0R;
    REAL base = middle ? turns * QUARTER_PI : 0.0R;
    REAL low = middle ? turns * QUARTER_PI_LOW : 0.0R;
    REAL z = t * t;
    return copysignR(base + (t + (t * z * arctan_series_R(z) + low)), x);
}

/* The square of a cosine or sine whose sine or cosine is x has these factors, which keep their digits. */
INLINE REAL arcsin_R(REAL x) {
    return arctan_R(x / sqrtR((1.0R - x) * (1.0R + x)));
}

INLINE REAL arccos_R(REAL x) {
    return 2.0R * arctan_R(sqrtR((1.0R - x) / (1.0R + x)));
}

/* log(a + sqrt(a^2 + 1)), and of an a whose square may be too large log(a) + log(2) */
INLINE REAL arcsinh_R(REAL x) {
    REAL size = fabsR(x);
    int far = size > FAR;
    REAL above = far ? size - 1.0R : size + size * size / (1.0R + sqrtR(1.0R + size * size));
    return copysignR(log1p_R(above) + (far ? LN2 : 0.0R), x);
}

/* log(x + sqrt(x^2 - 1)) with t = x - 1, and of a large x log(x) + log(2) */
INLINE REAL arccosh_R(REAL x) {
    REAL t = x - 1.0R;
    int far = x > FAR;
    REAL above = far ? t : t + sqrtR(t) * sqrtR(t + 2.0R);
    return log1p_R(above) + (far ? LN2 : 0.0R);
}

/* log((1 + x) / (1 - x)) / 2 */
INLINE REAL arctanh_R(REAL x) {
    REAL size = fabsR(x);
    return copysignR(0.5R * log1p_R(2.0R * size / (1.0R - size)), x);
}

INLINE REAL hypot_R(REAL a, REAL b) {
    REAL larger = fabsR(a) > fabsR(b) ? fabsR(a) : fabsR(b);
    REAL smaller = fabsR(a) > fabsR(b) ? fabsR(b) : fabsR(a);
    REAL ratio = larger == 0.0R ? smaller : smaller / larger; /* NaN stays */
    REAL y = larger * sqrtR(1.0R + ratio * ratio);
    return larger == INFINITY || smaller == INFINITY ? (REAL)INFINITY : y;
}

/* 2^(log2(a) / 3), and one step of Newton's method, which doubles its digits */
INLINE REAL cbrt_R(REAL x) {
    REAL size = fabsR(x);
    REAL first = exp2_R(log2_R(size) / 3.0R);
    REAL y = copysignR(first + (size / (first * first) - first) / 3.0R, x);
    return size == 0.0R || size == INFINITY ? x : y;
}
