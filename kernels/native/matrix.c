/* Matrices: their products, sums over axes, and sums of rows by index. */

/* ---- products ---- */

#define SMALL_PRODUCT (1 << 20) /* multiplications: below, a thread does whole products of a batch */

typedef struct {
    Product one;
    const int64_t *a_at, *b_at;
    int64_t batch, together; /* products of a task */
    atomic_int failed;
} Batch;

static void multiply_some(long task, void *argument) {
    Batch *job = argument;
    for (int64_t i = task * job->together; i < MIN(job->batch, (task + 1) * job->together); i++) {
        Product p = job->one;
        p.a += job->a_at[i], p.b += job->b_at[i], p.c += i * p.M * p.N;
        if (multiply(&p)) atomic_store(&job->failed, 1);
    }
}

/* c[i] (M, N) = a[i] (M, K) @ b[i] (K, N) [+ bias] [relu]. a_at and b_at say where the matrices of the batch begin, _down
   and _across how far apart their rows and columns are. */
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
        parallel_for(CEIL_DIV(batch, job.together), multiply_some, &job);
    } else {
        for (long task = 0; task < batch; task++) multiply_some(task, &job);
    }
    return atomic_load(&job.failed);
}
