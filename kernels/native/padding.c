/* Brings images into the form that a pass reads: padded, in channels-last order. */

/* Writes rows h0 to h1 of the padded image to `to`. The image is (C, H, W); strides are those of (N, C, H, W). */
static void pad_rows(const Source *s, const real *image, const int64_t *strides, int64_t h0, int64_t h1, real *to) {
    const int64_t C = s->C, first = MIN(MAX(s->left, 0), s->Wp), last = MAX(first, MIN(s->left + s->W, s->Wp));
    const int as_it_is = (strides[1] == 1 || C == 1) && strides[3] == C;
    for (int64_t h = h0; h < h1; h++, to += s->Wp * C) {
        const int64_t row = h - s->top;
        if (row < 0 || row >= s->H) {
            memset(to, 0, s->Wp * C * sizeof(real));
            continue;
        }
        const real *from = image + row * strides[2] + (first - s->left) * strides[3];
        memset(to, 0, first * C * sizeof(real));
        if (as_it_is) {
            memcpy(to + first * C, from, (last - first) * C * sizeof(real));
        } else {
            for (int64_t w = first; w < last; w++, from += strides[3])
                for (int64_t c = 0; c < C; c++) to[w * C + c] = from[c * strides[1]];
        }
        memset(to + last * C, 0, (s->Wp - last) * C * sizeof(real));
    }
}

/* Whether the images already have the form that the pass reads, so that no copy is needed. */
static int lies_ready(const Source *s, const int64_t *strides) {
    const int padded = s->top || s->left || s->Hp != s->H || s->Wp != s->W;
    return !padded && (strides[1] == 1 || s->C == 1) && (strides[3] == s->C || s->W == 1) &&
           (strides[2] == s->W * s->C || s->H == 1) && (strides[0] == s->H * s->W * s->C || s->N == 1);
}
