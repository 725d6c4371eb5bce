/* The plans of convolutions: Python computes them once for each geometry and passes them to C. library.structures() makes
   ctypes structures from these definitions, and plans.py fills them in. Sizes and offsets count numbers, not bytes. */
#ifndef PLANS_H
#define PLANS_H
#include <stdint.h>

/* The offsets of the rows, or of the columns, of a matrix. Line i begins at i / period * step + table[i % period]; if there
   is no table, it begins at i * step. */
typedef struct {
    int64_t period, step;
    const int64_t *table;
} Axis;

/* What a pass reads: N images (C, H, W), each padded to (Hp, Wp, C). Pixel (h, w) of the padded image is pixel
   (h - top, w - left) of the image, or zero where there is no such pixel. */
typedef struct {
    int64_t N, C, H, W, top, left, Hp, Wp;
} Source;

/* A piece is one of the products that a pass consists of (see product.c). It has `rows` rows for each image, one for each
   pixel that it computes; `width` of them are one row of pixels. The tables of a_row and c_row are for one image. lowest
   and highest are the extreme offsets of a_col. */
typedef struct {
    int64_t rows, width, K, N, a_start, b_start, c_start, bias_start, lowest, highest;
    Axis a_row, a_col, b_row, b_col, c_row;
    const int64_t *c_col;
} Piece;

/* A forward pass or an input gradient: products that all read the same images. They write images of `size` numbers.

   If `crop` is set, they write larger images first, which are then cropped. These have rows of `crop_step` numbers,
   `crop_rows` of them for each row of pixels of a piece; the result is H of the rows, from `top` on, and `kept` numbers of
   each, from `left` on.

   depthwise is the number of taps of a depthwise convolution, whose pieces describe its first channel, and 0 for any other
   convolution. */
typedef struct {
    Source source;
    int64_t pieces, size, products; /* products: the number of multiplications for one image */
    const Piece *piece;
    int64_t depthwise, crop, crop_rows, crop_step, top, left, H, kept;
} Pass;

/* A weight gradient: for each group a matrix dw (taps * C, OC). a_row gives the offsets of its rows, a_col those of pixels. */
typedef struct {
    Source x, dy;
    int64_t groups, taps, C, OC; /* C and OC are those of one group */
    Axis a_row, a_col;
} WeightPass;

/* A convolution by Winograd's method (winograd.c): a tile has m x m outputs, and the kernel has r x r taps. Each tap reads a
   bundle of s x s pixels of the images that `source` describes. The results are images (H, W, C). */
typedef struct {
    Source source;
    int64_t m, r, s, tiles_h, tiles_w, H, W, C;
    Axis w_row, w_col; /* the offsets of the weights: for each of the r x r taps a matrix (K, N) */
} FastPass;
#endif
