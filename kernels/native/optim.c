/* One step of an optimiser, in place on all parameters in one call, which reads and writes each number once; and the norm of
   all gradients. kernels/reference/optim.py has the mathematics. */
#include "sums.h"

#define OPTIM_BLOCK 16384 /* the elements of a task, a multiple of LANES */

/* What a task works on: elements begin to end of one of the arrays. */
typedef struct {
    int64_t array, begin, end;
} Part;

/* How many parts the arrays are cut into. */
static int64_t parts(int64_t arrays, const int64_t *sizes) {
    int64_t count = 0;
    for (int64_t i = 0; i < arrays; i++) count += CEIL_DIV(sizes[i], OPTIM_BLOCK);
    return count;
}
/* The part that belongs to a task. */
static Part part(int64_t task, const int64_t *sizes) {
    int64_t array = 0;
    for (int64_t n; task >= (n = CEIL_DIV(sizes[array], OPTIM_BLOCK)); array++) task -= n;
    return (Part){array, task * OPTIM_BLOCK, MIN(sizes[array], (task + 1) * OPTIM_BLOCK)};
}

typedef struct {
    const int64_t *sizes;
    real *const *p, *const *m, *const *v; /* m and v of Adam; v: the velocities of SGD */
    const real *const *g;
    real lr, momentum, b1, b2, bias2, eps, weight_decay, shrink;
    int nesterov;
} Step;

/* ---- SGD: g += weight_decay p;  v = momentum v + g;  p -= lr v, or with nesterov p -= lr (g + momentum v) ---- */

INLINE void sgd_lanes(const Step *q, const int has_velocity, vec *p, vec g, vec *v) {
    g += q->weight_decay * *p;
    if (has_velocity) {
        *v = q->momentum * *v + g;
        if (q->nesterov) g += q->momentum * *v;
        else g = *v;
    }
    *p -= q->lr * g;
}

INLINE void sgd(const Step *q, long task, const int has_velocity) {
    const Part at = part(task, q->sizes);
    real *p = q->p[at.array], *v = has_velocity ? q->v[at.array] : 0;
    const real *g = q->g[at.array];
    int64_t i = at.begin;
    vec of_p, of_v = {0};
    for (; i + LANES <= at.end; i += LANES) {
        of_p = load(p + i);
        if (has_velocity) of_v = load(v + i);
        sgd_lanes(q, has_velocity, &of_p, load(g + i), &of_v);
        store(p + i, of_p);
        if (has_velocity) store(v + i, of_v);
    }
    if (i == at.end) return;
    const int64_t n = at.end - i;
    of_p = load_first(p + i, n);
    if (has_velocity) of_v = load_first(v + i, n);
    sgd_lanes(q, has_velocity, &of_p, load_first(g + i, n), &of_v);
    store_first(p + i, of_p, n);
    if (has_velocity) store_first(v + i, of_v, n);
}
static void sgd_plain(long task, void *job) { sgd(job, task, 0); }
static void sgd_with_velocity(long task, void *job) { sgd(job, task, 1); }

EXPORT void NAME(sgd_step)(int64_t arrays, const int64_t sizes[arrays], real *const p[arrays], const real *const g[arrays],
                           int64_t velocities, real *const v[velocities], double lr, double momentum, double weight_decay,
                           int nesterov) {
    Step q = {.sizes = sizes, .p = p, .g = g, .v = v, .lr = lr, .momentum = momentum, .weight_decay = weight_decay,
              .nesterov = nesterov};
    parallel_for(parts(arrays, sizes), velocities ? sgd_with_velocity : sgd_plain, &q);
}

/* ---- Adam ---- */

INLINE void adam_lanes(const Step *q, vec *p, vec g, vec *m, vec *v) {
    g += q->weight_decay * *p;
    *m = q->b1 * *m + (1 - q->b1) * g;
    *v = q->b2 * *v + (1 - q->b2) * g * g;
    *p = q->shrink * *p - q->lr * *m / (root(*v) * q->bias2 + q->eps);
}

static void adam(long task, void *job) {
    const Step q = *(const Step *)job; /* a copy: the compiler then knows that no store to an array changes it */
    const Part at = part(task, q.sizes);
    real *p = q.p[at.array], *m = q.m[at.array], *v = q.v[at.array];
    const real *g = q.g[at.array];
    int64_t i = at.begin;
    vec of_p, of_m, of_v;
    for (; i + LANES <= at.end; i += LANES) {
        of_p = load(p + i), of_m = load(m + i), of_v = load(v + i);
        adam_lanes(&q, &of_p, load(g + i), &of_m, &of_v);
        store(p + i, of_p), store(m + i, of_m), store(v + i, of_v);
    }
    if (i == at.end) return;
    const int64_t n = at.end - i;
    of_p = load_first(p + i, n), of_m = load_first(m + i, n), of_v = load_first(v + i, n);
    adam_lanes(&q, &of_p, load_first(g + i, n), &of_m, &of_v);
    store_first(p + i, of_p, n), store_first(m + i, of_m, n), store_first(v + i, of_v, n);
}

/* p = shrink p - lr m / (sqrt(v) bias2 + eps). lr is already divided by 1 - b1^step, and bias2 is 1 / sqrt(1 - b2^step). */
EXPORT void NAME(adam_step)(int64_t arrays, const int64_t sizes[arrays], real *const p[arrays], const real *const g[arrays],
                            real *const m[arrays], real *const v[arrays], double lr, double b1, double b2, double bias2,
                            double eps, double weight_decay, double shrink) {
    Step q = {.sizes = sizes, .p = p, .g = g, .m = m, .v = v, .lr = lr, .b1 = b1, .b2 = b2, .bias2 = bias2, .eps = eps,
              .weight_decay = weight_decay, .shrink = shrink};
    parallel_for(parts(arrays, sizes), adam, &q);
}

/* ---- the sum of all squares, in float64 ---- */

typedef struct {
    const int64_t *sizes;
    const real *const *arrays;
    double *sums;
} Squares;

static double pairwise(const double *values, int64_t count) {
    if (count < 2) return count ? *values : 0;
    return pairwise(values, count / 2) + pairwise(values + count / 2, count - count / 2);
}

#define SUMS 32        /* independent sums, so that the compiler can use vectors */
#define SUM_BLOCK 2048 /* the squares that they add up, 64 each, before they are added to each other */

/* The sum of the squares of one part. */
static void squares(long task, void *job) {
    const Squares *q = job;
    const Part at = part(task, q->sizes);
    double block_sum[OPTIM_BLOCK / SUM_BLOCK];
    int64_t count = 0;
    for (int64_t i = at.begin; i < at.end; count++) {
        const real *a = q->arrays[at.array];
        const int64_t end = MIN(at.end, i + SUM_BLOCK);
        double sum[SUMS] = {0};
        for (; i + SUMS <= end; i += SUMS)
            for (int l = 0; l < SUMS; l++) sum[l] += (double)a[i + l] * a[i + l];
        for (int l = 0; i < end; i++, l++) sum[l] += (double)a[i] * a[i];
        block_sum[count] = pairwise(sum, SUMS);
    }
    q->sums[task] = pairwise(block_sum, count);
}

EXPORT int NAME(sum_of_squares)(int64_t arrays, const int64_t sizes[arrays], const real *const a[arrays], double result[1]) {
    const int64_t count = parts(arrays, sizes);
    Squares q = {sizes, a, allocate(MAX(1, count) * sizeof(double))};
    if (!q.sums) return NO_MEMORY;
    parallel_for(count, squares, &q);
    *result = pairwise(q.sums, count);
    release(q.sums);
    return 0;
}
