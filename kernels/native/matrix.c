/* Products of matrices, sums over axes, and sums of rows that share an index. */

/* ---- products ---- */

#define SMALL_PRODUCT (1 << 20) /* products with fewer multiplications are each computed by one thread */

typedef struct {
    Product one;
    const int64_t *a_at, *b_at;
    int64_t batch, together; /* together: the products of a task */
    atomic_int failed;
} Batch;

static void multiply_together(long task, void *argument) {
    Batch *job = argument;
    for (int64_t i = task * job->together; i < MIN(job->batch, (task + 1) * job->together); i++) {
        Product p = job->one;
        p.a += job->a_at[i], p.b += job->b_at[i], p.c += i * p.M * p.N;
        if (multiply(&p)) atomic_store(&job->failed, 1);
    }
}

/* c[i] (M, N) = a[i] (M, K) @ b[i] (K, N), plus bias if there is one, then ReLU if asked for. a_at and b_at say where the
   matrices of the batch begin; _down and _across are the distances between their rows and between their columns. */
EXPORT int NAME(matmul)(int64_t batch, int64_t M, int64_t N, int64_t K, const real *a, const int64_t a_at[batch],
                        int64_t a_down, int64_t a_across, const real *b, const int64_t b_at[batch], int64_t b_down,
                        int64_t b_across, OPTIONAL const real bias[N], int relu, real c[batch * M * N]) {
    Batch job = {.a_at = a_at, .b_at = b_at, .batch = batch, .together = 1};
    job.one = (Product){.M = M, .N = N, .K = K, .a = a, .b = b, .bias = bias, .c = c, .relu = relu,
                        .a_row = every(a_down), .a_col = every(a_across), .b_row = every(b_down),
                        .b_col = every(b_across), .c_row = every(N)};
    const int64_t products = M * N * K;
    if (products < SMALL_PRODUCT) {
        job.together = MAX(1, MIN(batch / LEAST_TASKS, SMALL_PRODUCT / MAX(1, products)));
        parallel_for(CEIL_DIV(batch, job.together), multiply_together, &job);
    } else {
        for (long task = 0; task < batch; task++) multiply_together(task, &job);
    }
    return atomic_load(&job.failed) ? NO_MEMORY : 0;
}

/* ---- sums ---- */

#define FLOAT_TERMS 64            /* the number of terms that are added in `real` before their sum is added in double */
#define TASK_NUMBERS (1 << 15)    /* the numbers that a task adds, in about 5 microseconds */
#define COLUMN_VECTORS 4          /* vectors of columns that are summed at the same time */

/* total[j] += x[r * B + j] for all rows r < rows, with B < LANES columns: LANES rows are B whole vectors. */
static void add_narrow_rows(const real *x, int64_t rows, int64_t B, double *total) {
    int64_t r = 0;
    while (r + LANES <= rows) {
        vec sum[LANE_COUNT];
        const int64_t turns = MIN(FLOAT_TERMS, (rows - r) / LANES);
        for (int64_t v = 0; v < B; v++) sum[v] = (vec){0};
        for (int64_t t = 0; t < turns; t++, r += LANES)
            for (int64_t v = 0; v < B; v++) sum[v] += load(x + r * B + v * LANES);
        const real *numbers = (const real *)sum;
        for (int64_t i = 0; i < B * LANES; i++) total[i % B] += numbers[i];
    }
    for (; r < rows; r++)
        for (int64_t j = 0; j < B; j++) total[j] += x[r * B + j];
}

/* The same for `count` vectors of columns, the first of which is at x; `skip` columns of the total do not change. */
INLINE void add_columns(const int count, const real *x, int64_t rows, int64_t B, int64_t skip, double *total) {
    for (int64_t r = 0; r < rows;) {
        vec sum[COLUMN_VECTORS];
        const int64_t end = MIN(rows, r + FLOAT_TERMS);
        UNROLL for (int v = 0; v < count; v++) sum[v] = (vec){0};
        for (; r < end; r++) UNROLL for (int v = 0; v < count; v++) sum[v] += load(x + r * B + v * LANES);
        const real *numbers = (const real *)sum;
        for (int64_t j = skip; j < count * LANES; j++) total[j] += numbers[j];
    }
}

/* total[j] += x[r * B + j] for all rows r < rows and columns j < B. */
static void add_rows(const real *x, int64_t rows, int64_t B, double *total) {
    if (B < LANES) {
        add_narrow_rows(x, rows, B, total);
        return;
    }
    int64_t j = 0;
    for (; j + COLUMN_VECTORS * LANES <= B; j += COLUMN_VECTORS * LANES)
        add_columns(COLUMN_VECTORS, x + j, rows, B, 0, total + j);
    for (; j + LANES <= B; j += LANES) add_columns(1, x + j, rows, B, 0, total + j);
    if (j < B) add_columns(1, x + B - LANES, rows, B, j - (B - LANES), total + B - LANES);
}

typedef struct {
    int64_t A, R, B, together, parts; /* together: the values of A that a task takes; parts: of each sum over R */
    const real *x;
    double *partial;
    real *y;
} Sums;

static void sum_part(long task, void *argument) {
    const Sums *job = argument;
    const int64_t part = task % job->parts, first = task / job->parts * job->together, B = job->B;
    const int64_t r0 = part * job->R / job->parts, r1 = (part + 1) * job->R / job->parts;
    for (int64_t a = first; a < MIN(job->A, first + job->together); a++)
        add_rows(job->x + (a * job->R + r0) * B, r1 - r0, B, job->partial + (a * job->parts + part) * B);
}

static void add_partial_sums(long task, void *argument) {
    const Sums *job = argument;
    for (int64_t i = task * TASK_NUMBERS; i < MIN(job->A * job->B, (task + 1) * TASK_NUMBERS); i++) {
        double sum = 0;
        for (int64_t part = 0; part < job->parts; part++)
            sum += job->partial[(i / job->B * job->parts + part) * job->B + i % job->B];
        job->y[i] = (real)sum;
    }
}

/* y (A, B) = the sums of x (A, R, B) over R; the sums of FLOAT_TERMS terms are added up in double. */
EXPORT int NAME(sum_middle)(int64_t A, int64_t R, int64_t B, const real x[A * R * B], real y[A * B]) {
    Sums job = {.A = A, .R = R, .B = B, .together = 1, .parts = 1, .x = x, .y = y};
    if (R * B < TASK_NUMBERS) job.together = TASK_NUMBERS / MAX(1, R * B);
    else job.parts = MIN(R, R * B / TASK_NUMBERS);
    const size_t bytes = A * job.parts * B * sizeof(double);
    job.partial = allocate(bytes);
    if (!job.partial) return NO_MEMORY;
    memset(job.partial, 0, bytes);
    parallel_for(CEIL_DIV(A, job.together) * job.parts, sum_part, &job);
    parallel_for(CEIL_DIV(A * B, TASK_NUMBERS), add_partial_sums, &job);
    release(job.partial);
    return 0;
}

#define SEGMENT_TASKS 64

typedef struct {
    int64_t M, D, count;
    const real *rows;
    const int64_t *begin, *order; /* segment k is the rows order[begin[k]], ..., order[begin[k + 1] - 1] */
    double *sums;
    real *y;
} Segments;

static void sum_segments(long task, void *argument) {
    const Segments *job = argument;
    const int64_t D = job->D;
    double *sum = job->sums + task * D;
    for (int64_t k = task * job->count / SEGMENT_TASKS; k < (task + 1) * job->count / SEGMENT_TASKS; k++) {
        memset(sum, 0, D * sizeof(double));
        for (int64_t i = job->begin[k]; i < job->begin[k + 1]; i++)
            for (int64_t j = 0; j < D; j++) sum[j] += job->rows[job->order[i] * D + j];
        for (int64_t j = 0; j < D; j++) job->y[k * D + j] = (real)sum[j];
    }
}

/* y[k] = the sum of all rows[m] with index[m] == k, added in double. A counting sort puts rows of equal index together. */
EXPORT int NAME(segment_sum)(int64_t M, int64_t D, int64_t count, const real rows[M * D], const int64_t index[M],
                             real y[count * D]) {
    for (int64_t m = 0; m < M; m++)
        if (index[m] < 0 || index[m] >= count) return WRONG_INDEX;
    int64_t *begin = allocate((count + 2 + M) * sizeof(int64_t)), *order = begin + count + 2;
    double *sums = allocate(SEGMENT_TASKS * D * sizeof(double));
    if (begin && sums) {
        memset(begin, 0, (count + 2) * sizeof(int64_t));
        for (int64_t m = 0; m < M; m++) begin[index[m] + 2]++;
        for (int64_t k = 0; k < count; k++) begin[k + 2] += begin[k + 1];
        for (int64_t m = 0; m < M; m++) order[begin[index[m] + 1]++] = m; /* now begin[k] is where segment k begins */
        Segments job = {M, D, count, rows, begin, order, sums, y};
        parallel_for(SEGMENT_TASKS, sum_segments, &job);
    }
    const int failed = !begin || !sums;
    release(begin);
    release(sums);
    return failed ? NO_MEMORY : 0;
}
