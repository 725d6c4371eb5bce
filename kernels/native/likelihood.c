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

/* ---- mixture of discretised logistic distributions: parameters (N, C, 3, K, D), x (N, C, D) ---- */

#define HALF_LEVEL ((real)(1.0 / 255))
#define LEAST_SCALE ((real)9.118819655545162e-4) /* exp(-7) */

typedef struct {
    int64_t N, C, K, D;
    const real *p, *x, *dy;
    const int64_t *strides, *out_strides; /* of p and of out, which may be channels-last */
    real *out;                            /* nll (N,) or, if there is dy, dparameters (N, C, 3, K, D) */
} Mixture;

/* Neighbouring pixels: their values in [-1, 1], and whether their bins end below and above. */
typedef struct {
    vec y;
    mask above, below;
} Pixels;

typedef struct {
    vec log_p, by_mean, by_raw; /* log P of a component, and its derivatives */
} Bin;

INLINE Bin log_bin(const int slopes, Pixels q, vec mean, vec raw) {
    const vec exp_raw = exp_of(raw), inverse = 1 / (exp_raw + LEAST_SCALE), centre = q.y - mean, zero = {0};
    const vec a = (centre - HALF_LEVEL) * inverse, b = (centre + HALF_LEVEL) * inverse, width = 2 * HALF_LEVEL * inverse;
    const mask inside = q.above & q.below;
    const vec filled = -expm1_of_negative(-width);
    Bin bin = {choose(inside, log_of(filled), zero) - choose(q.above, softplus_of(a), zero) -
                   choose(q.below, softplus_of(-b), zero), zero, zero};
    if (!slopes) return bin;
    const vec of_a = choose(q.above, sigmoid_of(a), zero), of_b = choose(q.below, sigmoid_of(-b), zero);
    bin.by_mean = (of_a - of_b) * inverse;
    bin.by_raw = (of_a * a - of_b * b - choose(inside, width * (1 - filled) / filled, zero)) * exp_raw * inverse;
    return bin;
}

/* The logarithm of a sum of exponentials: top + log(sum). */
typedef struct {
    vec top, sum;
} LogSum;

INLINE void add_exp(LogSum *s, vec x) {
    const vec top = larger(x, s->top);
    s->sum = s->sum * exp_below(s->top - top) + exp_below(x - top);
    s->top = top;
}

/* `count` numbers, `step` apart; lanes beyond them are 0. */
INLINE vec gather(const real *from, int64_t step, int64_t count) {
    if (step == 1) return count == LANES ? load(from) : load_first(from, count);
    vec v = {0};
    for (int64_t i = 0; i < count; i++) v[i] = from[i * step];
    return v;
}
INLINE void scatter(real *to, vec v, int64_t step, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i * step] = v[i];
}

/* `count` pixels from number d on of channel c of example n: adds their nll to *sum or, if there is dy, writes the slopes. */
INLINE void mix(const Mixture *q, const int slopes, int64_t n, int64_t c, int64_t d, int64_t count, vec *sum) {
    const int64_t *by = q->strides, part = by[2], next = by[3], step = by[4];
    const real *from = q->p + n * by[0] + c * by[1] + d * step;
    const vec x = gather(q->x + (n * q->C + c) * q->D + d, 1, count);
    const Pixels pixels = {2 * x - 1, x > HALF_LEVEL / 2, x < 1 - HALF_LEVEL / 2};
    LogSum prior = {all_lanes(-INFINITY), {0}}, joint = prior;
    for (int64_t k = 0; k < q->K; k++, from += next) {
        const vec logits = gather(from, step, count);
        add_exp(&prior, logits);
        add_exp(&joint, logits + log_bin(0, pixels, gather(from + part, step, count), gather(from + 2 * part, step, count)).log_p);
    }
    const vec log_prior = prior.top + log_of(prior.sum), log_joint = joint.top + log_of(joint.sum);
    if (!slopes) {
        *sum += keep_first(log_prior - log_joint, count, 0);
        return;
    }
    from -= q->K * next;
    const int64_t *to_by = q->out_strides;
    real *to = q->out + n * to_by[0] + c * to_by[1] + d * to_by[4];
    for (int64_t k = 0; k < q->K; k++, from += next, to += to_by[3]) {
        const vec logits = gather(from, step, count);
        const Bin bin = log_bin(1, pixels, gather(from + part, step, count), gather(from + 2 * part, step, count));
        const vec share = q->dy[n] * exp_of(logits + bin.log_p - log_joint);
        scatter(to, q->dy[n] * exp_of(logits - log_prior) - share, to_by[4], count);
        scatter(to + to_by[2], -share * bin.by_mean, to_by[4], count);
        scatter(to + 2 * to_by[2], -share * bin.by_raw, to_by[4], count);
    }
}

static void mixture_sum(long n, void *job) {
    const Mixture *q = job;
    Tree tree;
    tree.count = 0;
    for (int64_t c = 0; c < q->C; c++)
        for (int64_t d = 0; d < q->D;) {
            vec run = {0};
            for (int i = 0; i < RUN && d < q->D; i++, d += LANES) mix(q, 0, n, c, d, MIN(LANES, q->D - d), &run);
            add_run(&tree, run);
        }
    q->out[n] = total(&tree);
}
EXPORT void NAME(logistic_mixture_nll)(int64_t N, int64_t C, int64_t K, int64_t D, const real *parameters,
                                       const int64_t parameters_strides[5], const real x[N * C * D], real nll[N]) {
    Mixture q = {.N = N, .C = C, .K = K, .D = D, .p = parameters, .x = x, .strides = parameters_strides, .out = nll};
    parallel_for(N, mixture_sum, &q);
}

static void mixture_slopes(long n, void *job) {
    const Mixture *q = job;
    for (int64_t c = 0; c < q->C; c++)
        for (int64_t d = 0; d < q->D; d += LANES) mix(q, 1, n, c, d, MIN(LANES, q->D - d), 0);
}
EXPORT void NAME(logistic_mixture_nll_grad)(int64_t N, int64_t C, int64_t K, int64_t D, const real dy[N],
                                            const real *parameters, const int64_t parameters_strides[5],
                                            const real x[N * C * D], real *slopes, const int64_t slopes_strides[5]) {
    Mixture q = {N, C, K, D, parameters, x, dy, parameters_strides, slopes_strides, slopes};
    parallel_for(N, mixture_slopes, &q);
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
