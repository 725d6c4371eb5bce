/* Convolutions with fewer multiplications (Winograd 1980; Lavin & Gray 2015; Karatsuba & Ofman 1962).

   Along one axis, m outputs of a kernel with r taps read n = m + r - 1 inputs. With three small constant matrices,

       y = A ((G w) * (B x))

   needs only n multiplications (the *, element by element) instead of m r; in two dimensions n^2 instead of m^2 r^2. This is
   called F(m, r). A *tile* is the m x m outputs that are computed together, from n x n inputs.

   F(2, 3), for 3 x 3 kernels of stride 1, needs 16 multiplications instead of 36. F(2, 2), which is Karatsuba's method, needs
   9 instead of 16. It serves kernels whose sides are twice their stride s: a *bundle* of s x s pixels counts as one pixel
   with s^2 C channels, and the kernel has 2 x 2 taps, each of which reads a bundle.

   At each of the n^2 places in a tile, the products are summed over the channels, and this for all tiles and all output
   channels. So the * is n^2 products of matrices, (tiles, K) by (K, N), one for each place; K = s^2 C, and N is the number of
   output channels. In the code U = G w G^T, V = B x B^T, and M holds the results of these products.

   That is the forward pass. For stride 1 the input gradient is again a forward pass, over dy with the kernel turned by 180
   degrees. For a larger stride it takes the transposed steps in reverse order, dx = B^T (U (A^T dy)), and its results are
   bundles. The weight gradient is dw = G^T ((B x)^T (A^T dy)) G.

   The entries of A and B are 0, 1 and -1, those of G also 1/2 and -1/2: with integers of moderate size everything is exact.
   With other numbers the sums and differences cost accuracy: the error is up to about three times that of the plain sum. */

#define TILES_BYTES (1 << 19) /* the bytes of V and M that a task holds */

#include "transforms.h"

/* ---- the work on tiles ---- */

typedef struct {
    const FastPass *pass;
    const real *x;
    const int64_t *strides;
    Transform *to_tile, *from_tile, *of_kernel; /* the transforms of x, of the products and of w; dx uses transposed ones */
    int64_t n2, K, N;     /* n2: the places in a tile; K and N: see above */
    int64_t images, rows; /* a task takes `images` images, or `rows` rows of tiles of one image */
    int64_t plane;        /* the size of a plane of U */
    real *U;              /* the transformed weights: n2 planes, each packed as a product reads it */
    const real *packed;   /* the weights before the transform, packed in the same way: r r planes */
    Product product;      /* the product of one place */
    const real *bias;
    int relu;
    real *y;
    atomic_int failed;
} FastJob;

/* The tiles of a task: `images` images from n on, and in each of them `rows` rows of tiles from `row` on; `count` in all. */
typedef struct {
    int64_t n, images, row, rows, count;
} Tiles;

static int64_t bands_of(const FastJob *job) { return CEIL_DIV(job->pass->tiles_h, job->rows); }

static Tiles tiles_of(const FastJob *job, long task) {
    const FastPass *f = job->pass;
    const int64_t bands = bands_of(job), n = task / bands * job->images, row = task % bands * job->rows;
    Tiles t = {n, MIN(job->images, f->source.N - n), row, MIN(job->rows, f->tiles_h - row), 0};
    t.count = t.images * t.rows * f->tiles_w;
    return t;
}

/* How many numbers a task reads from padded images. */
static int64_t pixels_of(const FastPass *f, const Tiles *t) {
    return t->images * (t->rows * f->m + f->r - 1) * f->s * f->source.Wp * f->source.C;
}

/* V: for each place the transformed inputs (tiles, K). One tile begins `step` numbers after the one before it. */
static void transform_inputs(const FastJob *job, const Tiles *t, real *pixels, real *V, int64_t plane, int64_t step) {
    const FastPass *f = job->pass;
    const Source *source = &f->source;
    const int64_t C = source->C, s = f->s, n = f->m + f->r - 1, line = source->Wp * C;
    const int64_t h0 = t->row * f->m * s, image = pixels_of(f, t) / t->images;
    for (int64_t i = 0; i < t->images; i++)
        pad_rows(source, job->x + (t->n + i) * job->strides[0], job->strides, h0, h0 + image / line, pixels + i * image);
    for (int64_t tile = 0; tile < t->count; tile++, V += step) {
        const int64_t row = tile / f->tiles_w % t->rows, column = tile % f->tiles_w;
        const real *x = pixels + tile / f->tiles_w / t->rows * image + (row * line + column * C) * f->m * s;
        for (int64_t sub = 0; sub < s * s; sub++)
            for (int64_t c = 0; c < C; c += LANES) {
                vec from[MOST_N * MOST_N], to[MOST_N * MOST_N];
                const real *first = x + sub / s * line + sub % s * C + c;
                for (int64_t a = 0; a < n; a++)
                    for (int64_t b = 0; b < n; b++) from[a * n + b] = load(first + (a * line + b * C) * s);
                job->to_tile(from, to);
                for (int64_t i = 0; i < job->n2; i++) store(V + i * plane + sub * C + c, to[i]);
            }
    }
}

INLINE vec biased(vec v, const FastJob *job, int64_t c) {
    if (job->bias) v += load(job->bias + c);
    return job->relu ? relu_of(v) : v;
}

/* Computes y from M, which holds for each place the products (tiles, N). */
static void transform_outputs(const FastJob *job, const Tiles *t, const real *M, int64_t plane) {
    const FastPass *f = job->pass;
    const int64_t m = f->m, C = f->C;
    for (int64_t tile = 0; tile < t->count; tile++, M += C) {
        const int64_t h = (t->row + tile / f->tiles_w % t->rows) * m, w = tile % f->tiles_w * m;
        const int64_t n = t->n + tile / f->tiles_w / t->rows, down = MIN(m, f->H - h), across = MIN(m, f->W - w);
        real *y = job->y + ((n * f->H + h) * f->W + w) * C;
        for (int64_t c = 0; c < C; c += LANES) {
            vec from[MOST_N * MOST_N], to[MOST_N * MOST_N];
            for (int64_t i = 0; i < job->n2; i++) from[i] = load(M + i * plane + c);
            job->from_tile(from, to);
            for (int64_t e = 0; e < down; e++)
                for (int64_t j = 0; j < across; j++)
                    store(y + (e * f->W + j) * C + c, biased(to[e * m + j], job, c));
        }
    }
}

/* The forward pass for the tiles of a task: V from x, M = V U for each place, y from M. */
static void fast_tiles(long task, void *argument) {
    FastJob *job = argument;
    const Tiles t = tiles_of(job, task);
    /* One vector more than needed: planes that are a power of two apart would compete for the same few sets of the cache. */
    const int64_t of_V = t.count * job->K + LANES, of_M = t.count * job->N + LANES;
    real *V = allocate((job->n2 * (of_V + of_M) + pixels_of(job->pass, &t)) * sizeof(real));
    if (!V) {
        atomic_store(&job->failed, 1);
        return;
    }
    real *M = V + job->n2 * of_V;
    transform_inputs(job, &t, M + job->n2 * of_M, V, of_V, job->K);
    Product p = job->product;
    for (int64_t i = 0; i < job->n2; i++) {
        p.a = V + i * of_V, p.c = M + i * of_M, p.panels = job->U + i * job->plane;
        multiply_rows(&p, 0, t.count);
    }
    transform_outputs(job, &t, M, of_M);
    release(V);
}

/* U = G w G^T, for one panel of the packed weights. */
static void transform_panel(long panel, void *argument) {
    const FastJob *job = argument;
    const int64_t width = job->product.width, K = job->product.K, taps = job->pass->r * job->pass->r;
    const int64_t whole = MIN(width, ROUND_UP(job->product.N - panel * width, LANES));
    const real *from_panel = job->packed + panel * width * K * taps;
    real *to_panel = job->U + panel * width * K;
    for (int64_t k = 0; k < K; k++)
        for (int64_t j = 0; j < whole; j += LANES) {
            vec from[MOST_N * MOST_N], to[MOST_N * MOST_N];
            for (int64_t i = 0; i < taps; i++) from[i] = load(from_panel + (i * K + k) * width + j);
            job->of_kernel(from, to);
            for (int64_t i = 0; i < job->n2; i++) store(to_panel + i * job->plane + k * width + j, to[i]);
        }
}

/* The job for a plan. A task takes whole images, or rows of tiles of one image if that alone is too large. */
static FastJob fast_job(const FastPass *f) {
    const int64_t n = f->m + f->r - 1;
    FastJob job = {.pass = f, .n2 = n * n, .K = f->s * f->s * f->source.C, .N = f->C};
    const int64_t most = MAX(MR, TILES_BYTES / (job.n2 * (job.K + job.N) * (int64_t)sizeof(real)));
    const int64_t of_image = f->tiles_h * f->tiles_w;
    job.rows = f->tiles_h, job.images = 1;
    if (of_image > most) job.rows = CEIL_DIV(f->tiles_h, CEIL_DIV(of_image, most));
    else job.images = MAX(1, MIN(most / of_image, f->source.N / LEAST_TASKS));
    return job;
}

/* Packs the weights, one matrix (K, N) for each tap, and transforms them. Returns 0, or NO_MEMORY. */
static int make_U(FastJob *job, const real *w, int64_t K, int64_t N) {
    const FastPass *f = job->pass;
    Product weights = {.M = 1, .N = N, .K = f->r * f->r * K, .b = w, .b_row = f->w_row, .b_col = f->w_col};
    weights.width = width_of(N);
    job->product = (Product){.N = N, .K = K, .a_row = every(K), .a_col = every(1), .c_row = every(N), .width = weights.width};
    job->plane = packed_size(&job->product);
    job->U = allocate((job->n2 * job->plane + packed_size(&weights)) * sizeof(real));
    if (!job->U) return NO_MEMORY;
    job->packed = weights.panels = job->U + job->n2 * job->plane;
    parallel_for(packing_tasks(&weights), pack_task, &weights);
    parallel_for(CEIL_DIV(N, weights.width), transform_panel, job);
    return 0;
}

/* Runs the pass f forwards: y from x (N, C, H, W) of any strides and contiguous weights. */
EXPORT int NAME(winograd)(const FastPass *f, const real *x, const int64_t x_strides[4], const real *w,
                          OPTIONAL const real *bias, int relu, real *y) {
    FastJob job = fast_job(f);
    job.x = x, job.strides = x_strides, job.bias = bias, job.relu = relu, job.y = y;
    job.to_tile = f->r == 2 ? input22 : input23, job.from_tile = f->r == 2 ? output22 : output23;
    job.of_kernel = f->r == 2 ? kernel22 : kernel23;
    if (make_U(&job, w, job.K, job.N)) return NO_MEMORY;
    parallel_for(CEIL_DIV(f->source.N, job.images) * bands_of(&job), fast_tiles, &job);
    release(job.U);
    return atomic_load(&job.failed) ? NO_MEMORY : 0;
}

/* M: for each place A^T dy A (tiles, C). One tile begins `step` numbers after the one before it. dy is channels-last. */
static void transform_gradients(const FastJob *job, const Tiles *t, const real *dy, const int64_t *strides, real *M,
                                int64_t plane, int64_t step) {
    const FastPass *f = job->pass;
    const int64_t *s = strides, m = f->m;
    for (int64_t tile = 0; tile < t->count; tile++, M += step) {
        const int64_t h = (t->row + tile / f->tiles_w % t->rows) * m, w = tile % f->tiles_w * m;
        const real *first = dy + (t->n + tile / f->tiles_w / t->rows) * s[0] + h * s[2] + w * s[3];
        for (int64_t c = 0; c < f->C; c += LANES) {
            vec from[MOST_N * MOST_N], to[MOST_N * MOST_N];
            for (int64_t e = 0; e < m; e++)
                for (int64_t j = 0; j < m; j++)
                    from[e * m + j] = h + e < f->H && w + j < f->W ? load(first + e * s[2] + j * s[3] + c) : (vec){0};
            job->from_tile(from, to);
            for (int64_t i = 0; i < job->n2; i++) store(M + i * plane + c, to[i]);
        }
    }
}

/* ---- input gradient ---- */

/* dx += B^T dV B for each tile of a task; dx is padded as the forward pass reads x. */
static void add_inputs(const FastJob *job, const Tiles *t, const real *V, int64_t plane, real *dx) {
    const FastPass *f = job->pass;
    const int64_t C = f->source.C, s = f->s, n = f->m + f->r - 1, line = f->source.Wp * C;
    for (int64_t tile = 0; tile < t->count; tile++, V += job->K) {
        const int64_t row = tile / f->tiles_w % t->rows, column = tile % f->tiles_w;
        real *of_tile = dx + tile / f->tiles_w / t->rows * f->source.Hp * line + (row * line + column * C) * f->m * s;
        for (int64_t sub = 0; sub < s * s; sub++)
            for (int64_t c = 0; c < C; c += LANES) {
                vec from[MOST_N * MOST_N], to[MOST_N * MOST_N];
                real *first = of_tile + sub / s * line + sub % s * C + c;
                for (int64_t i = 0; i < job->n2; i++) from[i] = load(V + i * plane + sub * C + c);
                job->to_tile(from, to);
                for (int64_t a = 0; a < n; a++)
                    for (int64_t b = 0; b < n; b++) {
                        real *pixel = first + (a * line + b * C) * s;
                        store(pixel, load(pixel) + to[a * n + b]);
                    }
            }
    }
}

/* Copies the inside of one padded image to dx, with bias and ReLU. Pixels that no tile reaches are 0 before these. */
static void write_inside(const FastJob *job, const real *padded, real *dx) {
    const Source *s = &job->pass->source;
    for (int64_t h = 0; h < s->H; h++)
        for (int64_t w = 0; w < s->W; w++, dx += s->C) {
            const int64_t row = h + s->top, column = w + s->left;
            const real *from = row < s->Hp && column < s->Wp ? padded + (row * s->Wp + column) * s->C : 0;
            for (int64_t c = 0; c < s->C; c += LANES) store(dx + c, biased(from ? load(from + c) : (vec){0}, job, c));
        }
}

/* The input gradient for the images of a task: M from dy, dV = M U for each place, dx from dV. */
static void fast_images(long task, void *argument) {
    FastJob *job = argument;
    const Tiles t = tiles_of(job, task);
    const Source *s = &job->pass->source;
    const int64_t of_V = t.count * job->K + LANES, of_M = t.count * job->N + LANES, image = s->Hp * s->Wp * s->C;
    real *V = allocate((job->n2 * (of_V + of_M) + t.images * image) * sizeof(real));
    if (!V) {
        atomic_store(&job->failed, 1);
        return;
    }
    real *M = V + job->n2 * of_V, *dx = M + job->n2 * of_M;
    transform_gradients(job, &t, job->x, job->strides, M, of_M, job->N);
    Product p = job->product;
    for (int64_t i = 0; i < job->n2; i++) {
        p.a = M + i * of_M, p.c = V + i * of_V, p.panels = job->U + i * job->plane;
        multiply_rows(&p, 0, t.count);
    }
    memset(dx, 0, t.images * image * sizeof(real));
    add_inputs(job, &t, V, of_V, dx);
    for (int64_t i = 0; i < t.images; i++)
        write_inside(job, dx + i * image, job->y + (t.n + i) * s->H * s->W * s->C);
    release(V);
}

/* dx = the input gradient for r = 2 and dy in channels-last memory. The weights of a tap are a matrix (OC, s s C). */
EXPORT int NAME(winograd_input_grad)(const FastPass *f, const real *dy, const int64_t dy_strides[4], const real *w,
                                     OPTIONAL const real *bias, int relu, real *dx) {
    FastJob job = fast_job(f);
    job.x = dy, job.strides = dy_strides, job.bias = bias, job.relu = relu, job.y = dx;
    job.images = MAX(1, MIN(CEIL_DIV(ROWS, f->tiles_h * f->tiles_w), f->source.N / LEAST_TASKS));
    job.rows = f->tiles_h; /* whole images, because tiles overlap in dx */
    job.to_tile = input_grad22, job.from_tile = output_grad22, job.of_kernel = kernel22;
    if (make_U(&job, w, job.N, job.K)) return NO_MEMORY;
    parallel_for(CEIL_DIV(f->source.N, job.images), fast_images, &job);
    release(job.U);
    return atomic_load(&job.failed) ? NO_MEMORY : 0;
}

/* ---- weight gradient ---- */

#define EXACT_DEPTH 128 /* the terms of a partial sum; short ones round less, and G^T dU G then cancels some digits */
#define PLANES_BYTES (8 << 20) /* the bytes of V and M of a chunk of images */

typedef struct {
    FastJob job; /* the job of the forward pass; it reads x, and dy takes the place of y */
    const real *dy;
    const int64_t *dy_strides;
    Transform *kernel_grad;
    real *V, *M, *dU, *dw;
    int64_t first, tiles, of_V, of_M; /* the chunk's first image and number of tiles; the sizes of a plane of V and of M */
    int64_t parts;                    /* the tiles are cut into parts, each with a dU of its own */
    int add;                          /* whether dU already holds the sums of earlier chunks */
} FastBack;

/* V and M of the tiles of a task. */
static void transform_both(long task, void *argument) {
    FastBack *back = argument;
    const FastJob *job = &back->job;
    Tiles t = tiles_of(job, task);
    const int64_t at = (t.n * job->pass->tiles_h + t.row) * job->pass->tiles_w; /* the first tile's number in the chunk */
    t.n += back->first;
    real *pixels = allocate(pixels_of(job->pass, &t) * sizeof(real));
    if (!pixels) {
        atomic_store(&back->job.failed, 1);
        return;
    }
    transform_inputs(job, &t, pixels, back->V + at * (job->K + LANES), back->of_V, job->K + LANES);
    transform_gradients(job, &t, back->dy, back->dy_strides, back->M + at * (job->N + LANES), back->of_M, job->N + LANES);
    release(pixels);
}

/* dU (K, N) of one place += V^T M over the tiles of one part of a chunk, for ROWS of its rows. Tasks are ordered by part, so
   that a thread mostly multiplies tiles that it has transformed itself. */
static void multiply_place(long task, void *argument) {
    const FastBack *back = argument;
    const FastJob *job = &back->job;
    const int64_t blocks = CEIL_DIV(job->K, ROWS), part = task / (job->n2 * blocks);
    const int64_t i = task / blocks % job->n2, row = task % blocks * ROWS;
    const int64_t t0 = part * back->tiles / back->parts, tiles = (part + 1) * back->tiles / back->parts - t0;
    const int64_t step_V = job->K + LANES, step_M = job->N + LANES, pieces = CEIL_DIV(tiles, EXACT_DEPTH);
    Product p = {.M = job->K, .N = job->N, .K = tiles, .a = back->V + i * back->of_V + t0 * step_V,
                 .c = back->dU + (part * job->n2 + i) * job->K * job->N, .a_row = every(1), .a_col = every(step_V),
                 .c_row = every(job->N), .add = back->add, .width = job->product.width,
                 .panels = back->M + i * back->of_M + t0 * step_M, .panel_step = step_M};
    for (int64_t k = 0; k < MAX(1, pieces); k++, p.add = 1)
        multiply_block(&p, row, MIN(job->K, row + ROWS), 0, p.N, k * tiles / MAX(1, pieces), (k + 1) * tiles / MAX(1, pieces));
}

/* Into how many parts the tiles of a chunk are cut: up to 8, of at least 128 tiles, whose dU fit into PLANES_BYTES. */
static int64_t parts_of(const FastJob *job, int64_t tiles) {
    const int64_t result = job->n2 * job->K * job->N * sizeof(real);
    int64_t parts = 1;
    while (parts < 8 && tiles >= 2 * parts * 128 && 2 * parts * result <= PLANES_BYTES) parts *= 2;
    return parts;
}

/* dw = G^T dU G, for LANES output channels. */
static void transform_weights(long task, void *argument) {
    const FastBack *back = argument;
    const FastJob *job = &back->job;
    const int64_t r = job->pass->r, s = job->pass->s, C = job->pass->source.C, side = r * s, o = task * LANES;
    for (int64_t c = 0; c < C; c++)
        for (int64_t sub = 0; sub < s * s; sub++) {
            vec from[MOST_N * MOST_N], to[MOST_N * MOST_N];
            for (int64_t i = 0; i < job->n2; i++) {
                from[i] = load(back->dU + (i * job->K + sub * C + c) * job->N + o);
                for (int64_t part = 1; part < back->parts; part++)
                    from[i] += load(back->dU + ((part * job->n2 + i) * job->K + sub * C + c) * job->N + o);
            }
            back->kernel_grad(from, to);
            for (int64_t tap = 0; tap < r * r; tap++) {
                const int64_t h = tap / r * s + sub / s, w = tap % r * s + sub % s;
                real *dw = back->dw + (o * C + c) * side * side + h * side + w;
                for (int64_t l = 0; l < LANES; l++) dw[l * C * side * side] = to[tap][l];
            }
        }
}

/* dw (OC, C, KH, KW) for x of any strides and dy in channels-last memory. */
EXPORT int NAME(winograd_weight_grad)(const FastPass *f, const real *x, const int64_t x_strides[4], const real *dy,
                                      const int64_t dy_strides[4], real *dw) {
    const int two = f->r == 2;
    FastBack back = {.job = fast_job(f), .dy = dy, .dy_strides = dy_strides, .dw = dw};
    FastJob *job = &back.job;
    job->x = x, job->strides = x_strides, job->product.width = width_of(job->N);
    job->to_tile = two ? input22 : input23, job->from_tile = two ? output_grad22 : output_grad23;
    back.kernel_grad = two ? kernel_grad22 : kernel_grad23;
    const int64_t of_image = f->tiles_h * f->tiles_w, step_V = job->K + LANES, step_M = job->N + LANES;
    int64_t chunk = MAX(1, PLANES_BYTES / (job->n2 * of_image * (step_V + step_M) * (int64_t)sizeof(real)));
    chunk = MAX(1, CEIL_DIV(f->source.N, MAX(1, CEIL_DIV(f->source.N, chunk)))); /* images; chunks of about one size */
    back.of_V = chunk * of_image * step_V, back.of_M = chunk * of_image * step_M;
    back.parts = parts_of(job, chunk * of_image);
    const int64_t of_dU = back.parts * job->K * job->N;
    back.V = allocate(job->n2 * (back.of_V + back.of_M + of_dU) * sizeof(real));
    if (!back.V) return NO_MEMORY;
    back.M = back.V + job->n2 * back.of_V, back.dU = back.M + job->n2 * back.of_M;
    if (!f->source.N) memset(back.dU, 0, job->n2 * of_dU * sizeof(real));
    FastPass chunk_pass = *f;
    job->pass = &chunk_pass;
    for (; back.first < f->source.N; back.first += chunk, back.add = 1) {
        chunk_pass.source.N = MIN(chunk, f->source.N - back.first);
        back.tiles = chunk_pass.source.N * of_image;
        parallel_for(CEIL_DIV(chunk_pass.source.N, job->images) * bands_of(job), transform_both, &back);
        parallel_for(back.parts * job->n2 * CEIL_DIV(job->K, ROWS), multiply_place, &back);
    }
    parallel_for(job->N / LANES, transform_weights, &back);
    release(back.V);
    return atomic_load(&job->failed) ? NO_MEMORY : 0;
}
