/* exp, log, erf and related functions of vectors, without branches and without a library.

   Errors are stated in units in the last place (ulp); tests/kernels/native/test_special.py checks them. Unless a function
   says otherwise, a NaN gives a NaN, and an infinity gives the limit of the function. */
#ifndef SPECIAL_H
#define SPECIAL_H
#include "vector.h"

#if REAL_IS_FLOAT
#define MANTISSA 23 /* the bits of the mantissa */
#define BIAS 127    /* of the exponent */
#define ROUNDER 12582912.0f /* 1.5 * 2^23: floats of this size are integers, so adding it rounds a number to an integer */
#define SMALLEST_NORMAL 0x1p-126f
#define LN2_HIGH 0.693359375f /* log 2 = LN2_HIGH + LN2_LOW; n * LN2_HIGH is exact for all exponents n */
#define LN2_LOW -2.12194440e-4f
#define EXP_RANGE 104.0f /* exp(-104) rounds to 0, and exp(104) to infinity */
#define NORMAL_LOW -88.0f /* here exp_below multiplies by 2^-127, the largest power of two that is not a normal number */
#define NORMAL_HIGH 89.0f /* here it multiplies by 2^128, which is infinite */
#define EXP_DEGREE 7     /* the degree of the Taylor series, for |r| <= log(2) / 2 */
#define SINE_DEGREE 9    /* for |t| <= pi / 4 */
#define COSINE_DEGREE 10
#define ERF_RANGE 3.92f /* erf rounds to 1 from here on */
#else
#define MANTISSA 52
#define BIAS 1023
#define ROUNDER 6755399441055744.0
#define SMALLEST_NORMAL 0x1p-1022
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#define EXP_RANGE 746.0
#define NORMAL_LOW -709.1
#define NORMAL_HIGH 710.0
#define EXP_DEGREE 13
#define SINE_DEGREE 17
#define COSINE_DEGREE 18
#define ERF_RANGE 5.95
#endif
#define LOG2_E ((real)1.4426950408889634)
#define SIGN_BIT ((mask)(-(vec){0}))

/* Element k is 1 / k!. */
static const double INVERSE_FACTORIAL[] = {
    1.0,           1.0,            1.0 / 2,          1.0 / 6,           1.0 / 24,           1.0 / 120,           1.0 / 720,
    1.0 / 5040,    1.0 / 40320,    1.0 / 362880,     1.0 / 3628800,     1.0 / 39916800,     1.0 / 479001600,     1.0 / 6227020800,
    1.0 / 8.71782912e10, 1.0 / 1.307674368e12, 1.0 / 2.0922789888e13, 1.0 / 3.55687428096e14, 1.0 / 6.402373705728e15,
};

/* ---- operations that the vector extensions do not offer ---- */

INLINE vec all_lanes(real x) { return x + (vec){0}; }
INLINE vec larger(vec a, vec b) { return choose(a > b, a, b); }    /* b if either is NaN */
INLINE vec smaller(vec a, vec b) { return choose(a < b, a, b); }   /* b if either is NaN */
INLINE vec magnitude(vec x) { return (vec)((mask)x & ~SIGN_BIT); }
INLINE vec with_sign_of(vec x, vec sign) { return (vec)((mask)x | ((mask)sign & SIGN_BIT)); } /* for x >= 0 */
INLINE vec root(vec x) {
    vec y;
    for (int l = 0; l < LANES; l++) y[l] = REAL_IS_FLOAT ? __builtin_sqrtf(x[l]) : __builtin_sqrt(x[l]);
    return y;
}

/* 2^n for an integer n, which is given as n + ROUNDER: the lowest bits of that number are n. The result is 0 for n one below
   the exponents of normal numbers, and infinity for n one above them. */
INLINE vec power_of_two(vec shifted) { return (vec)(((mask)shifted + BIAS) << MANTISSA); }

/* c[0] + c[1] x + ... + c[degree] x^degree, by Horner's rule. */
INLINE vec polynomial(vec x, int degree, const double *c) {
    vec y = all_lanes((real)c[degree]);
    UNROLL for (int k = degree - 1; k >= 0; k--) y = y * x + (real)c[k];
    return y;
}

INLINE real sum_of_lanes(vec v) {
    real lanes[LANES];
    store(lanes, v);
    for (int n = LANES / 2; n; n /= 2)
        for (int l = 0; l < n; l++) lanes[l] += lanes[l + n];
    return lanes[0];
}
INLINE real largest_lane(vec v) {
    real lanes[LANES];
    store(lanes, v);
    for (int n = LANES / 2; n; n /= 2)
        for (int l = 0; l < n; l++) lanes[l] = lanes[l] > lanes[l + n] ? lanes[l] : lanes[l + n];
    return lanes[0];
}

/* The first `count` lanes of v, and `rest` in the others. */
INLINE vec keep_first(vec v, int64_t count, real rest) {
    vec lane;
    for (int l = 0; l < LANES; l++) lane[l] = l;
    return choose(lane < (real)count, v, all_lanes(rest));
}

/* ---- exponentials: x = n log 2 + r with an integer n and |r| <= log(2) / 2 ---- */

/* exp(r) - 1; *shifted receives n + ROUNDER. */
INLINE vec expm1_of_rest(vec x, vec *shifted) {
    *shifted = x * LOG2_E + ROUNDER;
    const vec n = *shifted - ROUNDER, r = (x - n * LN2_HIGH) - n * LN2_LOW;
    return r + r * r * polynomial(r, EXP_DEGREE - 2, INVERSE_FACTORIAL + 2);
}

INLINE vec at_least(real low, vec x) { return choose(x < low, all_lanes(low), x); }
INLINE vec at_most(real high, vec x) { return choose(x > high, all_lanes(high), x); }

/* exp(x), within 2 ulp, also where it is subnormal. 2^n is multiplied in two factors, because 2^n itself may already be 0
   or infinite where exp(x) is not. */
INLINE vec exp_of(vec x) {
    vec shifted;
    const vec y = expm1_of_rest(at_most(EXP_RANGE, at_least(-EXP_RANGE, x)), &shifted) + 1, n = shifted - ROUNDER;
    const vec half = n * (real)0.5 + ROUNDER;
    return y * power_of_two(half) * power_of_two(n - (half - ROUNDER) + ROUNDER);
}

/* exp(x) for x <= 89 (float) or 710 (double), within 2 ulp; 0 where exp(x) is not a normal number. */
INLINE vec exp_below(vec x) {
    vec shifted;
    const vec y = expm1_of_rest(at_least(NORMAL_LOW, x), &shifted) + 1;
    return y * power_of_two(shifted);
}

/* exp(x) - 1 for x <= 0, within 2 ulp. */
INLINE vec expm1_of_negative(vec x) {
    vec shifted;
    const vec y = expm1_of_rest(at_least(-40, x), &shifted), power = power_of_two(shifted);
    return y * power + (power - 1);
}

/* 1 / (1 + exp(-x)), within 3 ulp; 0 for x below -89 (-710 in float64). */
INLINE vec sigmoid_of(vec x) { return 1 / (1 + exp_below(at_most(NORMAL_HIGH, -x))); }

/* tanh(x), within 3 ulp: |tanh(x)| = |m| / (2 + m) with m = exp(-2 |x|) - 1. */
INLINE vec tanh_of(vec x) {
    const vec m = expm1_of_negative(-2 * magnitude(x));
    return with_sign_of(magnitude(m) / (2 + m), x);
}

/* ---- logarithms: x = 2^k (1 + f) with sqrt(1/2) <= 1 + f <= sqrt(2) ---- */

/* k log 2 + log(1 + f). With s = f / (2 + f), log(1 + f) = log(1 + s) - log(1 - s) = 2 (s + s^3 / 3 + s^5 / 5 + ...). The
   coefficients and the order of the sums come from FreeBSD's e_log.c and e_logf.c, and keep the error below 1 ulp. */
INLINE vec log_series(vec f, vec k) {
#if REAL_IS_FLOAT
    static const double c[] = {0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841};
#else
    static const double c[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                               2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                               1.479819860511658591e-01};
#endif
    const vec s = f / (2 + f), z = s * s, half_square = f * f * (real)0.5;
    const vec rest = z * polynomial(z, sizeof c / sizeof *c - 1, c);
    return k * LN2_HIGH - ((half_square - (s * (half_square + rest) + k * LN2_LOW)) - f);
}

/* Returns f and sets *k, for a positive normal x. For 0, infinity and NaN they mean nothing. */
INLINE vec log_reduce(vec x, vec *k) {
    const mask bits = (mask)x, exponent = (bits - (mask)all_lanes((real)0.70710678118654752)) >> MANTISSA;
    *k = __builtin_convertvector(exponent, vec);
    return (vec)(bits - (exponent << MANTISSA)) - 1;
}

/* log(x), within 1 ulp, also for subnormal x. log(0) is -infinity, and the logarithm of a negative number is NaN. */
INLINE vec log_of(vec x) {
    const vec a = magnitude(x);
    const mask denormal = a < SMALLEST_NORMAL;
    const real up = (real)(1 << 30);
    vec k;
    const vec f = log_reduce(choose(denormal, a * up * up, a), &k);
    const vec y = log_series(f, k - choose(denormal, all_lanes(60), (vec){0}));
    const vec of_others = choose(x == 0, all_lanes(-INFINITY), all_lanes(NAN));
    return choose(x > 0, choose(x < INFINITY, y, x), choose(x <= 0, of_others, x));
}

/* log(1 + x) for 0 <= x <= 1. */
INLINE vec log1p_of_part(vec x) {
    const mask large = x > (real)0.41421356237309505;
    return log_series(choose(large, (x - 1) * (real)0.5, x), choose(large, all_lanes(1), (vec){0}));
}

/* log(1 + exp(x)), within 2 ulp. */
INLINE vec softplus_of(vec x) { return relu_of(x) + log1p_of_part(exp_of(-magnitude(x))); }

/* ---- the error function ---- */

#if REAL_IS_FLOAT
/* erf(x) = x P(x^2) / Q(x^2), within 7 ulp. P / Q is the fit to erf(x) / x whose largest relative error, 2e-8, is smallest. */
INLINE vec erf_of(vec x) {
    static const double p[] = {1.1283791462815036,     0.19040346257973156,    0.052748332499475505,
                               0.0037654885157708063,  0.00028487988350409517, 2.0501118457808735e-06};
    static const double q[] = {1.0,                    0.5020734173961885,     0.11410787492207577,
                               0.01496896154518602,    0.0011625043247547597,  3.809181894248408e-05};
    const vec a = magnitude(x), square = a * a, y = a * polynomial(square, 5, p) / polynomial(square, 5, q);
    return with_sign_of(choose((a > ERF_RANGE) | (y > 1), all_lanes(1), y), x);
}
#else
/* erf(x) = tanh(x R(t)) with t = 2 - 54 / (x^2 + 18), within 7 ulp. kernels/reference/activation.py explains it; its
   Chebyshev series R is written here as a polynomial. */
INLINE vec erf_of(vec x) {
    static const double r[] = {
             1.9022498628719267,      0.9372463464579023,      0.2218461594415989,     0.10891963689310233,
            0.05205727756401615,    0.012437055027297868,    0.014771255538193574,   0.0025406257175155426,
          0.0012042419784268957,   0.0023986592033942798,  -0.0003789701580889592,   0.0003246638565226156,
           0.000290217473924136, -0.00012867621667076297,  0.00011975249842935332,  -1.530333473151223e-05,
        -1.2242356827462383e-05,   3.380562100717109e-05, -1.8041136233403863e-05,   4.053210886251704e-06,
         3.5975074596998414e-06, -3.5095621934207422e-06,   3.969285316316042e-06,  -2.620032382219701e-06,
          -9.92959928358423e-07,   2.513257836750631e-06,  -6.361917541163244e-07,  -7.167489259738181e-07,
          3.696877464698509e-07,   5.840639515845365e-08, -5.6088810571247165e-08,   6.102926344610435e-09,
    };
    const vec a = magnitude(x), t = 2 - 54 / (a * a + 18);
    const vec y = tanh_of(a * polynomial(t, sizeof r / sizeof *r - 1, r));
    return with_sign_of(choose(a > ERF_RANGE, all_lanes(1), y), x);
}
#endif
#endif
