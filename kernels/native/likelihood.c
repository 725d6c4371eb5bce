/* Negative log-likelihoods of examples, which are rows (N, D), and their gradients; kernels/reference/likelihood.py has the
   mathematics. A row is cut into pieces, whose sums are added up at the end. */
#include "sums.h"

#define PIECE 8192 /* the elements of a piece, a multiple of RUN * LANES */

typedef struct Rows Rows;
struct Rows {
    int64_t N, D, pieces; /* pieces: the number of pieces of a row */
    const real *a, *b, *c, *dy;
    int64_t c_step; /* the step from one row of c to the next: D, or 0 if all examples share one row */
    real *y, *z, *sums;
    void (*work)(const Rows *q, int64_t row, int64_t begin, int64_t end, real *sum); /* does one piece of a row */
};

#define PIECES_OF_TASK(q) MAX(1, PIECE / MAX((q)->D, 1)) /* more than one only if rows are short */

static void pieces_of_rows(long task, void *job) {
    const Rows *q = job;
    for (int64_t i = task * PIECES_OF_TASK(q); i < MIN(q->N * q->pieces, (task + 1) * PIECES_OF_TASK(q)); i++) {
        const int64_t row = i / q->pieces, begin = i % q->pieces * PIECE;
        q->work(q, row, begin, MIN(q->D, begin + PIECE), q->sums ? q->sums + i : 0);
    }
}

/* Calls q->work for all pieces. If nll is not null, it receives the sums of the rows. Returns 0, or NO_MEMORY. */
static int over_rows(Rows *q, real *nll) {
    q->pieces = MAX(1, CEIL_DIV(q->D, PIECE));
    q->sums = nll && q->pieces > 1 ? allocate(q->N * q->pieces * sizeof(real)) : nll;
    if (nll && !q->sums) return NO_MEMORY;
    parallel_for(CEIL_DIV(q->N * q->pieces, PIECES_OF_TASK(q)), pieces_of_rows, q);
    if (!nll || q->sums == nll) return 0;
    for (int64_t row = 0; row < q->N; row++) {
        fold_rows(q->sums + row * q->pieces, q->pieces, 1);
        nll[row] = q->sums[row * q->pieces];
    }
    release(q->sums);
    return 0;
}

/* Defines the function `name`: *sum = the sum of term(a, b, c) over one piece of a row. */
#define SUM_OF_ROW(name, term)                                                                                         \
    static void name(const Rows *q, int64_t row, int64_t begin, int64_t end, real *sum) {                              \
        const real *a = q->a + row * q->D, *b = q->b + row * q->D, *c = q->c + row * q->c_step;                        \
        (void)c; /* the Bernoulli likelihood has only two arrays */                                                    \
        Tree tree;                                                                                                     \
        tree.count = 0;                                                                                                \
        int64_t i = begin;                                                                                             \
        while (i < end) {                                                                                              \
            vec run = {0};                                                                                             \
            const int64_t stop = MIN(end, i + RUN * LANES);                                                            \
            for (; i + LANES <= stop; i += LANES) run += term(load(a + i), load(b + i), load(c + i));                  \
            if (i < stop) {                                                                                            \
                const int64_t n = stop - i;                                                                            \
                run += keep_first(term(load_first(a + i, n), load_first(b + i, n), load_first(c + i, n)), n, 0);       \
                i = stop;                                                                                              \
            }                                                                                                          \
            add_run(&tree, run);                                                                                       \
        }                                                                                                              \
        *sum = total(&tree);                                                                                           \
    }

/* ---- Bernoulli: a is logits, b is x ---- */

#define BERNOULLI(logits, x, unused) (softplus_of(logits) - (x) * (logits))
#define BERNOULLI_SLOPE(logits, x) (sigmoid_of(logits) - (x))

SUM_OF_ROW(bernoulli_sum, BERNOULLI)

EXPORT int NAME(bernoulli_nll)(int64_t N, int64_t D, const real logits[N * D], const real x[N * D], real nll[N]) {
    Rows q = {.N = N, .D = D, .a = logits, .b = x, .c = x, .c_step = D, .work = bernoulli_sum};
    return over_rows(&q, nll);
}

static void bernoulli_slope(const Rows *q, int64_t row, int64_t begin, int64_t end, real *sum) {
    const real *a = q->a + row * q->D, *b = q->b + row * q->D, dy = q->dy[row];
    real *y = q->y + row * q->D;
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES) store(y + i, dy * BERNOULLI_SLOPE(load(a + i), load(b + i)));
    const int64_t n = end - i;
    if (n > 0) store_first(y + i, dy * BERNOULLI_SLOPE(load_first(a + i, n), load_first(b + i, n)), n);
    (void)sum;
}
EXPORT void NAME(bernoulli_nll_grad)(int64_t N, int64_t D, const real dy[N], const real logits[N * D], const real x[N * D],
                                     real dlogits[N * D]) {
    Rows q = {.N = N, .D = D, .a = logits, .b = x, .dy = dy, .y = dlogits, .work = bernoulli_slope};
    over_rows(&q, 0);
}

/* ---- Gauss: a is mean, b is x, c is log_var, a row for each example or one for all ---- */

INLINE vec gaussian_term(vec mean, vec x, vec log_var) {
    const vec difference = x - mean;
    return (log_var + difference * difference * exp_of(-log_var) + (real)1.8378770664093455) * (real)0.5; /* log(2 pi) */
}
SUM_OF_ROW(gaussian_sum, gaussian_term)

EXPORT int NAME(gaussian_nll)(int64_t N, int64_t D, int64_t variances, const real mean[N * D],
                              const real log_var[variances * D], const real x[N * D], real nll[N]) {
    Rows q = {.N = N, .D = D, .a = mean, .b = x, .c = log_var, .c_step = variances == 1 ? 0 : D, .work = gaussian_sum};
    return over_rows(&q, nll);
}

static void gaussian_slope(const Rows *q, int64_t row, int64_t begin, int64_t end, real *sum) {
    const real *a = q->a + row * q->D, *b = q->b + row * q->D, *c = q->c + row * q->c_step, dy = q->dy[row];
    real *dmean = q->y + row * q->D, *dlog_var = q->z + row * q->D;
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES) {
        const vec difference = load(a + i) - load(b + i), scaled = difference * exp_of(-load(c + i));
        store(dmean + i, dy * scaled);
        store(dlog_var + i, (real)0.5 * dy * (1 - scaled * difference));
    }
    const int64_t n = end - i;
    if (n > 0) {
        const vec difference = load_first(a + i, n) - load_first(b + i, n);
        const vec scaled = difference * exp_of(-load_first(c + i, n));
        store_first(dmean + i, dy * scaled, n);
        store_first(dlog_var + i, (real)0.5 * dy * (1 - scaled * difference), n);
    }
    (void)sum;
}
EXPORT void NAME(gaussian_nll_grad)(int64_t N, int64_t D, int64_t variances, const real dy[N], const real mean[N * D],
                                    const real log_var[variances * D], const real x[N * D], real dmean[N * D],
                                    real dlog_var[N * D]) {
    Rows q = {.N = N, .D = D, .a = mean, .b = x, .c = log_var, .c_step = variances == 1 ? 0 : D, .dy = dy, .y = dmean,
              .z = dlog_var, .work = gaussian_slope};
    over_rows(&q, 0);
}

/* ---- softmax and cross-entropy of rows (M, K); a row is never cut ---- */

typedef struct {
    int64_t M, K;
    const real *logits, *dy;
    const int64_t *target;
    real *y; /* nll (M,) or, if there is dy, dlogits (M, K) */
} Softmax;

#define SOFTMAX_ROWS(K) MAX(1, PIECE / MAX(K, 1)) /* the rows of a task */

static real largest(const real *x, int64_t n) {
    vec top[4] = {all_lanes(-INFINITY), all_lanes(-INFINITY), all_lanes(-INFINITY), all_lanes(-INFINITY)};
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        UNROLL for (int j = 0; j < 4; j++) top[j] = larger(load(x + i + j * LANES), top[j]);
    for (; i + LANES <= n; i += LANES) top[0] = larger(load(x + i), top[0]);
    if (i < n) top[1] = larger(keep_first(load_first(x + i, n - i), n - i, -INFINITY), top[1]);
    return largest_lane(larger(larger(top[0], top[1]), larger(top[2], top[3])));
}

/* The sum of exp(x - top). If `terms` is not null, it receives the terms. */
static real sum_of_exp(const real *x, int64_t n, real top, real *terms) {
    Tree tree;
    tree.count = 0;
    int64_t i = 0;
    while (i < n) {
        vec run = {0};
        const int64_t stop = MIN(n, i + RUN * LANES);
        for (; i + LANES <= stop; i += LANES) {
            const vec e = exp_below(load(x + i) - top);
            if (terms) store(terms + i, e);
            run += e;
        }
        if (i < stop) {
            const vec e = exp_below(load_first(x + i, stop - i) - top);
            if (terms) store_first(terms + i, e, stop - i);
            run += keep_first(e, stop - i, 0);
            i = stop;
        }
        add_run(&tree, run);
    }
    return total(&tree);
}

static void cross_entropy_rows(long task, void *job) {
    const Softmax *q = job;
    const int64_t K = q->K;
    for (int64_t m = task * SOFTMAX_ROWS(K); m < MIN(q->M, (task + 1) * SOFTMAX_ROWS(K)); m++) {
        const real *x = q->logits + m * K, top = largest(x, K);
        const vec sum = all_lanes(sum_of_exp(x, K, top, 0));
        q->y[m] = log_of(sum)[0] - (x[q->target[m]] - top);
    }
}
EXPORT void NAME(softmax_cross_entropy)(int64_t M, int64_t K, const real logits[M * K], const int64_t target[M],
                                        real nll[M]) {
    Softmax q = {M, K, logits, 0, target, nll};
    parallel_for(CEIL_DIV(M, SOFTMAX_ROWS(K)), cross_entropy_rows, &q);
}

static void softmax_slopes(long task, void *job) {
    const Softmax *q = job;
    const int64_t K = q->K;
    for (int64_t m = task * SOFTMAX_ROWS(K); m < MIN(q->M, (task + 1) * SOFTMAX_ROWS(K)); m++) {
        const real *x = q->logits + m * K, dy = q->dy[m];
        real *y = q->y + m * K;
        const real scale = dy / sum_of_exp(x, K, largest(x, K), y);
        int64_t i = 0;
        for (; i + LANES <= K; i += LANES) store(y + i, load(y + i) * scale);
        for (; i < K; i++) y[i] *= scale;
        y[q->target[m]] -= dy;
    }
}
EXPORT void NAME(softmax_cross_entropy_grad)(int64_t M, int64_t K, const real dy[M], const real logits[M * K],
                                             const int64_t target[M], real dlogits[M * K]) {
    Softmax q = {M, K, logits, dy, target, dlogits};
    parallel_for(CEIL_DIV(M, SOFTMAX_ROWS(K)), softmax_slopes, &q);
}
