/* Normalisation, forward and backward; kernels/reference/norm.py has the mathematics.

   An array is S sets of R rows of C channels (a row is a pixel), and each set has G groups of C / G channels; what belongs
   to one set and one group is normalised together. Group norm has a set for each example. Batch norm has one set, and as
   many groups as channels.

   Few channels do not fill a vector: so many rows are taken `together` as one wide row that its width is a multiple of
   LANES. At the end of a set there may be a rest, a part of a wide row. Sets are cut into blocks of wide rows.

   A set goes through the cache two or three times. Where it is small it is one task, and stays there; of large sets the
   blocks are the tasks. The results are the same. */
#include "sums.h"

#define NORM_BLOCK 8192 /* elements */
#define SMALL_SET 32768 /* elements */
#define MOST_ROWS 64    /* wide rows of a block, so that no accumulator adds up more than 16 numbers */

typedef struct {
    int64_t R, C, G;
    int64_t together, width, wide_rows, rest; /* rows in a wide row, elements in it; wide rows of a set, elements left over */
    int64_t rows, blocks;                     /* wide rows of a block, blocks of a set */
    double eps;
    const real *x, *dy, *weight, *bias;
    real *y, *mean, *var;                /* mean and var (S, G) */
    real *sums, *products;               /* (S, blocks, width), see add_terms; in the end the first C numbers of each set */
    real *centre, *of_dy, *of_x, *add;   /* (S, width): y = dy of_dy + (x - centre) of_x + add */
    void *memory;
} Norm;

static int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

/* Cuts the sets and allocates what is summed in; q->memory is NULL if there was no memory. */
static void prepare(Norm *q, int64_t S) {
    q->together = LANES / common_divisor(q->C, LANES);
    q->width = q->C * q->together;
    q->wide_rows = q->R / q->together;
    q->rest = q->R % q->together * q->C;
    q->rows = MAX(1, MIN(MOST_ROWS, NORM_BLOCK / q->width));
    q->blocks = MAX(1, CEIL_DIV(q->wide_rows, q->rows));
    const int64_t tile = S * q->width, all = tile * q->blocks;
    q->memory = allocate(MAX(1, 2 * all + 4 * tile) * sizeof(real));
    q->sums = q->memory, q->products = q->sums + all, q->centre = q->products + all;
    q->of_dy = q->centre + tile, q->of_x = q->of_dy + tile, q->add = q->of_x + tile;
}

/* The one set that begins so far on. */
static Norm only(const Norm *all, int64_t set) {
    Norm q = *all;
    const int64_t elements = set * q.R * q.C, tile = set * q.width;
    q.x += elements, q.y += elements, q.mean += set * q.G, q.var += set * q.G;
    if (q.dy) q.dy += elements;
    q.sums += tile * q.blocks, q.products += tile * q.blocks;
    q.centre += tile, q.of_dy += tile, q.of_x += tile, q.add += tile;
    return q;
}

static void over_sets(Norm *q, int64_t S, void (*work)(long set, void *job)) {
    if (S > 1 && q->R * q->C <= SMALL_SET) parallel_for(S, work, q);
    else
        for (int64_t set = 0; set < S; set++) work(set, q);
}

/* ---- sums over rows ---- */

enum { VALUES, SQUARES, GRADIENTS };

INLINE void add_terms(const int kind, vec x, vec dy, vec centre, vec *sum, vec *product) {
    if (kind == VALUES) *sum += x;
    if (kind == SQUARES) *sum += (x - centre) * (x - centre);
    if (kind == GRADIENTS) *sum += dy, *product += dy * (x - centre);
}

/* Sums the terms over the rows of a block, for each element of a wide row by itself. */
INLINE void add_up_rows(const Norm *q, long block, const int kind) {
    const int64_t W = q->width, begin = block * q->rows, end = MIN(q->wide_rows, begin + q->rows);
    const int64_t rest = block == q->blocks - 1 ? q->rest : 0;
    for (int64_t j = 0; j < W; j += LANES) {
        const real *x = q->x + begin * W + j, *dy = (kind == GRADIENTS ? q->dy : q->x) + begin * W + j;
        const vec centre = kind == VALUES ? (vec){0} : load(q->centre + j);
        vec sum[4] = {{0}}, product[4] = {{0}};
        int64_t i = begin;
        for (; i + 4 <= end; i += 4, x += 4 * W, dy += 4 * W)
            UNROLL for (int k = 0; k < 4; k++)
                add_terms(kind, load(x + k * W), load(dy + k * W), centre, &sum[k], &product[k]);
        for (; i < end; i++, x += W, dy += W) add_terms(kind, load(x), load(dy), centre, &sum[0], &product[0]);
        if (j < rest) {
            const int64_t n = MIN(LANES, rest - j);
            vec last = {0}, last_product = {0};
            const vec of_x = n == LANES ? load(x) : load_first(x, n), of_dy = n == LANES ? load(dy) : load_first(dy, n);
            add_terms(kind, of_x, of_dy, centre, &last, &last_product);
            sum[1] += keep_first(last, n, 0), product[1] += keep_first(last_product, n, 0);
        }
        store(q->sums + block * W + j, (sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (kind == GRADIENTS) store(q->products + block * W + j, (product[0] + product[1]) + (product[2] + product[3]));
    }
}
static void add_values(long block, void *job) { add_up_rows(job, block, VALUES); }
static void add_squares(long block, void *job) { add_up_rows(job, block, SQUARES); }
static void add_gradients(long block, void *job) { add_up_rows(job, block, GRADIENTS); }

/* Sums over all rows of a set, in front of those of its blocks: (C,). */
static void fold_blocks(const Norm *q, real *sums) {
    fold_rows(sums, q->blocks, q->width);
    fold_rows(sums, q->together, q->C);
}

static void mean_of_groups(const Norm *q, real *means) {
    const int64_t C = q->C / q->G;
    fold_blocks(q, q->sums);
    for (int64_t g = 0; g < q->G; g++) {
        fold_rows(q->sums + g * C, C, 1);
        means[g] = q->sums[g * C] / MAX(1, C * q->R);
    }
}

/* ---- the pass that writes ---- */

INLINE void write_rows(const Norm *q, long block, const int gradient) {
    const int64_t W = q->width, begin = block * q->rows, end = MIN(q->wide_rows, begin + q->rows);
    const int64_t rest = block == q->blocks - 1 ? q->rest : 0;
    const real *x = q->x + begin * W, *dy = (gradient ? q->dy : q->x) + begin * W;
    const real *centre = q->centre, *of_dy = q->of_dy, *of_x = q->of_x, *add = q->add;
    real *y = q->y + begin * W;
    for (int64_t i = begin; i < end; i++, x += W, dy += W, y += W)
        for (int64_t j = 0; j < W; j += LANES) {
            vec v = (load(x + j) - load(centre + j)) * load(of_x + j) + load(add + j);
            if (gradient) v += load(dy + j) * load(of_dy + j);
            store(y + j, v);
        }
    for (int64_t j = 0; j < rest; j++) {
        y[j] = (x[j] - centre[j]) * of_x[j] + add[j];
        if (gradient) y[j] += dy[j] * of_dy[j];
    }
}
static void write_values(long block, void *job) { write_rows(job, block, 0); }
static void write_gradients(long block, void *job) { write_rows(job, block, 1); }

/* Writes the first C numbers as often as they fit into a wide row. */
static void repeat(const Norm *q, real *tile) {
    for (int64_t i = 1; i < q->together; i++) memcpy(tile + i * q->C, tile, q->C * sizeof(real));
}
static void repeat_means(const Norm *q) {
    for (int64_t g = 0, c = 0; g < q->G; g++)
        for (int64_t i = 0; i < q->C / q->G; i++, c++) q->centre[c] = q->mean[g];
    repeat(q, q->centre);
}

/* ---- forward ---- */

static void normalize_set(long set, void *job) {
    Norm q = only(job, set);
    parallel_for(q.blocks, add_values, &q);
    mean_of_groups(&q, q.mean);
    repeat_means(&q);
    parallel_for(q.blocks, add_squares, &q);
    mean_of_groups(&q, q.var);
    for (int64_t g = 0, c = 0; g < q.G; g++) {
        const real scale = 1 / (real)sqrt((double)q.var[g] + q.eps);
        for (int64_t i = 0; i < q.C / q.G; i++, c++) {
            q.of_x[c] = q.weight ? q.weight[c] * scale : scale;
            q.add[c] = q.bias ? q.bias[c] : 0;
        }
    }
    repeat(&q, q.of_x), repeat(&q, q.add);
    parallel_for(q.blocks, write_values, &q);
}

/* y = (x - mean) / sqrt(var + eps) weight + bias; mean and var (S, G) are written too. */
EXPORT int NAME(normalize)(int64_t S, int64_t R, int64_t C, int64_t G, double eps, const real x[S * R * C],
                           OPTIONAL const real weight[C], OPTIONAL const real bias[C], real y[S * R * C], real mean[S * G],
                           real var[S * G]) {
    Norm q = {.R = R, .C = C, .G = G, .eps = eps, .x = x, .weight = weight, .bias = bias, .y = y, .mean = mean, .var = var};
    prepare(&q, S);
    if (!q.memory) return NO_MEMORY;
    over_sets(&q, S, normalize_set);
    release(q.memory);
    return 0;
}

/* ---- backward: with s = sqrt(var + eps) and g = weight dy, dx = (g - E g - x_hat E(g x_hat)) / s ---- */

static void normalize_set_grad(long set, void *job) {
    Norm q = only(job, set);
    const int64_t C = q.C / q.G;
    repeat_means(&q);
    parallel_for(q.blocks, add_gradients, &q);
    fold_blocks(&q, q.sums), fold_blocks(&q, q.products);
    for (int64_t g = 0; g < q.G; g++) {
        const real scale = 1 / (real)sqrt((double)q.var[g] + q.eps);
        real mean = 0, mean_product = 0; /* E g and E(g x_hat) */
        for (int64_t c = g * C; c < (g + 1) * C; c++) {
            const real weight = q.weight ? q.weight[c] : 1;
            q.products[c] *= scale;
            mean += weight * q.sums[c] / MAX(1, C * q.R), mean_product += weight * q.products[c] / MAX(1, C * q.R);
        }
        for (int64_t c = g * C; c < (g + 1) * C; c++) {
            q.of_dy[c] = q.weight ? q.weight[c] * scale : scale;
            q.of_x[c] = -mean_product * scale * scale;
            q.add[c] = -mean * scale;
        }
    }
    repeat(&q, q.of_dy), repeat(&q, q.of_x), repeat(&q, q.add);
    parallel_for(q.blocks, write_gradients, &q);
}

/* (S, blocks, width) -> out (C,): the first C numbers of each set, added up. */
static void add_sets(const Norm *q, int64_t S, real *sums, real *out) {
    for (int64_t set = 0; set < S; set++) memmove(sums + set * q->C, sums + set * q->blocks * q->width, q->C * sizeof(real));
    fold_rows(sums, S, q->C);
    for (int64_t c = 0; c < q->C; c++) out[c] = S ? sums[c] : 0;
}

/* mean and var (S, G) are read; dweight = sum of dy x_hat and dbias = sum of dy are those of each channel. */
EXPORT int NAME(normalize_grad)(int64_t S, int64_t R, int64_t C, int64_t G, double eps, const real dy[S * R * C],
                                const real x[S * R * C], OPTIONAL const real weight[C], const real mean[S * G],
                                const real var[S * G], real dx[S * R * C], real dweight[C], real dbias[C]) {
    Norm q = {.R = R, .C = C, .G = G, .eps = eps, .x = x, .dy = dy, .weight = weight, .y = dx, .mean = (real *)mean,
              .var = (real *)var};
    prepare(&q, S);
    if (!q.memory) return NO_MEMORY;
    over_sets(&q, S, normalize_set_grad);
    add_sets(&q, S, q.sums, dbias), add_sets(&q, S, q.products, dweight);
    release(q.memory);
    return 0;
}
