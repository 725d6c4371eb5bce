/* What Python works out once for each geometry of a convolution and hands over: library.structures() makes ctypes
   structures of these, plans.py fills them in. Sizes and offsets count numbers, not bytes. */
#ifndef PLANS_H
#define PLANS_H
#include <stdint.h>

/* Line i of a matrix begins at i / period * step + table[i % period]; without a table at i * step. */
typedef struct {
    int64_t period, step;
    const int64_t *table;
} Axis;

/* What a pass reads: N images (C, H, W) as (Hp, Wp, C) each, with zeros where row h - top or column w - left is not there. */
typedef struct {
    int64_t N, C, H, W, top, left, Hp, Wp;
} Source;

/* One product of a pass, see product.c: for each image `rows` rows, one a pixel, of which `across` make a row of pixels.
   The tables of a_row and c_row are those of one image. lowest and highest: of the offsets of a_col. */
typedef struct {
    int64_t rows, across, K, N, a_start, b_start, c_start, bias_start, lowest, highest;
    Axis a_row, a_col, b_row, b_col, c_row;
    const int64_t *c_col;
} Piece;

/* A forward pass or an input gradient: products that all read the same images. They write images of `size` numbers, or
   if `crop` images (of rows of `crop_step` numbers, `crop_rows` for each of a piece's rows of pixels) of which H rows from
   `top` on, and in them `kept` numbers from `left` on, are the result. depthwise: the number of taps of a depthwise
   convolution, whose pieces are those of the first channel; 0 for any other. */
typedef struct {
    Source source;
    int64_t pieces, size, products; /* products: multiplications of an image */
    const Piece *piece;
    int64_t depthwise, crop, crop_rows, crop_step, top, left, H, kept;
} Pass;

/* A weight gradient: for each of the groups dw (M = taps * C / groups, OC / groups), a_row over these M, a_col over pixels. */
typedef struct {
    Source x, dy;
    int64_t groups, taps, C, OC; /* C and OC of a group */
    Axis a_row, a_col;
} WeightPass;

/* A convolution by Winograd's products (winograd.c): m x m outputs of a tile, r x r taps, of bundles of s x s pixels of the
   images (source) that are read; what is written are images (H, W, C). */
typedef struct {
    Source source;
    int64_t m, r, s, tiles_h, tiles_w, H, W, C;
    Axis w_row, w_col; /* of the weights, as one matrix (K, N) for each of the r x r taps */
} FastPass;
#endif
