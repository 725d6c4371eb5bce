/* Depthwise convolutions: there are as many groups as channels, each with one input and one output channel. The products of
   product.c would have only one column. Here a vector holds LANES channels of a pixel, and each lane has its own weight:

       y[pixel, c] = sum over taps of x[pixel + tap, c] w[tap, c].

   The tables come from plans.py and are those of the first channel. */

/* A vector of channels, all LANES of them if `whole`, else only the first `count`. */
INLINE vec load_channels(const int whole, const real *from, int64_t count) {
    return whole ? load(from) : load_first(from, count);
}

/* Computes channels c to c + count of `rows` pixels; the weights are (taps, C). */
INLINE void depthwise_channels(const int whole, const Product *p, const int64_t *row, const int64_t *to, int64_t rows,
                               const int64_t *taps, const int64_t *w_taps, int64_t c, int64_t count, int64_t C) {
    for (int64_t m = 0; m < rows; m += MR) {
        vec sum[MR];
        UNROLL for (int i = 0; i < MR; i++) sum[i] = (vec){0};
        for (int64_t k = 0; k < p->K; k++) {
            const vec w = load_channels(whole, p->panels + w_taps[k] * C + c, count);
            UNROLL for (int i = 0; i < MR; i++)
                sum[i] += w * load_channels(whole, p->a + row[MIN(m + i, rows - 1)] + taps[k] + c, count);
        }
        for (int i = 0; i < MIN(MR, rows - m); i++) {
            vec y = sum[i];
            if (p->bias) y += load_channels(whole, p->bias + c, count);
            if (p->relu) y = relu_of(y);
            if (whole) store(p->c + to[m + i] + c, y);
            else store_first(p->c + to[m + i] + c, y, count);
        }
    }
}

/* Computes pixels row0 to row1 of a pass, with all C channels; there are at most DEPTH taps. */
static void depthwise_rows(const Product *p, int64_t C, int64_t row0, int64_t row1) {
    int64_t row[ROWS], to[ROWS], taps[DEPTH], w_taps[DEPTH];
    offsets(&p->a_col, 0, p->K, taps);
    offsets(&p->b_row, 0, p->K, w_taps);
    for (int64_t m = row0; m < row1; m += ROWS) {
        const int64_t rows = MIN(ROWS, row1 - m);
        offsets(&p->a_row, m, rows, row);
        offsets(&p->c_row, m, rows, to);
        int64_t c = 0;
        for (; c + LANES <= C; c += LANES) depthwise_channels(1, p, row, to, rows, taps, w_taps, c, LANES, C);
        if (c < C) depthwise_channels(0, p, row, to, rows, taps, w_taps, c, C - c, C);
    }
}

/* ---- weight gradient ---- */

#define TAPS_TOGETHER 4
#define PIXELS_TOGETHER 128 /* the terms of a sum that are added before the sum is added to memory */

/* dw (taps, C) += the sums over the pixels of one image, for channels c to c + count; dy is (pixels, C). */
INLINE void depthwise_sums(const int whole, const WeightPass *pass, const real *x, const real *dy, int64_t pixels,
                           int64_t c, int64_t count, real *dw) {
    const int64_t C = pass->x.C;
    int64_t taps[DEPTH];
    offsets(&pass->a_row, 0, pass->taps, taps);
    for (int64_t first = 0; first < pixels; first += PIXELS_TOGETHER)
        for (int64_t tap = 0; tap < pass->taps; tap += TAPS_TOGETHER) {
            vec sum[TAPS_TOGETHER];
            UNROLL for (int t = 0; t < TAPS_TOGETHER; t++) sum[t] = (vec){0};
            for (int64_t p = first; p < MIN(pixels, first + PIXELS_TOGETHER); p++) {
                const vec of_dy = load_channels(whole, dy + p * C + c, count);
                const real *pixel = x + pass->a_col.table[p] + c;
                UNROLL for (int t = 0; t < TAPS_TOGETHER; t++)
                    sum[t] += of_dy * load_channels(whole, pixel + taps[MIN(tap + t, pass->taps - 1)], count);
            }
            for (int t = 0; t < MIN(TAPS_TOGETHER, pass->taps - tap); t++) {
                real *to = dw + (tap + t) * C + c;
                if (whole) store(to, load(to) + sum[t]);
                else store_first(to, load_first(to, count) + sum[t], count);
            }
        }
}

typedef struct {
    const WeightPass *pass;
    const real *x, *dy;
    const int64_t *x_strides, *dy_strides;
    int64_t parts;
    real *partial; /* one dw (taps, C) for each part of the images */
    real *dw;
    atomic_int failed;
} Depthwise;

/* Computes the partial dw of one part of the images. */
static void depthwise_images(long task, void *argument) {
    Depthwise *job = argument;
    const WeightPass *pass = job->pass;
    const Source *of_x = &pass->x, *of_dy = &pass->dy;
    const int64_t C = of_x->C, pixels = of_dy->H * of_dy->W, image = of_x->Hp * of_x->Wp * C;
    real *x = allocate((image + pixels * C) * sizeof(real)), *dy = x + image, *dw = job->partial + task * pass->taps * C;
    if (!x) {
        atomic_store(&job->failed, 1);
        return;
    }
    memset(dw, 0, pass->taps * C * sizeof(real));
    for (int64_t n = task * of_x->N / job->parts; n < (task + 1) * of_x->N / job->parts; n++) {
        pad_rows(of_x, job->x + n * job->x_strides[0], job->x_strides, 0, of_x->Hp, x);
        pad_rows(of_dy, job->dy + n * job->dy_strides[0], job->dy_strides, 0, of_dy->Hp, dy);
        int64_t c = 0;
        for (; c + LANES <= C; c += LANES) depthwise_sums(1, pass, x, dy, pixels, c, LANES, dw);
        if (c < C) depthwise_sums(0, pass, x, dy, pixels, c, C - c, dw);
    }
    release(x);
}

/* Adds up the parts for one tap, and writes its column of dw (C, taps). */
static void add_depthwise_parts(long tap, void *argument) {
    const Depthwise *job = argument;
    const int64_t C = job->pass->x.C, taps = job->pass->taps;
    for (int64_t c = 0; c < C; c++) {
        real sum = 0;
        for (int64_t part = 0; part < job->parts; part++) sum += job->partial[(part * taps + tap) * C + c];
        job->dw[c * taps + tap] = sum;
    }
}

/* dw (C, 1, KH, KW) for x and dy of any strides; there are at most DEPTH taps. */
EXPORT int NAME(depthwise_weight_grad)(const WeightPass *how, const real *x, const int64_t x_strides[4], const real *dy,
                                       const int64_t dy_strides[4], real *dw) {
    Depthwise job = {.pass = how, .x = x, .dy = dy, .x_strides = x_strides, .dy_strides = dy_strides, .dw = dw};
    job.parts = MIN(how->x.N, LEAST_TASKS);
    job.partial = allocate(job.parts * how->taps * how->x.C * sizeof(real));
    if (!job.partial) return NO_MEMORY;
    parallel_for(job.parts, depthwise_images, &job);
    parallel_for(how->taps, add_depthwise_parts, &job);
    release(job.partial);
    return atomic_load(&job.failed) ? NO_MEMORY : 0;
}
