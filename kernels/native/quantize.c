/* The nearest code of a codebook for every row of a matrix; kernels/reference/quantize.py has the mathematics.

   A tile is CODE_ROWS rows against CODE_VECTORS vectors of codes. Their distances |c|^2 / 2 - x . c are summed in registers
   over the D dimensions and then compared with the smallest so far, lane by lane. So no matrix of distances is stored. For
   this the codes are copied into panels, an array (panels, D, codes of a panel). */
#include "special.h"

#if VECTOR_BYTES == 64 /* there are 32 vector registers */
#define CODE_ROWS 8
#define CODE_VECTORS 3
#else /* there are 16 */
#define CODE_ROWS 4
#define CODE_VECTORS 3
#endif
#if REAL_IS_FLOAT
typedef int32_t lane_integer;
#else
typedef int64_t lane_integer;
#endif
#define PANEL (CODE_VECTORS * LANES)
#define CODE_TASK 64 /* the rows of a task, a multiple of CODE_ROWS */

typedef struct {
    int64_t M, D, K, panels;
    const real *x, *codes, *half_norms; /* half_norms (panels * PANEL,) */
    int64_t *nearest;
} Codes;

/* For one row and each lane: the smallest distance so far, and the code that has it. */
typedef struct {
    vec value[CODE_VECTORS];
    mask code[CODE_VECTORS];
} Nearest;

/* Compares as NumPy's argmin does: the first of equal values wins, and a NaN counts as smaller than all numbers. */
INLINE void take_smaller(Nearest *n, int j, vec value, mask code) {
    const vec best = n->value[j];
    const mask smaller = ~(value >= best) & (best == best);
    n->value[j] = choose(smaller, value, best);
    n->code[j] = (smaller & code) | (~smaller & n->code[j]);
}

/* The code of the smallest value over all lanes; of equal values the lowest code. */
static int64_t first_of_smallest(const Nearest *n) {
    int64_t code = -1;
    real value = 0;
    for (int j = 0; j < CODE_VECTORS; j++)
        for (int l = 0; l < LANES; l++) {
            const real v = n->value[j][l];
            const int64_t c = n->code[j][l];
            const int equal = v == value || (v != v && value != value);
            if (code < 0 || (equal ? c < code : !(v >= value) && value == value)) value = v, code = c;
        }
    return code;
}

/* Finds the nearest codes of the CODE_TASK rows of a task. */
static void nearest_rows(long task, void *job) {
    const Codes *q = job;
    Nearest nearest[CODE_TASK];
    const int64_t first = task * CODE_TASK, count = MIN(q->M - first, CODE_TASK), D = q->D;
    mask lane;
    for (int l = 0; l < LANES; l++) lane[l] = l;
    for (int64_t panel = 0; panel < q->panels; panel++)
        for (int64_t i = 0; i < count; i += CODE_ROWS) {
            const real *x[CODE_ROWS], *codes = q->codes + panel * D * PANEL;
            UNROLL for (int r = 0; r < CODE_ROWS; r++) x[r] = q->x + (first + MIN(i + r, count - 1)) * D;
            vec sum[CODE_ROWS][CODE_VECTORS];
            UNROLL for (int r = 0; r < CODE_ROWS; r++) UNROLL for (int j = 0; j < CODE_VECTORS; j++)
                sum[r][j] = load(q->half_norms + panel * PANEL + j * LANES);
            for (int64_t d = 0; d < D; d++, codes += PANEL)
                UNROLL for (int r = 0; r < CODE_ROWS; r++) UNROLL for (int j = 0; j < CODE_VECTORS; j++)
                    sum[r][j] -= x[r][d] * load(codes + j * LANES);
            UNROLL for (int r = 0; r < CODE_ROWS; r++) UNROLL for (int j = 0; j < CODE_VECTORS; j++) {
                Nearest *n = &nearest[i + r];
                const mask code = lane + (lane_integer)(panel * PANEL + j * LANES);
                if (panel) take_smaller(n, j, sum[r][j], code);
                else n->value[j] = sum[r][j], n->code[j] = code;
            }
        }
    for (int64_t i = 0; i < count; i++) q->nearest[first + i] = first_of_smallest(&nearest[i]);
}

/* Copies the codes into panels. The last panel is filled up with code 0, which cannot change the result: in a tie between
   equal codes the first one wins. */
static void lay_out(const Codes *q, const real *codebook, real *codes, real *half_norms) {
    for (int64_t i = 0; i < q->panels * PANEL; i++) {
        const real *code = codebook + (i < q->K ? i : 0) * q->D;
        real *to = codes + i / PANEL * q->D * PANEL + i % PANEL, sum = 0;
        for (int64_t d = 0; d < q->D; d++) sum += code[d] * code[d], to[d * PANEL] = code[d];
        half_norms[i] = sum / 2;
    }
}

EXPORT int NAME(nearest_code)(int64_t M, int64_t D, int64_t K, const real x[M * D], const real codebook[K * D],
                              int64_t nearest[M]) {
    Codes q = {.M = M, .D = D, .K = K, .panels = CEIL_DIV(K, PANEL), .x = x, .nearest = nearest};
    real *memory = allocate(q.panels * PANEL * (D + 1) * sizeof(real));
    if (!memory) return NO_MEMORY;
    q.half_norms = memory, q.codes = memory + q.panels * PANEL;
    lay_out(&q, codebook, memory + q.panels * PANEL, memory);
    parallel_for(CEIL_DIV(M, CODE_TASK), nearest_rows, &q);
    release(memory);
    return 0;
}
