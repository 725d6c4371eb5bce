/* One product for everything:  C(i, j) = sum over k of A(i, k) B(k, j),  then optionally + bias(j) and ReLU, where

       A(i, k) = a[a_row(i) + a_col(k)],   B(k, j) = b[b_row(k) + b_col(j)],   C(i, j) = c[c_row(i) + c_col(j)].

   The offset of each element is the sum of an offset for its row and one for its column. This describes a matrix, its
   transpose, and also what a convolution reads from a padded channels-last image: a row is an output pixel, a column is a
   tap. So convolutions are products whose A is the image as it lies in memory, and the matrix of patches (im2col) is never
   written.

   Three ideas make it fast (ladder/ has them one at a time):

   * A *tile* of C, MR rows of NV vectors, stays in registers while k runs: for each k, MR numbers and NV vectors are loaded
     for MR * NV * LANES multiplications.
   * B is packed: it is copied into *panels*, NV vectors wide, which hold one k after the other in the order in which a tile
     reads them. A is not packed.
   * Loops over blocks of k, of columns and of rows keep numbers that are read again in the caches.

   M, N and K alone decide how the work is cut into tasks, and whether the sum over k is cut into parts (split-K). So results
   do not depend on the number of threads. */

#if defined(__AVX512F__) || defined(__aarch64__) /* there are 32 vector registers */
#define MR 8
#define NV 3
#else /* there are 16 */
#define MR 6
#define NV 2
#endif
#define ROWS 64    /* the most rows of a block: ROWS x DEPTH numbers of A stay in the second-level cache */
#define DEPTH 256  /* the most k of a block; its sums are then added to memory, and shorter sums round less */
#define PACKED 256 /* how many k a packing task takes */
#define TASK_PRODUCTS (1 << 22) /* multiplications of a task, about 50 microseconds */
#define LEAST_TASKS 16
#define LONG_SUM 1024 /* from this K on, a product with few tasks is also cut along k */

typedef struct {
    int64_t M, N, K;
    const real *a, *b, *bias; /* bias: N numbers, or null */
    real *c;
    Axis a_row, a_col, b_row, b_col, c_row;
    const int64_t *c_col; /* null: c_col(j) = j */
    int relu, add;        /* add: the product is added to what is in C */
    /* The rest says how the product is computed; `plan` sets it. */
    int64_t width;                /* the columns of a panel */
    int64_t rows, columns, parts; /* the rows and columns of a task; the parts of the sum over k, each a task of its own */
    real *panels;                 /* B packed, as panels of K x width; or, if panel_step is not 0, B as it lies in memory */
    int64_t panel_step;           /* 0, or the step from one k to the next in B */
    real *partial;                /* the results of parts 1, 2, ..., each M x N */
} Product;

/* The Axis whose line i begins at i * step. */
INLINE Axis every(int64_t step) { return (Axis){1, step, 0}; }

/* Writes the offsets of lines first, ..., first + count - 1 to `to`. */
static void offsets(const Axis *axis, int64_t first, int64_t count, int64_t *to) {
    if (!axis->table) {
        for (int64_t i = 0; i < count; i++) to[i] = (first + i) * axis->step;
        return;
    }
    int64_t place = first % axis->period, base = first / axis->period * axis->step;
    for (int64_t i = 0; i < count; i++) {
        to[i] = base + axis->table[place];
        if (++place == axis->period) place = 0, base += axis->step;
    }
}

/* ---- the tile in registers ---- */

typedef struct { /* where the results of a tile are written */
    real *c;
    const int64_t *row, *col; /* offsets of rows and columns; col may be null */
    const real *bias;
    int add, relu;
} Target;

/* Writes the first `valid` numbers of a row, one by one. */
static __attribute__((noinline)) void store_numbers(const real *row, real *c, const Target *to, int64_t valid) {
    for (int64_t j = 0; j < valid; j++) {
        real *place = c + (to->col ? to->col[j] : j);
        const real y = row[j] + (to->add ? *place : 0) + (to->bias ? to->bias[j] : 0);
        *place = to->relu && y <= 0 ? 0 : y;
    }
}

/* Writes a row of nv whole vectors. */
INLINE void store_row(const int nv, const vec *sum, real *c, const Target *to) {
    UNROLL for (int j = 0; j < nv; j++) {
        vec y = sum[j];
        if (to->add) y += load(c + j * LANES);
        if (to->bias) y += load(to->bias + j * LANES);
        store(c + j * LANES, to->relu ? relu_of(y) : y);
    }
}

/* A tile of MR rows of nv vectors, of which `rows` rows and `valid` columns are written. The other rows repeat the last. */
INLINE void tile(const int nv, int64_t K, const real *restrict a, const int64_t *a_row, const int64_t *restrict a_col,
                 const real *restrict b, int64_t b_step, const Target *to, int64_t rows, int64_t valid) {
    const int ways = nv == 1 ? 2 : 1; /* two independent sums: an addition takes four cycles, and two begin in each cycle */
    vec sum[2][MR][NV];
    const real *row[MR];
    UNROLL for (int i = 0; i < MR; i++) row[i] = a + a_row[MIN(i, rows - 1)];
    UNROLL for (int w = 0; w < ways; w++) UNROLL for (int i = 0; i < MR; i++) UNROLL for (int j = 0; j < nv; j++)
        sum[w][i][j] = (vec){0};
    int64_t k = 0;
    for (; k + ways <= K; k += ways) {
        UNROLL for (int w = 0; w < ways; w++, b += b_step) {
            const int64_t at = a_col[k + w];
            vec v[NV];
            UNROLL for (int j = 0; j < nv; j++) v[j] = load(b + j * LANES);
            UNROLL for (int i = 0; i < MR; i++) UNROLL for (int j = 0; j < nv; j++) sum[w][i][j] += row[i][at] * v[j];
        }
    }
    if (ways == 2) {
        if (k < K) UNROLL for (int i = 0; i < MR; i++) sum[0][i][0] += row[i][a_col[k]] * load(b);
        UNROLL for (int i = 0; i < MR; i++) sum[0][i][0] += sum[1][i][0];
    }
    const int whole = valid == nv * LANES && !to->col;
    UNROLL for (int i = 0; i < MR; i++) {
        if (i >= rows) break;
        real *c = to->c + to->row[i];
        if (whole) {
            store_row(nv, sum[0][i], c, to);
        } else {
            real numbers[NV * LANES];
            UNROLL for (int j = 0; j < nv; j++) store(numbers + j * LANES, sum[0][i][j]);
            store_numbers(numbers, c, to, valid);
        }
    }
}

#define TILE_OF(nv)                                                                                                  \
    static __attribute__((noinline)) void tile_of_##nv(                                                              \
        int64_t K, const real *restrict a, const int64_t *a_row, const int64_t *restrict a_col,                      \
        const real *restrict b, int64_t b_step, const Target *to, int64_t rows, int64_t valid) {                     \
        tile(nv, K, a, a_row, a_col, b, b_step, to, rows, valid);                                                    \
    }
TILE_OF(1)
TILE_OF(2)
#if NV == 3
TILE_OF(3)
#endif

static void any_tile(int64_t K, const real *a, const int64_t *a_row, const int64_t *a_col, const real *b,
                     int64_t b_step, const Target *to, int64_t rows, int64_t valid) {
    if (valid <= LANES) tile_of_1(K, a, a_row, a_col, b, b_step, to, rows, valid);
    else if (NV == 2 || valid <= 2 * LANES) tile_of_2(K, a, a_row, a_col, b, b_step, to, rows, valid);
#if NV == 3
    else tile_of_3(K, a, a_row, a_col, b, b_step, to, rows, valid);
#endif
}

/* ---- a block of C ---- */

/* Computes rows row0 to row1 (at most ROWS) and columns col0 (a multiple of the width) to col1 of C, over k0 to k1. */
static void multiply_block(const Product *p, int64_t row0, int64_t row1, int64_t col0, int64_t col1, int64_t k0,
                           int64_t k1) {
    const int64_t pieces = MAX(1, CEIL_DIV(k1 - k0, DEPTH));
    const int64_t step = p->panel_step ? p->panel_step : p->width;
    int64_t a_row[ROWS], c_row[ROWS], a_col[DEPTH];
    offsets(&p->a_row, row0, row1 - row0, a_row);
    offsets(&p->c_row, row0, row1 - row0, c_row);
    for (int64_t piece = 0; piece < pieces; piece++) {
        const int64_t k = k0 + piece * (k1 - k0) / pieces, end = k0 + (piece + 1) * (k1 - k0) / pieces;
        const int first = piece == 0, last = piece == pieces - 1;
        offsets(&p->a_col, k, end - k, a_col);
        for (int64_t n = col0; n < col1; n += p->width) {
            const real *b = p->panels + (p->panel_step ? k * step + n : n * p->K + k * step);
            Target to = {.c = p->c_col ? p->c : p->c + n, .col = p->c_col ? p->c_col + n : 0, .add = p->add || !first};
            if (last) to.bias = p->bias ? p->bias + n : 0, to.relu = p->relu;
            for (int64_t m = 0; m < row1 - row0; m += MR) {
                to.row = c_row + m;
                any_tile(end - k, p->a, a_row + m, a_col, b, step, &to, MIN(MR, row1 - row0 - m), MIN(p->width, col1 - n));
            }
        }
    }
}

/* Computes rows row0 to row1, any number of them, over all columns and all k. */
static void multiply_rows(const Product *p, int64_t row0, int64_t row1) {
    for (int64_t row = row0; row < row1; row += ROWS) multiply_block(p, row, MIN(row1, row + ROWS), 0, p->N, 0, p->K);
}

/* ---- packing ---- */

#define LANE_COUNT (VECTOR_BYTES / (REAL_IS_FLOAT ? 4 : 8))
#if LANE_COUNT == 2
#define LOW_HALVES 0, 2
#define HIGH_HALVES 1, 3
#elif LANE_COUNT == 4
#define LOW_HALVES 0, 4, 1, 5
#define HIGH_HALVES 2, 6, 3, 7
#elif LANE_COUNT == 8
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif
#ifdef __clang__
#define MERGE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MERGE(a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* Transposes a square of LANES vectors: log2(LANES) times, each vector is interleaved with the one half the square away. */
INLINE void transpose_square(vec *v) {
    vec merged[LANE_COUNT];
    UNROLL for (int bit = 1; bit < LANES; bit *= 2) {
        UNROLL for (int i = 0; i < LANES / 2; i++) {
            merged[2 * i] = MERGE(v[i], v[i + LANES / 2], LOW_HALVES);
            merged[2 * i + 1] = MERGE(v[i], v[i + LANES / 2], HIGH_HALVES);
        }
        UNROLL for (int i = 0; i < LANES; i++) v[i] = merged[i];
    }
}

/* Packs k0 to k1 of the panel that begins at `column`. The columns of its last vector beyond N repeat column N - 1. */
static void pack_panel(const Product *p, int64_t column, int64_t k0, int64_t k1) {
    const int64_t width = p->width, valid = MIN(width, p->N - column), whole = ROUND_UP(valid, LANES);
    real *to = p->panels + column * p->K;
    int64_t row[PACKED], col[NV * LANES], k = 0;
    offsets(&p->b_row, k0, k1 - k0, row);
    offsets(&p->b_col, column, valid, col);
    for (int64_t j = valid; j < whole; j++) col[j] = col[valid - 1];
    to += k0 * width;
    if (!p->b_col.table && p->b_col.step == 1 && valid == width) { /* rows of B are contiguous */
        for (; k < k1 - k0; k++)
            for (int64_t j = 0; j < width; j += LANES) store(to + k * width + j, load(p->b + row[k] + col[j]));
    } else if (!p->b_row.table && p->b_row.step == 1) { /* columns of B are contiguous */
        for (; k + LANES <= k1 - k0; k += LANES)
            for (int64_t j = 0; j < whole; j += LANES) {
                vec v[LANE_COUNT];
                UNROLL for (int i = 0; i < LANES; i++) v[i] = load(p->b + row[k] + col[j + i]);
                transpose_square(v);
                UNROLL for (int i = 0; i < LANES; i++) store(to + (k + i) * width + j, v[i]);
            }
    }
    for (; k < k1 - k0; k++)
        for (int64_t j = 0; j < whole; j++) to[k * width + j] = p->b[row[k] + col[j]];
}

static int64_t packing_tasks(const Product *p) {
    return p->panel_step ? 0 : CEIL_DIV(p->N, p->width) * CEIL_DIV(p->K, PACKED);
}

static void pack(const Product *p, int64_t task) {
    const int64_t pieces = CEIL_DIV(p->K, PACKED), k0 = task % pieces * PACKED;
    pack_panel(p, task / pieces * p->width, k0, MIN(p->K, k0 + PACKED));
}

static int64_t packed_size(const Product *p) { return p->panel_step ? 0 : ROUND_UP(p->N, p->width) * p->K; }

/* ---- the whole product ---- */

/* Whether a tile can read B as it lies in memory: its rows are a few whole vectors. */
static int needs_no_packing(const Product *p) {
    return !p->b_col.table && p->b_col.step == 1 && !p->b_row.table && p->b_row.step >= p->N && p->N % LANES == 0 &&
           p->N * sizeof(real) <= 512;
}

/* The width of the panels for N columns. Four vectors are two panels of two, not one of three and one of one. */
static int64_t width_of(int64_t N) {
    const int64_t vectors = MAX(1, CEIL_DIV(N, LANES));
    return (vectors == 4 ? 2 : MIN(vectors, NV)) * LANES;
}

/* Decides how the product is cut into tasks. */
static void plan(Product *p) {
    p->width = width_of(p->N);
    p->panel_step = needs_no_packing(p) ? p->b_row.step : 0;
    p->rows = ROWS;
    const int64_t panels = CEIL_DIV(p->N, p->width);
    int64_t task_panels = TASK_PRODUCTS / (ROWS * p->width * MAX(1, p->K));
    task_panels = MAX(1, MIN(panels, task_panels));
    while (task_panels > 1 && CEIL_DIV(p->M, p->rows) * CEIL_DIV(panels, task_panels) < LEAST_TASKS)
        task_panels = (task_panels + 1) / 2;
    p->columns = task_panels * p->width;
    p->parts = 1;
    const int64_t across = CEIL_DIV(panels, task_panels), places = MAX(1, CEIL_DIV(p->M, ROWS) * across);
    if (places < LEAST_TASKS && p->K >= LONG_SUM) p->parts = MIN(CEIL_DIV(LEAST_TASKS, places), p->K / (LONG_SUM / 2));
    while (p->rows > 2 * MR && CEIL_DIV(p->M, p->rows) * across * p->parts < LEAST_TASKS)
        p->rows = ROUND_UP(p->rows / 2, MR);
}

static void pack_task(long task, void *product) { pack(product, task); }

/* Computes one block of C over one part of k. */
static void block_task(long task, void *product) {
    Product p = *(const Product *)product;
    const int64_t down = CEIL_DIV(p.M, p.rows), across = CEIL_DIV(p.N, p.columns), part = task / (down * across);
    const int64_t place = task % (down * across); /* one thread gets neighbouring blocks, which share the larger operand */
    const int64_t row = (p.M < p.N ? place % down : place / across) * p.rows;
    const int64_t column = (p.M < p.N ? place / down : place % across) * p.columns;
    const int64_t k0 = part * p.K / p.parts, k1 = (part + 1) * p.K / p.parts;
    if (p.parts > 1) p.bias = 0, p.relu = 0; /* left to `add_parts` */
    if (part) p.c = p.partial + (part - 1) * p.M * p.N, p.c_row = every(p.N), p.c_col = 0, p.add = 0;
    multiply_block(&p, row, MIN(p.M, row + p.rows), column, MIN(p.N, column + p.columns), k0, k1);
}

/* Adds up the parts of the sum over k, for MR rows of C. */
static void add_parts(long task, void *product) {
    const Product *p = product;
    for (int64_t i = task * MR; i < MIN(p->M, (task + 1) * MR); i++) {
        int64_t row;
        offsets(&p->c_row, i, 1, &row);
        for (int64_t j = 0; j < p->N; j++) {
            real *c = p->c + row + (p->c_col ? p->c_col[j] : j), y = *c;
            for (int64_t part = 0; part < p->parts - 1; part++) y += p->partial[(part * p->M + i) * p->N + j];
            if (p->bias) y += p->bias[j];
            *c = p->relu && y <= 0 ? 0 : y;
        }
    }
}

/* Computes the product with all threads. Returns 0, or NO_MEMORY. */
static int multiply(Product *p) {
    plan(p);
    const int64_t packed = packed_size(p), partial = (p->parts - 1) * p->M * p->N;
    real *scratch = 0;
    if (packed + partial && !(scratch = allocate((packed + partial) * sizeof(real)))) return NO_MEMORY;
    p->panels = p->panel_step ? (real *)p->b : scratch;
    p->partial = scratch + packed;
    parallel_for(packing_tasks(p), pack_task, p);
    parallel_for(CEIL_DIV(p->M, p->rows) * CEIL_DIV(p->N, p->columns) * p->parts, block_task, p);
    if (p->parts > 1) parallel_for(CEIL_DIV(p->M, MR), add_parts, p);
    release(scratch);
    return 0;
}
