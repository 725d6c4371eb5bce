/* From three loops to the product of product.c, one idea at a time: c = a b for n x n matrices of float, where n is a
   multiple of MR and of NV * LANES. `python -m minivae.kernels.native.ladder` compiles this file without the compiler's own
   vectorisation, checks every step and times it. */
#define real float
#define REAL_IS_FLOAT 1
#define NAME(f) f
#include "../plans.h"
#include "../vector.h"
#include "../pool.c"

#if defined(__AVX512F__) || defined(__aarch64__)
#define MR 8
#define NV 3
#else
#define MR 6
#define NV 2
#endif
#define WIDTH (NV * LANES) /* the columns of a panel (step 4) */
#define DEPTH 256

/* Step 0: the definition. b is read down a column, so each number lies in another cache line than the one before it. */
EXPORT void three_loops(int64_t n, const real a[n * n], const real b[n * n], real c[n * n]) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            real sum = 0;
            for (int64_t k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
}

/* Step 1: the two inner loops are exchanged, so that b and c are read along their rows. But each multiplication now loads
   and stores a number of c. */
EXPORT void along_rows(int64_t n, const real a[n * n], const real b[n * n], real c[n * n]) {
    memset(c, 0, n * n * sizeof(real));
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++)
            for (int64_t j = 0; j < n; j++) c[i * n + j] += a[i * n + k] * b[k * n + j];
}

/* Step 2: a block of 3 x 4 sums stays in registers while k runs. 7 numbers are loaded for 12 multiplications. */
EXPORT void register_block(int64_t n, const real a[n * n], const real b[n * n], real c[n * n]) {
    for (int64_t i = 0; i < n; i += 3)
        for (int64_t j = 0; j < n; j += 4) {
            real sum[3][4] = {{0}};
            for (int64_t k = 0; k < n; k++)
                UNROLL for (int p = 0; p < 3; p++) UNROLL for (int q = 0; q < 4; q++)
                    sum[p][q] += a[(i + p) * n + k] * b[k * n + j + q];
            UNROLL for (int p = 0; p < 3; p++) UNROLL for (int q = 0; q < 4; q++) c[(i + p) * n + j + q] = sum[p][q];
        }
}

/* Step 3: the same with MR x NV vectors instead of 3 x 4 numbers. Each number of a that is loaded is used for NV * LANES
   multiplications. */
INLINE void vector_tile(int64_t n, int64_t K, const real *a, const real *b, int64_t b_step, int add, real *c) {
    vec sum[MR][NV];
    UNROLL for (int p = 0; p < MR; p++) UNROLL for (int q = 0; q < NV; q++) sum[p][q] = (vec){0};
    for (int64_t k = 0; k < K; k++, b += b_step) {
        vec v[NV];
        UNROLL for (int q = 0; q < NV; q++) v[q] = load(b + q * LANES);
        UNROLL for (int p = 0; p < MR; p++) UNROLL for (int q = 0; q < NV; q++) sum[p][q] += a[p * n + k] * v[q];
    }
    UNROLL for (int p = 0; p < MR; p++) UNROLL for (int q = 0; q < NV; q++) {
        real *to = c + p * n + q * LANES;
        if (add) sum[p][q] += load(to);
        store(to, sum[p][q]);
    }
}

EXPORT void vectors(int64_t n, const real a[n * n], const real b[n * n], real c[n * n]) {
    for (int64_t i = 0; i < n; i += MR)
        for (int64_t j = 0; j < n; j += WIDTH) vector_tile(n, n, a + i * n, b + j, n, 0, c + i * n + j);
}

/* Step 4: b is packed: it is copied into panels, in the order in which tiles read it. So the next k is no longer a whole row
   of b away. */
static void pack_panel(int64_t n, const real *b, real *panel) {
    for (int64_t k = 0; k < n; k++)
        for (int64_t q = 0; q < WIDTH; q++) panel[k * WIDTH + q] = b[k * n + q];
}

EXPORT int packed(int64_t n, const real a[n * n], const real b[n * n], real c[n * n]) {
    real *panel = allocate(n * WIDTH * sizeof(real));
    if (!panel) return NO_MEMORY;
    for (int64_t j = 0; j < n; j += WIDTH) {
        pack_panel(n, b + j, panel);
        for (int64_t i = 0; i < n; i += MR) vector_tile(n, n, a + i * n, panel, WIDTH, 0, c + i * n + j);
    }
    release(panel);
    return 0;
}

/* Step 5: k is cut into blocks of DEPTH, so that the block of a panel that all tiles read stays in the first-level cache. */
typedef struct {
    int64_t n;
    const real *a, *b;
    real *panels, *c;
} Job;

static void pack_task(long task, void *argument) {
    const Job *job = argument;
    pack_panel(job->n, job->b + task * WIDTH, job->panels + task * WIDTH * job->n);
}

static void rows_task(long task, void *argument) { /* computes 8 rows of tiles */
    const Job *job = argument;
    const int64_t n = job->n, i0 = task * 8 * MR, i1 = MIN(n, i0 + 8 * MR);
    for (int64_t k = 0; k < n; k += DEPTH)
        for (int64_t j = 0; j < n; j += WIDTH)
            for (int64_t i = i0; i < i1; i += MR)
                vector_tile(n, MIN(DEPTH, n - k), job->a + i * n + k, job->panels + j * n + k * WIDTH, WIDTH, k > 0,
                            job->c + i * n + j);
}

EXPORT int cache_blocks(int64_t n, const real a[n * n], const real b[n * n], real c[n * n]) {
    Job job = {n, a, b, allocate(n * n * sizeof(real)), c};
    if (!job.panels) return NO_MEMORY;
    for (long task = 0; task < n / WIDTH; task++) pack_task(task, &job);
    for (long task = 0; task < CEIL_DIV(n, 8 * MR); task++) rows_task(task, &job);
    release(job.panels);
    return 0;
}

/* Step 6: threads share the tasks. The result does not depend on which thread does which task. */
EXPORT int threads(int64_t n, const real a[n * n], const real b[n * n], real c[n * n]) {
    Job job = {n, a, b, allocate(n * n * sizeof(real)), c};
    if (!job.panels) return NO_MEMORY;
    parallel_for(n / WIDTH, pack_task, &job);
    parallel_for(CEIL_DIV(n, 8 * MR), rows_task, &job);
    release(job.panels);
    return 0;
}
