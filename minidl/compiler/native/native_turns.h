/* Angles of any size, reduced to a quarter of a turn: what sin and cos in native_math.h begin with.

   1 / (2 pi) is cut into pieces (turns_f32 and turns_f64, from polynomials.py) of so few digits that
   their products with x are exact. Of each product whole turns are dropped, which leaves the digits
   that count, whatever the size of x (Payne and Hanek 1983, here with floating numbers). */

/* rest + 4 part, in quarters of a turn, without whole quarters, which are counted, and without whole
   turns of the part. What is lost in rounding is added up. */
INLINE double add_turns_f64(double rest, double part, double *quarters, double *lost) {
    double added = 4.0 * (part - rint(part));
    double sum = rest + added;
    double came = sum - rest;
    double whole = rint(sum);
    *lost += (rest - (sum - came)) + (added - came);
    *quarters += whole;
    return sum - whole;
}

/* A float times 29 digits is exact in double: seven pieces are enough for the largest. */
INLINE float reduce_f32(float x, float *low, uint32_t *quarter) {
    double quarters = 0.0;
    double lost = 0.0;
    double rest = add_turns_f64(0.0, x * turns_f32[0], &quarters, &lost);
    rest = add_turns_f64(rest, x * turns_f32[1], &quarters, &lost);
    rest = add_turns_f64(rest, x * turns_f32[2], &quarters, &lost);
    rest = add_turns_f64(rest, x * turns_f32[3], &quarters, &lost);
    rest = add_turns_f64(rest, x * turns_f32[4], &quarters, &lost);
    rest = add_turns_f64(rest, x * turns_f32[5], &quarters, &lost);
    rest = add_turns_f64(rest, x * turns_f32[6], &quarters, &lost);
    double angle = rest * 1.5707963267948966;
    float r = (float)angle;
    *low = (float)(angle - r);
    *quarter = bits_f32((float)quarters + 12582912.0f);
    return r;
}

/* A double times 48 digits is exact as a sum of two, which fma gives (slowly where it is no
   instruction). Of 1 / (2 pi) four pieces are taken from the first place, in steps of 16 digits, whose
   product with x is no multiple of whole turns; those before it are. */
INLINE double reduce_f64(double x, double *low, uint64_t *quarter) {
    uint64_t exponent = (bits_f64(x) >> 52) & 0x7ffu;
    uint64_t place = exponent > 1075u ? (exponent - 1075u) >> 4 : 0u;
    double scaled = x * number_f64((1023u - 16u * place) << 52);
    double second = scaled * 3.5527136788005009e-15; /* 2^-48 */
    double third = second * 3.5527136788005009e-15;
    double fourth = third * 3.5527136788005009e-15;
    double high0 = scaled * turns_f64[place];
    double high1 = second * turns_f64[place + 3u];
    double high2 = third * turns_f64[place + 6u];
    double low0 = fma(scaled, turns_f64[place], -high0);
    double low1 = fma(second, turns_f64[place + 3u], -high1);
    double low2 = fma(third, turns_f64[place + 6u], -high2);
    double quarters = 0.0;
    double lost = 0.0;
    double rest = add_turns_f64(0.0, high0, &quarters, &lost);
    rest = add_turns_f64(rest, low0, &quarters, &lost);
    rest = add_turns_f64(rest, high1, &quarters, &lost);
    rest = add_turns_f64(rest, high2, &quarters, &lost);
    rest = add_turns_f64(rest, low1, &quarters, &lost);
    lost += 4.0 * (low2 + fourth * turns_f64[place + 9u]);
    double high = rest + lost;
    double r = high * 1.5707963267948966;
    *low = fma(high, 1.5707963267948966, -r)
        + (high * 6.123233995736766e-17 + ((rest - high) + lost) * 1.5707963267948966);
    *quarter = bits_f64(quarters + 6755399441055744.0);
    return r;
}
