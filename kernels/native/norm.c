/* Normalisation, forward and backward; kernels/reference/norm.py has the mathematics.

   An array consists of S sets of R rows of C channels; a row is a pixel. Each set has G groups of C / G channels, and the
   elements of one set and one group are normalised together. Group norm has one set for each example. Batch norm has a
   single set, and each channel is a group.

   C channels may not fill whole vectors. So neighbouring rows are joined into a *wide row*, whose width is the smallest
   multiple of C that is also a multiple of LANES. At the end of a set a part of a wide row may be left over. Sets are cut
   into blocks of wide rows, whose sums are added up in a fixed order.

   Each set is read two or three times. A small set is one task, so that it stays in the cache; of a large set each block
   is a task. The results are the same. */
#include "sums.h"

#define NORM_BLOCK 8192 /* the elements of a block */
#define SMALL_SET 32768 /* the most elements of a set that is one task */
#define MOST_ROWS 64    /* the most wide rows of a block; each of 4 accumulators then adds up at most 16 numbers */

typedef struct {
    int64_t R, C, G;
    int64_t joined, width;        /* the rows and the elements of a wide row */
    int64_t wide_rows, left_over; /* of a set: its wide rows, and the elements behind them */
    int64_t block_rows, blocks;   /* the wide rows of a block, the blocks of a set */
    double eps;
    const real *x, *dy, *weight, *bias;
    real *y, *mean, *var;                /* y: the result, or dx; mean and var (S, G) */
    real *sums, *products;               /* (S, blocks, width), see add_terms; at the end the first C numbers of each set */
    real *centre, *dy_factor, *x_factor, *shift; /* (S, width): y = dy dy_factor + (x - centre) x_factor + shift */
    void *memory;
} Norm;

static int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

/* Decides how the sets are cut, and allocates memory for sums and factors; q->memory is NULL if there was none. */
static void prepare(Norm *q, int64_t S) {
    q->joined = LANES / common_divisor(q->C, LANES);
    q->width = q->C * q->joined;
    q->wide_rows = q->R / q->joined;
    q->left_over = q->R % q->joined * q->C;
    q->block_rows = MAX(1, MIN(MOST_ROWS, NORM_BLOCK / q->width));
    q->blocks = MAX(1, CEIL_DIV(q->wide_rows, q->block_rows));
    const int64_t factors = S * q->width, sums = factors * q->blocks;
    q->memory = allocate(MAX(1, 2 * sums + 4 * factors) * sizeof(real));
    q->sums = q->memory, q->products = q->sums + sums, q->centre = q->products + sums;
    q->dy_factor = q->centre + factors, q->x_factor = q->dy_factor + factors, q->shift = q->x_factor + factors;
}

/* A copy of the job whose pointers lead to set number `set`. */
static Norm one_set(const Norm *all, int64_t set) {
    Norm q = *all;
    const int64_t elements = set * q.R * q.C, factors = set * q.width;
    q.x += elements, q.y += elements, q.mean += set * q.G, q.var += set * q.G;
    if (q.dy) q.dy += elements;
    q.sums += factors * q.blocks, q.products += factors * q.blocks;
    q.centre += factors, q.dy_factor += factors, q.x_factor += factors, q.shift += factors;
    return q;
}

/* Calls work(set, q) for all sets: small ones in parallel; large ones one by one, each of which works in parallel. */
static void for_each_set(Norm *q, int64_t S, void (*work)(long set, void *job)) {
    if (S > 1 && q->R * q->C <= SMALL_SET) parallel_for(S, work, q);
    else
        for (int64_t set = 0; set < S; set++) work(set, q);
}

/* ---- sums over rows ---- */

enum { VALUES, SQUARES, GRADIENTS }; /* what is summed: x, (x - centre)^2, or dy and dy (x - centre) */

INLINE void add_terms(const int kind, vec x, vec dy, vec centre, vec *sum, vec *product) {
    if (kind == VALUES) *sum += x;
    if (kind == SQUARES) *sum += (x - centre) * (x - centre);
    if (kind == GRADIENTS) *sum += dy, *product += dy * (x - centre);
}

/* Sums the terms over the rows of a block, separately for each element of a wide row. */
INLINE void sum_rows(const Norm *q, long block, const int kind) {
    const int64_t W = q->width, begin = block * q->block_rows, end = MIN(q->wide_rows, begin + q->block_rows);
    const int64_t left_over = block == q->blocks - 1 ? q->left_over : 0;
    for (int64_t j = 0; j < W; j += LANES) {
        const real *x = q->x + begin * W + j, *dy = (kind == GRADIENTS ? q->dy : q->x) + begin * W + j;
        const vec centre = kind == VALUES ? (vec){0} : load(q->centre + j);
        vec sum[4] = {{0}}, product[4] = {{0}};
        int64_t i = begin;
        for (; i + 4 <= end; i += 4, x += 4 * W, dy += 4 * W)
            UNROLL for (int k = 0; k < 4; k++)
                add_terms(kind, load(x + k * W), load(dy + k * W), centre, &sum[k], &product[k]);
        for (; i < end; i++, x += W, dy += W) add_terms(kind, load(x), load(dy), centre, &sum[0], &product[0]);
        if (j < left_over) {
            const int64_t n = MIN(LANES, left_over - j);
            vec last_sum = {0}, last_product = {0};
            const vec last_x = n == LANES ? load(x) : load_first(x, n), last_dy = n == LANES ? load(dy) : load_first(dy, n);
            add_terms(kind, last_x, last_dy, centre, &last_sum, &last_product);
            sum[1] += keep_first(last_sum, n, 0), product[1] += keep_first(last_product, n, 0);
        }
        store(q->sums + block * W + j, (sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (kind == GRADIENTS) store(q->products + block * W + j, (product[0] + product[1]) + (product[2] + product[3]));
    }
}
static void sum_values(long block, void *job) { sum_rows(job, block, VALUES); }
static void sum_squares(long block, void *job) { sum_rows(job, block, SQUARES); }
static void sum_gradients(long block, void *job) { sum_rows(job, block, GRADIENTS); }

/* Adds up the sums of all blocks of a set: the first C numbers become the sums over all its rows. */
static void fold_blocks(const Norm *q, real *sums) {
    fold_rows(sums, q->blocks, q->width);
    fold_rows(sums, q->joined, q->C);
}

/* means (G,) = the sums divided by the number of elements of a group. */
static void mean_of_groups(const Norm *q, real *means) {
    const int64_t C = q->C / q->G;
    fold_blocks(q, q->sums);
    for (int64_t g = 0; g < q->G; g++) {
        fold_rows(q->sums + g * C, C, 1);
        means[g] = q->sums[g * C] / MAX(1, C * q->R);
    }
}

/* ---- the pass that writes ---- */

/* y = (x - centre) x_factor + shift for the rows of a block; a gradient adds dy dy_factor. */
INLINE void write_rows(const Norm *q, long block, const int gradient) {
    const int64_t W = q->width, begin = block * q->block_rows, end = MIN(q->wide_rows, begin + q->block_rows);
    const int64_t left_over = block == q->blocks - 1 ? q->left_over : 0;
    const real *x = q->x + begin * W, *dy = (gradient ? q->dy : q->x) + begin * W;
    const real *centre = q->centre, *dy_factor = q->dy_factor, *x_factor = q->x_factor, *shift = q->shift;
    real *y = q->y + begin * W;
    for (int64_t i = begin; i < end; i++, x += W, dy += W, y += W)
        for (int64_t j = 0; j < W; j += LANES) {
            vec v = (load(x + j) - load(centre + j)) * load(x_factor + j) + load(shift + j);
            if (gradient) v += load(dy + j) * load(dy_factor + j);
            store(y + j, v);
        }
    for (int64_t j = 0; j < left_over; j++) {
        y[j] = (x[j] - centre[j]) * x_factor[j] + shift[j];
        if (gradient) y[j] += dy[j] * dy_factor[j];
    }
}
static void write_values(long block, void *job) { write_rows(job, block, 0); }
static void write_gradients(long block, void *job) { write_rows(job, block, 1); }

/* Repeats the first C numbers until they fill a wide row. */
static void repeat(const Norm *q, real *wide_row) {
    for (int64_t i = 1; i < q->joined; i++) memcpy(wide_row + i * q->C, wide_row, q->C * sizeof(real));
}
/* centre = the mean of each element's group. */
static void centre_on_means(const Norm *q) {
    for (int64_t g = 0, c = 0; g < q->G; g++)
        for (int64_t i = 0; i < q->C / q->G; i++, c++) q->centre[c] = q->mean[g];
    repeat(q, q->centre);
}

/* ---- forward ---- */

static void normalize_set(long set, void *job) {
    Norm q = one_set(job, set);
    parallel_for(q.blocks, sum_values, &q);
    mean_of_groups(&q, q.mean);
    centre_on_means(&q);
    parallel_for(q.blocks, sum_squares, &q);
    mean_of_groups(&q, q.var);
    for (int64_t g = 0, c = 0; g < q.G; g++) {
        const real scale = 1 / (real)sqrt((double)q.var[g] + q.eps);
        for (int64_t i = 0; i < q.C / q.G; i++, c++) {
            q.x_factor[c] = q.weight ? q.weight[c] * scale : scale;
            q.shift[c] = q.bias ? q.bias[c] : 0;
        }
    }
    repeat(&q, q.x_factor), repeat(&q, q.shift);
    parallel_for(q.blocks, write_values, &q);
}

/* y = (x - mean) / sqrt(var + eps) weight + bias. mean and var (S, G) are results, too. */
EXPORT int NAME(normalize)(int64_t S, int64_t R, int64_t C, int64_t G, double eps, const real x[S * R * C],
                           OPTIONAL const real weight[C], OPTIONAL const real bias[C], real y[S * R * C], real mean[S * G],
                           real var[S * G]) {
    Norm q = {.R = R, .C = C, .G = G, .eps = eps, .x = x, .weight = weight, .bias = bias, .y = y, .mean = mean, .var = var};
    prepare(&q, S);
    if (!q.memory) return NO_MEMORY;
    for_each_set(&q, S, normalize_set);
    release(q.memory);
    return 0;
}

/* ---- backward: with s = sqrt(var + eps) and g = weight dy, dx = (g - E g - x_hat E(g x_hat)) / s ---- */

static void normalize_set_grad(long set, void *job) {
    Norm q = one_set(job, set);
    const int64_t C = q.C / q.G;
    centre_on_means(&q);
    parallel_for(q.blocks, sum_gradients, &q);
    fold_blocks(&q, q.sums), fold_blocks(&q, q.products);
    for (int64_t g = 0; g < q.G; g++) {
        const real scale = 1 / (real)sqrt((double)q.var[g] + q.eps);
        real mean_g = 0, mean_g_x_hat = 0; /* E g and E(g x_hat) */
        for (int64_t c = g * C; c < (g + 1) * C; c++) {
            const real weight = q.weight ? q.weight[c] : 1;
            q.products[c] *= scale;
            mean_g += weight * q.sums[c] / MAX(1, C * q.R), mean_g_x_hat += weight * q.products[c] / MAX(1, C * q.R);
        }
        for (int64_t c = g * C; c < (g + 1) * C; c++) {
            q.dy_factor[c] = q.weight ? q.weight[c] * scale : scale;
            q.x_factor[c] = -mean_g_x_hat * scale * scale;
            q.shift[c] = -mean_g * scale;
        }
    }
    repeat(&q, q.dy_factor), repeat(&q, q.x_factor), repeat(&q, q.shift);
    parallel_for(q.blocks, write_gradients, &q);
}

/* out (C,) = the sum over the sets of the first C numbers of sums (S, blocks, width). */
static void add_sets(const Norm *q, int64_t S, real *sums, real *out) {
    for (int64_t set = 0; set < S; set++) memmove(sums + set * q->C, sums + set * q->blocks * q->width, q->C * sizeof(real));
    fold_rows(sums, S, q->C);
    for (int64_t c = 0; c < q->C; c++) out[c] = S ? sums[c] : 0;
}

/* dx, and for each channel dweight = sum of dy x_hat and dbias = sum of dy; mean and var (S, G) are those of normalize. */
EXPORT int NAME(normalize_grad)(int64_t S, int64_t R, int64_t C, int64_t G, double eps, const real dy[S * R * C],
                                const real x[S * R * C], OPTIONAL const real weight[C], const real mean[S * G],
                                const real var[S * G], real dx[S * R * C], real dweight[C], real dbias[C]) {
    Norm q = {.R = R, .C = C, .G = G, .eps = eps, .x = x, .dy = dy, .weight = weight, .y = dx, .mean = (real *)mean,
              .var = (real *)var};
    prepare(&q, S);
    if (!q.memory) return NO_MEMORY;
    for_each_set(&q, S, normalize_set_grad);
    add_sets(&q, S, q.sums, dbias), add_sets(&q, S, q.products, dweight);
    release(q.memory);
    return 0;
}
