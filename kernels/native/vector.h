/* The types and conventions of all kernel files, so that one source serves float32 and float64 on every CPU:

       real         float or double
       vec          a vector of LANES reals, by the vector extensions of GCC and Clang: + - * / and comparisons work lane
                    by lane, and a number combined with a vector counts for all lanes
       mask         the result of comparing two vec: a vector of integers, with all bits set in the lanes where it is true
       NAME(f)      f_f32 or f_f64, the name under which Python finds an exported function

   float32.c and float64.c define real and NAME and include all families (families.h), so each family is compiled twice.
   The length of a vec depends on -march: 64 bytes with AVX-512, 32 with AVX2, else 16 (SSE2, NEON).

   signature.py reads the prototypes of exported functions, which follow these conventions:

       EXPORT void NAME(bias_relu)(int64_t rows, int64_t C, const real x[rows * C], OPTIONAL const real b[C], real y[rows * C])

   An array with a size is contiguous and has exactly that many elements. An array without one (`const real *x`) may have any
   strides; a parameter `const int64_t x_strides[4]` receives them, counted in elements. const arrays are read, others are
   written. OPTIONAL arrays may be missing (None in Python, a null pointer in C). Sizes and offsets are int64_t. A function
   that can fail returns int: 0, NO_MEMORY or WRONG_INDEX. All others return void or double. */
#ifndef VECTOR_H
#define VECTOR_H
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

/* Aligned like a real and allowed to alias reals, so that a vec may be loaded from any address of a real. */
typedef real vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
#if REAL_IS_FLOAT
typedef int32_t mask __attribute__((vector_size(VECTOR_BYTES)));
#else
typedef int64_t mask __attribute__((vector_size(VECTOR_BYTES)));
#endif
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(real)))

#define NO_MEMORY 1
#define WRONG_INDEX 2

#define OPTIONAL
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CEIL_DIV(a, b) (((a) + (b) - 1) / (b))
#define ROUND_UP(a, b) (CEIL_DIV(a, b) * (b))

INLINE vec load(const real *from) { return *(const vec *)from; }
INLINE void store(real *to, vec v) { *(vec *)to = v; }

/* where ? yes : no, lane by lane. */
INLINE vec choose(mask where, vec yes, vec no) { return (vec)((where & (mask)yes) | (~where & (mask)no)); }

/* max(v, 0); a NaN stays a NaN. */
INLINE vec relu_of(vec v) { return choose((vec){0} > v, (vec){0}, v); }

/* A vector of the first `count` < LANES reals, with zeros after them. */
INLINE vec load_first(const real *from, int64_t count) {
    vec v = {0};
    for (int64_t i = 0; i < count; i++) v[i] = from[i];
    return v;
}
/* Writes the first `count` < LANES reals of v. */
INLINE void store_first(real *to, vec v, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = v[i];
}
#endif
