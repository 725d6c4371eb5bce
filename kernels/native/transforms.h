/* The constant matrices of winograd.c, and multiplication by them from both sides, for LANES channels at once.

   The names end in m and r of F(m, r). */

#define MOST_N 4 /* the most inputs of a tile along one axis */

typedef void Transform(const vec *from, vec *to);

/* The sum of factors times vectors. Factors that are 0 cost nothing. */
INLINE vec combine(const int count, const real *factors, const int factor_step, const vec *from, const int from_step) {
    vec sum = {0};
    int terms = 0;
    UNROLL for (int i = 0; i < count; i++) {
        const real factor = factors[i * factor_step];
        if (factor == 0) continue;
        sum = terms++ ? sum + factor * from[i * from_step] : factor * from[i * from_step];
    }
    return sum;
}

/* to (rows, rows) = matrix from matrix^T for a matrix (rows, columns), whose rows lie `down` and whose columns lie `across`
   numbers apart, so that it may be a transposed one. The compiler sees a constant matrix and leaves only the additions. */
INLINE void both_sides(const int rows, const int columns, const real *matrix, const int down, const int across,
                       const vec *from, vec *to) {
    vec half[MOST_N * MOST_N];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int b = 0; b < columns; b++)
        half[i * columns + b] = combine(columns, matrix + i * down, across, from + b, columns);
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < rows; j++)
        to[i * rows + j] = combine(columns, matrix + j * down, across, half + i * columns, 1);
}

#define A22 {1, 1, 0, 0, 1, 1}
#define B22 {1, -1, 0, 0, 1, 0, 0, -1, 1}
#define G22 {1, 0, 1, 1, 0, 1}
#define A23 {1, 1, 1, 0, 0, 1, -1, -1}
#define B23 {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1}
#define G23 {1, 0, 0, .5, .5, .5, .5, -.5, .5, 0, 0, 1}
#define BY(name, rows, columns, ...)                                    \
    static void name(const vec *from, vec *to) {                        \
        static const real matrix[] = __VA_ARGS__;                       \
        both_sides(rows, columns, matrix, columns, 1, from, to);        \
    }
#define BY_TRANSPOSE(name, rows, columns, ...)                          \
    static void name(const vec *from, vec *to) {                        \
        static const real matrix[] = __VA_ARGS__;                       \
        both_sides(columns, rows, matrix, 1, columns, from, to);        \
    }
BY(input22, 3, 3, B22)
BY(input23, 4, 4, B23)
BY(output22, 2, 3, A22)
BY(output23, 2, 4, A23)
BY(kernel22, 3, 2, G22)
BY(kernel23, 4, 3, G23)
BY_TRANSPOSE(input_grad22, 3, 3, B22)
BY_TRANSPOSE(output_grad22, 2, 3, A22)
BY_TRANSPOSE(output_grad23, 2, 4, A23)
BY_TRANSPOSE(kernel_grad22, 3, 2, G22)
BY_TRANSPOSE(kernel_grad23, 4, 3, G23)
