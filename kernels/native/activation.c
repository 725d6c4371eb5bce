/* Activation functions and their gradients, element by element. kernels/reference/activation.py has the mathematics. */
#include "special.h"

#define MAP_BLOCK 16384 /* the elements of a task, a multiple of LANES */

typedef struct {
    int64_t n;
    const real *a, *b; /* b: the second array, if the function has two */
    real *y;
} Map;

/* Defines name(task, job): y = the expression, in which `a` is a vector of array a, over one block of a Map. */
#define MAP(name, expression)                                                                                          \
    static void name(long task, void *job) {                                                                           \
        const Map *q = job;                                                                                            \
        int64_t i = (int64_t)task * MAP_BLOCK;                                                                         \
        const int64_t end = MIN(q->n, i + MAP_BLOCK);                                                                  \
        for (; i + LANES <= end; i += LANES) {                                                                         \
            const vec a = load(q->a + i);                                                                              \
            store(q->y + i, expression);                                                                               \
        }                                                                                                              \
        if (i < end) {                                                                                                 \
            const vec a = load_first(q->a + i, end - i);                                                               \
            store_first(q->y + i, expression, end - i);                                                                \
        }                                                                                                              \
    }

/* The same for an expression in a and b. */
#define MAP2(name, expression)                                                                                         \
    static void name(long task, void *job) {                                                                           \
        const Map *q = job;                                                                                            \
        int64_t i = (int64_t)task * MAP_BLOCK;                                                                         \
        const int64_t end = MIN(q->n, i + MAP_BLOCK);                                                                  \
        for (; i + LANES <= end; i += LANES) {                                                                         \
            const vec a = load(q->a + i), b = load(q->b + i);                                                          \
            store(q->y + i, expression);                                                                               \
        }                                                                                                              \
        if (i < end) {                                                                                                 \
            const vec a = load_first(q->a + i, end - i), b = load_first(q->b + i, end - i);                            \
            store_first(q->y + i, expression, end - i);                                                                \
        }                                                                                                              \
    }

static void map(int64_t n, const real *a, const real *b, real *y, void (*block)(long, void *)) {
    Map q = {n, a, b, y};
    parallel_for(CEIL_DIV(n, MAP_BLOCK), block, &q);
}

/* ---- functions of x ---- */

INLINE vec normal_cdf(vec x) { return (1 + erf_of(x * (real)0.70710678118654752)) * (real)0.5; }

MAP(relu_block, relu_of(a))
MAP(sigmoid_block, sigmoid_of(a))
MAP(tanh_block, tanh_of(a))
MAP(softplus_block, softplus_of(a))
MAP(silu_block, a * sigmoid_of(a))
MAP(gelu_block, a *normal_cdf(a))
MAP(erf_block, erf_of(a))
MAP(exp_block, exp_of(a))
MAP(log_block, log_of(a))

EXPORT void NAME(relu)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, relu_block); }
EXPORT void NAME(sigmoid)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, sigmoid_block); }
EXPORT void NAME(tanh)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, tanh_block); }
EXPORT void NAME(softplus)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, softplus_block); }
EXPORT void NAME(silu)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, silu_block); }
EXPORT void NAME(gelu)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, gelu_block); }
EXPORT void NAME(erf)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, erf_block); }
/* Only the tests call these two; kernels call exp_of and log_of. */
EXPORT void NAME(exp)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, exp_block); }
EXPORT void NAME(log)(int64_t n, const real x[n], real y[n]) { map(n, x, 0, y, log_block); }

/* ---- gradients: a is dy, b is the output y or the input x ---- */

INLINE vec silu_slope(vec x) {
    const vec s = sigmoid_of(x);
    return s + x * s * (1 - s);
}
INLINE vec gelu_slope(vec x) {
    const vec density = exp_below(x * x * (real)-0.5) * (real)0.39894228040143268; /* 1 / sqrt(2 pi) */
    return normal_cdf(x) + x * density;
}

MAP2(relu_grad_block, a *choose(b > 0, all_lanes(1), (vec){0}))
MAP2(sigmoid_grad_block, a *b *(1 - b))
MAP2(tanh_grad_block, a *(1 - b * b))
MAP2(softplus_grad_block, a *sigmoid_of(b))
MAP2(silu_grad_block, a *silu_slope(b))
MAP2(gelu_grad_block, a *gelu_slope(b))

EXPORT void NAME(relu_grad)(int64_t n, const real dy[n], const real y[n], real dx[n]) {
    map(n, dy, y, dx, relu_grad_block);
}
EXPORT void NAME(sigmoid_grad)(int64_t n, const real dy[n], const real y[n], real dx[n]) {
    map(n, dy, y, dx, sigmoid_grad_block);
}
EXPORT void NAME(tanh_grad)(int64_t n, const real dy[n], const real y[n], real dx[n]) {
    map(n, dy, y, dx, tanh_grad_block);
}
EXPORT void NAME(softplus_grad)(int64_t n, const real dy[n], const real x[n], real dx[n]) {
    map(n, dy, x, dx, softplus_grad_block);
}
EXPORT void NAME(silu_grad)(int64_t n, const real dy[n], const real x[n], real dx[n]) {
    map(n, dy, x, dx, silu_grad_block);
}
EXPORT void NAME(gelu_grad)(int64_t n, const real dy[n], const real x[n], real dx[n]) {
    map(n, dy, x, dx, gelu_grad_block);
}

/* ---- bias and ReLU ---- */

typedef struct {
    int64_t n, period;
    const real *x, *b;
    real *y;
} BiasRelu;

#define ROWS_OF(period) MAX(1, MAP_BLOCK / (period)) /* the rows of a task; a row is one period */

static void bias_relu_rows(long task, void *job) {
    const BiasRelu *q = job;
    const int64_t P = q->period, begin = task * ROWS_OF(P) * P, end = MIN(q->n, begin + ROWS_OF(P) * P);
    for (int64_t row = begin; row < end; row += P) {
        const real *x = q->x + row;
        real *y = q->y + row;
        const int64_t count = MIN(P, end - row);
        int64_t j = 0;
        for (; j + LANES <= count; j += LANES) store(y + j, relu_of(load(x + j) + load(q->b + j)));
        if (j < count) store_first(y + j, relu_of(load_first(x + j, count - j) + load(q->b + j)), count - j);
    }
}

/* y[i] = max(x[i] + b[i % period], 0); the period is a multiple of LANES. */
EXPORT void NAME(bias_relu)(int64_t n, int64_t period, const real x[n], const real b[period], real y[n]) {
    BiasRelu q = {n, period, x, b, y};
    parallel_for(CEIL_DIV(n, ROWS_OF(period) * period), bias_relu_rows, &q);
}
