/* Resampling of images in channels-last memory: max pooling, nearest-neighbour upsampling, and their gradients.
   kernels/reference/resample.py has the definitions. A task is a number of rows of pixels. */
#include "special.h"

typedef int32_t taps __attribute__((vector_size(4 * LANES)));

typedef struct {
    int64_t N, H, W, C, OH, OW; /* the larger image has H x W pixels, the smaller one OH x OW */
    int64_t KH, KW, sh, sw, ph, pw;
    const real *from;
    const int32_t *winner;
    real *to;
    int32_t *winner_out;
} Resample;

#define ROWS_OF_TASK(elements) MAX(1, 8192 / MAX(elements, 1)) /* for rows with this number of elements */

/* Defines name(task, job), which calls work(q, row) for the rows of a task; there are `count` rows of `elements` elements. */
#define OVER_ROWS(name, work, count, elements)                                                                         \
    static void name(long task, void *job) {                                                                           \
        const Resample *q = job;                                                                                       \
        const int64_t rows = ROWS_OF_TASK(elements);                                                                   \
        for (int64_t row = task * rows; row < MIN(count, (task + 1) * rows); row++) work(q, row);                      \
    }

INLINE vec load_at_most(const real *from, int64_t count) { return count >= LANES ? load(from) : load_first(from, count); }
INLINE void store_at_most(real *to, vec v, int64_t count) {
    if (count >= LANES) store(to, v);
    else store_first(to, v, count);
}
INLINE mask load_taps(const int32_t *from, int64_t count) {
    taps t = {0};
    if (count >= LANES) memcpy(&t, from, sizeof t);
    else memcpy(&t, from, count * sizeof *from);
    return __builtin_convertvector(t, mask);
}
INLINE void store_taps(int32_t *to, mask numbers, int64_t count) {
    const taps t = __builtin_convertvector(numbers, taps);
    if (count >= LANES) memcpy(to, &t, sizeof t);
    else memcpy(to, &t, count * sizeof *to);
}

/* ---- max pooling ---- */

INLINE void pool_row(const Resample *q, int64_t row) {
    const int64_t C = q->C, image = row / q->OH, top = row % q->OH * q->sh - q->ph;
    const int64_t p0 = MAX(0, -top), p1 = MIN(q->KH, q->H - top); /* the taps that lie inside the image */
    for (int64_t ow = 0; ow < q->OW; ow++) {
        const int64_t left = ow * q->sw - q->pw, q0 = MAX(0, -left), q1 = MIN(q->KW, q->W - left);
        const real *x = q->from + ((image * q->H + top) * q->W + left) * C; /* the pixel of tap (0, 0); it may lie outside */
        const int64_t at = (row * q->OW + ow) * C;
        for (int64_t c = 0; c < C; c += LANES) {
            vec best = load_at_most(x + (p0 * q->W + q0) * C + c, C - c);
            mask winner = (mask){0} + (int32_t)(p0 * q->KW + q0);
            for (int64_t p = p0; p < p1; p++)
                for (int64_t k = q0; k < q1; k++) {
                    const vec v = load_at_most(x + (p * q->W + k) * C + c, C - c);
                    const mask larger = ~(v <= best) & (best == best); /* a NaN counts as larger than all numbers */
                    best = choose(larger, v, best);
                    winner = (larger & (int32_t)(p * q->KW + k)) | (~larger & winner);
                }
            store_at_most(q->to + at + c, best, C - c);
            store_taps(q->winner_out + at + c, winner, C - c);
        }
    }
}
OVER_ROWS(pool_rows, pool_row, q->N *q->OH, q->OW *q->C)

/* y and winner: the largest number of each window, and p * KW + q for the first tap (p, q) that reads it. Every window
   contains at least one pixel. */
EXPORT void NAME(max_pool2d)(int64_t N, int64_t H, int64_t W, int64_t C, int64_t OH, int64_t OW, int64_t KH, int64_t KW,
                             int64_t sh, int64_t sw, int64_t ph, int64_t pw, const real x[N * H * W * C],
                             real y[N * OH * OW * C], int32_t winner[N * OH * OW * C]) {
    Resample q = {.N = N, .H = H, .W = W, .C = C, .OH = OH, .OW = OW, .KH = KH, .KW = KW, .sh = sh, .sw = sw, .ph = ph,
                  .pw = pw, .from = x, .to = y, .winner_out = winner};
    parallel_for(CEIL_DIV(N * OH, ROWS_OF_TASK(OW * C)), pool_rows, &q);
}

/* Computes one row of dx from all windows that read it. */
INLINE void pool_grad_row(const Resample *q, int64_t row) {
    const int64_t C = q->C, image = row / q->H, h = row % q->H + q->ph;
    const int64_t i0 = h < q->KH ? 0 : (h - q->KH) / q->sh + 1, i1 = MIN(q->OH, h / q->sh + 1);
    real *dx = q->to + row * q->W * C;
    memset(dx, 0, q->W * C * sizeof(real));
    for (int64_t i = i0; i < i1; i++)
        for (int64_t j = 0; j < q->OW; j++) {
            const int64_t left = j * q->sw - q->pw, k0 = MAX(0, -left), k1 = MIN(q->KW, q->W - left);
            const int64_t at = ((image * q->OH + i) * q->OW + j) * C, tap = (h - i * q->sh) * q->KW;
            for (int64_t c = 0; c < C; c += LANES) {
                const vec dy = load_at_most(q->from + at + c, C - c);
                const mask winner = load_taps(q->winner + at + c, C - c);
                for (int64_t k = k0; k < k1; k++) {
                    real *to = dx + (left + k) * C + c;
                    store_at_most(to, load_at_most(to, C - c) + choose(winner == (int32_t)(tap + k), dy, (vec){0}), C - c);
                }
            }
        }
}
OVER_ROWS(pool_grad_rows, pool_grad_row, q->N *q->H, q->W *q->C)

EXPORT void NAME(max_pool2d_grad)(int64_t N, int64_t H, int64_t W, int64_t C, int64_t OH, int64_t OW, int64_t KH,
                                  int64_t KW, int64_t sh, int64_t sw, int64_t ph, int64_t pw,
                                  const real dy[N * OH * OW * C], const int32_t winner[N * OH * OW * C],
                                  real dx[N * H * W * C]) {
    Resample q = {.N = N, .H = H, .W = W, .C = C, .OH = OH, .OW = OW, .KH = KH, .KW = KW, .sh = sh, .sw = sw, .ph = ph,
                  .pw = pw, .from = dy, .winner = winner, .to = dx};
    parallel_for(CEIL_DIV(N * H, ROWS_OF_TASK(W * C)), pool_grad_rows, &q);
}

/* ---- upsampling ---- */

/* Writes the sh rows that come from one row of the smaller image: the first pixel by pixel, the others as its copies. */
INLINE void upsample_row(const Resample *q, int64_t row) {
    const int64_t C = q->C, width = q->OW * q->sw * C;
    const real *from = q->from + row * q->OW * C;
    real *first = q->to + row * q->sh * width, *to = first;
    for (int64_t i = 0; i < q->OW; i++, from += C)
        for (int64_t b = 0; b < q->sw; b++, to += C) {
            int64_t c = 0;
            for (; c + LANES <= C; c += LANES) store(to + c, load(from + c));
            for (; c < C; c++) to[c] = from[c];
        }
    for (int64_t a = 1; a < q->sh; a++) memcpy(first + a * width, first, width * sizeof(real));
}
OVER_ROWS(upsample_rows, upsample_row, q->N *q->OH, q->OW *q->sh *q->sw *q->C)

EXPORT void NAME(upsample)(int64_t N, int64_t H, int64_t W, int64_t C, int64_t sh, int64_t sw, const real x[N * H * W * C],
                           real y[N * H * sh * W * sw * C]) {
    Resample q = {.N = N, .C = C, .OH = H, .OW = W, .sh = sh, .sw = sw, .from = x, .to = y};
    parallel_for(CEIL_DIV(N * H, ROWS_OF_TASK(W * sh * sw * C)), upsample_rows, &q);
}

INLINE void upsample_grad_row(const Resample *q, int64_t row) {
    const int64_t C = q->C, width = q->OW * q->sw * C;
    for (int64_t i = 0; i < q->OW; i++) {
        const real *from = q->from + row * q->sh * width + i * q->sw * C;
        for (int64_t c = 0; c < C; c += LANES) {
            vec sum = {0};
            for (int64_t a = 0; a < q->sh; a++) {
                vec sum_of_row = {0};
                for (int64_t b = 0; b < q->sw; b++) sum_of_row += load_at_most(from + a * width + b * C + c, C - c);
                sum += sum_of_row;
            }
            store_at_most(q->to + (row * q->OW + i) * C + c, sum, C - c);
        }
    }
}
OVER_ROWS(upsample_grad_rows, upsample_grad_row, q->N *q->OH, q->OW *q->sh *q->sw *q->C)

/* dx (N, H, W, C) = the sum of dy over the copies of each pixel. */
EXPORT void NAME(upsample_grad)(int64_t N, int64_t H, int64_t W, int64_t C, int64_t sh, int64_t sw,
                                const real dy[N * H * sh * W * sw * C], real dx[N * H * W * C]) {
    Resample q = {.N = N, .C = C, .OH = H, .OW = W, .sh = sh, .sw = sw, .from = dy, .to = dx};
    parallel_for(CEIL_DIV(N * H, ROWS_OF_TASK(W * sh * sw * C)), upsample_grad_rows, &q);
}
