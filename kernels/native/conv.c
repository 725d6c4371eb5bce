/* Convolutions as products. The tables of a plan (plans.h, plans.py) say what each pixel reads through each tap, in all
   three passes. The functions here pad the images, or bring them into channels-last order, in blocks that fit into the
   cache, and run all products on a block while it is there. */

/* ---- forward pass and input gradient ---- */

#define LOCAL_BYTES (1 << 18) /* the most bytes of padded images for a task that takes several images */
#define BANDED_TASKS 128      /* if there are fewer images than this, they are cut into bands of rows, for more tasks */

typedef struct {
    const Pass *pass;
    const real *x;
    const int64_t *strides;
    real *y;
    Product *each;
    int64_t images, bands; /* the images of a task, or the bands of an image */
    int64_t most_packing;  /* the most packing tasks that a product has */
    atomic_int failed;
} PassJob;

static void pack_pieces(long task, void *argument) {
    const PassJob *job = argument;
    const Product *p = job->each + task / job->most_packing;
    if (task % job->most_packing < packing_tasks(p)) pack(p, task % job->most_packing);
}

/* The first pixel of a piece that belongs to a band; bands are whole rows of pixels. */
INLINE int64_t band_edge(const Piece *piece, int64_t band, int64_t bands) {
    return piece->rows / piece->width * band / bands * piece->width;
}

/* Finds the rows h0 to h1 of the padded image that the pieces read for a band. */
static void rows_read(const Pass *pass, int64_t band, int64_t bands, int64_t *h0, int64_t *h1) {
    const int64_t row = pass->source.Wp * pass->source.C;
    *h0 = pass->source.Hp, *h1 = 0;
    for (const Piece *p = pass->piece; p < pass->piece + pass->pieces; p++) {
        const int64_t r0 = band_edge(p, band, bands), r1 = band_edge(p, band + 1, bands);
        if (r0 == r1 || !p->K) continue;
        *h0 = MIN(*h0, (p->a_row.table[r0] + p->lowest) / row);
        *h1 = MAX(*h1, (p->a_row.table[r1 - 1] + p->highest) / row + 1);
    }
    *h0 = MIN(*h0, *h1);
}

/* Copies the part of rows of pixels u0 to u1 that lies in the image to y. Each is crop_rows rows of `whole`. */
static void crop(const Pass *pass, const real *whole, int64_t u0, int64_t u1, real *y) {
    for (int64_t row = u0 * pass->crop_rows; row < u1 * pass->crop_rows; row++, whole += pass->crop_step)
        if (row >= pass->top && row < pass->top + pass->H)
            memcpy(y + (row - pass->top) * pass->kept, whole + pass->left, pass->kept * sizeof(real));
}

/* Runs all products for `images` images, or for one band of one image. */
static void convolve_images(long task, void *argument) {
    PassJob *job = argument;
    const Pass *pass = job->pass;
    const Source *s = &pass->source;
    const int64_t band = task % job->bands, n0 = task / job->bands * job->images, n1 = MIN(s->N, n0 + job->images);
    int64_t h0 = 0, h1 = s->Hp;
    if (job->bands > 1) rows_read(pass, band, job->bands, &h0, &h1);
    const int64_t image = (h1 - h0) * s->Wp * s->C; /* the numbers of one image that the products read */
    const int ready = lies_ready(s, job->strides);
    const int64_t rows = pass->crop ? pass->piece->rows / pass->piece->width : 0;
    const int64_t u0 = rows * band / job->bands, u1 = rows * (band + 1) / job->bands;
    const int64_t whole = (u1 - u0) * pass->crop_rows * pass->crop_step;
    real *local = ready && !pass->crop ? 0 : allocate(((ready ? 0 : image) + whole) * (n1 - n0) * sizeof(real));
    if (!local && !(ready && !pass->crop)) {
        atomic_store(&job->failed, 1);
        return;
    }
    real *target = pass->crop ? local + (ready ? 0 : image * (n1 - n0)) : job->y + n0 * pass->size;
    if (!ready)
        for (int64_t n = n0; n < n1; n++)
            pad_rows(s, job->x + n * job->strides[0], job->strides, h0, h1, local + (n - n0) * image);
    for (int64_t i = 0; i < pass->pieces; i++) {
        const Piece *piece = pass->piece + i;
        Product p = job->each[i];
        p.a = (ready ? job->x + n0 * s->Hp * s->Wp * s->C : local - h0 * s->Wp * s->C) + piece->a_start;
        if (!ready) p.a_row.step = image;
        p.c = target + piece->c_start - u0 * pass->crop_rows * pass->crop_step;
        if (pass->crop) p.c_row.step = whole;
        const int64_t row0 = job->bands == 1 ? 0 : band_edge(piece, band, job->bands);
        const int64_t row1 = job->bands == 1 ? (n1 - n0) * piece->rows : band_edge(piece, band + 1, job->bands);
        if (pass->depthwise) depthwise_rows(&p, s->C, row0, row1);
        else multiply_rows(&p, row0, row1);
    }
    for (int64_t n = n0; n < n1 && pass->crop; n++)
        crop(pass, target + (n - n0) * whole, u0, u1, job->y + n * pass->size);
    release(local);
}

/* Decides how many images a task takes, or into how many bands an image is cut. */
static void cut_images(PassJob *job) {
    const Pass *pass = job->pass;
    const int64_t N = pass->source.N, bytes = pass->source.Hp * pass->source.Wp * pass->source.C * sizeof(real);
    job->images = MIN(TASK_PRODUCTS / MAX(1, pass->products), LOCAL_BYTES / MAX(1, bytes));
    job->images = MAX(1, MIN(job->images, N / LEAST_TASKS));
    job->bands = 1;
    if (job->images > 1 || N >= BANDED_TASKS) return;
    int64_t shortest = INT64_MAX;
    for (int64_t i = 0; i < pass->pieces; i++)
        shortest = MIN(shortest, pass->piece[i].rows / MAX(1, pass->piece[i].width));
    job->bands = MIN(CEIL_DIV(BANDED_TASKS, MAX(1, N)), pass->products / (TASK_PRODUCTS / 4));
    job->bands = MAX(1, MIN(job->bands, shortest / 4));
}

/* Runs the pass `how`, a forward pass or an input gradient: y from x (N, C, H, W) of any strides and contiguous weights. */
EXPORT int NAME(convolve)(const Pass *how, const real *x, const int64_t x_strides[4], const real *w,
                          OPTIONAL const real *bias, int relu, real *y) {
    PassJob job = {.pass = how, .x = x, .strides = x_strides, .y = y, .most_packing = 1};
    Product *each = job.each = allocate(how->pieces * sizeof(Product));
    if (!each) return NO_MEMORY;
    int64_t packed = 0;
    for (int64_t i = 0; i < how->pieces; i++) {
        const Piece *of = how->piece + i;
        each[i] = (Product){.M = how->source.N * of->rows, .N = of->N, .K = of->K, .b = w + of->b_start,
                            .bias = bias ? bias + of->bias_start : 0, .relu = relu, .a_row = of->a_row,
                            .a_col = of->a_col, .b_row = of->b_row, .b_col = of->b_col, .c_row = of->c_row,
                            .c_col = of->c_col};
        plan(each + i);
        packed += packed_size(each + i);
        job.most_packing = MAX(job.most_packing, packing_tasks(each + i));
    }
    if (how->depthwise) packed = how->depthwise * how->source.C;
    real *panels = allocate(packed * sizeof(real));
    if (panels && how->depthwise) {
        for (int64_t i = 0; i < packed; i++) /* (C, taps) -> (taps, C) */
            panels[i % how->depthwise * how->source.C + i / how->depthwise] = w[i];
        for (int64_t i = 0; i < how->pieces; i++) each[i].panels = panels;
    } else if (panels) {
        real *next = panels;
        for (int64_t i = 0; i < how->pieces; i++) {
            each[i].panels = each[i].panel_step ? (real *)each[i].b : next;
            next += packed_size(each + i);
        }
        parallel_for(how->pieces * job.most_packing, pack_pieces, &job);
    }
    if (panels) {
        cut_images(&job);
        parallel_for(CEIL_DIV(how->source.N, job.images) * job.bands, convolve_images, &job);
    }
    release(panels);
    release(each);
    return !panels || atomic_load(&job.failed) ? NO_MEMORY : 0;
}

/* ---- weight gradient ---- */

#define CHUNK_BYTES (4 << 20) /* the bytes of x and dy in a chunk of images, which is read many times */

typedef struct {
    const Source *source;
    const real *x;
    const int64_t *strides;
    real *to;
} Padding;

static void pad_image(long task, void *argument) {
    const Padding *job = argument;
    const Source *s = job->source;
    pad_rows(s, job->x + task * job->strides[0], job->strides, 0, s->Hp, job->to + task * s->Hp * s->Wp * s->C);
}

/* The images from `first` on, in the form that the source describes: where they are, or else padded, in `to`. */
static const real *source_of(const Source *s, const real *x, const int64_t *strides, int64_t first, int64_t images,
                             real *to) {
    if (lies_ready(s, strides)) return x + first * strides[0];
    Padding job = {s, x + first * strides[0], strides, to};
    parallel_for(images, pad_image, &job);
    return to;
}

typedef struct {
    int64_t taps, C, OC;
    const real *from;
    real *to;
} Turn;

/* Writes dw (OC, C, taps), for LANES output channels, from its transpose (taps, C, OC). */
static void turn_outputs(long task, void *argument) {
    const Turn *job = argument;
    const int64_t taps = job->taps, C = job->C, last = MIN(job->OC, (task + 1) * LANES);
    for (int64_t c = 0; c < C; c++)
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t o = task * LANES; o < last; o++)
                job->to[(o * C + c) * taps + tap] = job->from[(tap * C + c) * job->OC + o];
}

/* dw (groups * OC, C, taps) = the weight gradient for x (N, C, H, W) and dy (N, OC, OH, OW) of any strides. */
EXPORT int NAME(convolve_weight_grad)(const WeightPass *how, const real *x, const int64_t x_strides[4],
                                      const real *dy, const int64_t dy_strides[4], real *dw) {
    const Source *of_x = &how->x, *of_dy = &how->dy;
    const int64_t M = how->taps * how->C, N = how->OC, pixels = of_dy->H * of_dy->W;
    const int64_t image = of_x->Hp * of_x->Wp * of_x->C, grad = pixels * of_dy->C;
    const int64_t most = MAX(1, CHUNK_BYTES / (int64_t)((image + grad) * sizeof(real)));
    const int64_t chunk = CEIL_DIV(of_x->N, MAX(1, CEIL_DIV(of_x->N, most))); /* images; all chunks have about one size */
    real *scratch = allocate((chunk * (image + grad) + how->groups * M * N) * sizeof(real));
    if (!scratch) return NO_MEMORY;
    real *turned = scratch + chunk * (image + grad);
    int failed = 0;
    if (!of_x->N) memset(turned, 0, how->groups * M * N * sizeof(real));
    for (int64_t first = 0; first < of_x->N && !failed; first += chunk) {
        const int64_t images = MIN(chunk, of_x->N - first);
        const real *a = source_of(of_x, x, x_strides, first, images, scratch);
        const real *b = source_of(of_dy, dy, dy_strides, first, images, scratch + chunk * image);
        for (int64_t group = 0; group < how->groups && !failed; group++) {
            Product p = {.M = M, .N = N, .K = images * pixels, .a = a + group * how->C, .b = b + group * N,
                         .c = turned + group * M * N, .a_row = how->a_row, .a_col = how->a_col,
                         .b_row = every(of_dy->C), .b_col = every(1), .c_row = every(N), .add = first > 0};
            failed = multiply(&p);
        }
    }
    for (int64_t group = 0; group < how->groups; group++) {
        Turn job = {how->taps, how->C, N, turned + group * M * N, dw + group * M * N};
        parallel_for(CEIL_DIV(N, LANES), turn_outputs, &job);
    }
    release(scratch);
    return failed;
}
