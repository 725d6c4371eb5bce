/* Sums of many numbers, as accurate as pairwise summation. The order depends only on how many there are. */
#ifndef SUMS_H
#define SUMS_H
#include "special.h"

#define RUN 16 /* the vectors of a run, which are added one after the other; the sum then goes into the tree */

/* level[l] is the sum of 2^l runs, if bit l of count is set. Adding a run works like adding 1 to a binary counter: two sums
   of the same level are added and carried to the next level. */
typedef struct {
    int64_t count;
    vec level[48];
} Tree;

INLINE void add_run(Tree *t, vec sum) {
    int at = 0;
    for (int64_t bits = t->count++; bits & 1; bits >>= 1) sum += t->level[at++];
    t->level[at] = sum;
}
INLINE real total(const Tree *t) {
    vec sum = {0};
    int at = 0;
    for (int64_t bits = t->count; bits; bits >>= 1, at++)
        if (bits & 1) sum += t->level[at];
    return sum_of_lanes(sum);
}

/* Adds neighbouring rows of rows (n, C), in place, until the first one is the sum of all. */
static void fold_rows(real *rows, int64_t n, int64_t C) {
    for (; n > 1; n = CEIL_DIV(n, 2)) {
        for (int64_t i = 0; i < n / 2; i++)
            for (int64_t c = 0; c < C; c++) rows[i * C + c] = rows[2 * i * C + c] + rows[(2 * i + 1) * C + c];
        if (n % 2) memmove(rows + n / 2 * C, rows + (n - 1) * C, C * sizeof(real));
    }
}
#endif
