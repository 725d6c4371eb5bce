/* Random words by Philox4x32-10, and random numbers made from them; kernels/reference/random.py explains both.

   A batch is the 4 * LANES words of LANES counters. Words 4 i .. 4 i + 3 belong to counter i, so lane l of words[j] is word
   4 (first + l) + j. */
#include "special.h"

#define BATCH (4 * LANES)
#define NOISE_BLOCK 4096 /* the numbers of a task, a multiple of BATCH */

typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint64_t wide __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t narrow __attribute__((vector_size(VECTOR_BYTES / 2)));
#define WIDE_LANES (VECTOR_BYTES / 8)
#define PARTS (LANES / WIDE_LANES) /* vectors of 64-bit words for LANES counters: two for float, one for double */

typedef struct {
    uint32_t draw_low, draw_high, seed_low, seed_high;
} Stream;

static Stream stream_of(uint64_t seed, uint64_t draw) {
    return (Stream){(uint32_t)draw, (uint32_t)(draw >> 32), (uint32_t)seed, (uint32_t)(seed >> 32)};
}

/* The words of a batch, by the ten rounds of Philox. During the rounds each word has 64 bits, which its products need. */
INLINE void philox(uint64_t first, Stream s, words w[4]) {
    const wide low = (wide){0} + 0xFFFFFFFFu;
    wide c[PARTS][4];
    UNROLL for (int h = 0; h < PARTS; h++) {
        wide index;
        UNROLL for (int l = 0; l < WIDE_LANES; l++) index[l] = first + h * WIDE_LANES + l;
        c[h][0] = index & low, c[h][1] = index >> 32, c[h][2] = (wide){0} + s.draw_low, c[h][3] = (wide){0} + s.draw_high;
    }
    for (int round = 0; round < 10; round++) {
        UNROLL for (int h = 0; h < PARTS; h++) {
            const wide p = c[h][0] * 0xD2511F53u, q = c[h][2] * 0xCD9E8D57u;
            c[h][0] = (q >> 32) ^ c[h][1] ^ s.seed_low, c[h][1] = q & low;
            c[h][2] = (p >> 32) ^ c[h][3] ^ s.seed_high, c[h][3] = p & low;
        }
        s.seed_low += 0x9E3779B9u, s.seed_high += 0xBB67AE85u;
    }
    UNROLL for (int h = 0; h < PARTS; h++) UNROLL for (int j = 0; j < 4; j++) {
        const narrow part = __builtin_convertvector(c[h][j], narrow);
        memcpy((char *)&w[j] + h * sizeof part, &part, sizeof part);
    }
}

/* ---- the normal distribution, by Box & Muller: (r cos t, r sin t), r = sqrt(-2 log u), t = 2 pi v ---- */

/* sqrt(-2 log u) for u = (word + 1/2) / 2^32. For a large word u would be rounded to 1; so the complement 1 - u is computed
   from the word, and log u as log(1 - (1 - u)). */
INLINE vec radius_of(words word) {
    const ints bits = (ints)word, is_large = bits >> 31, part = bits ^ is_large; /* the word, or 2^32 - 1 minus it */
    const mask large = __builtin_convertvector(is_large, mask);
    const vec u = (__builtin_convertvector(part, vec) + (real)0.5) * (real)0x1p-32; /* below 1/2 */
    const mask halve = u > (real)0.2928932188134524;                                /* 1 - u < sqrt(1/2) */
    vec k;
    vec f = log_reduce(u, &k);
    f = choose(large, choose(halve, 1 - 2 * u, -u), f);
    k = choose(large, choose(halve, all_lanes(-1), (vec){0}), k);
    return root(-2 * log_series(f, k));
}

/* cos and sin of t. The nearest multiple of pi / 2 is subtracted from t; Taylor series do the rest, at most pi / 4. */
INLINE void circle(words word, vec *cosine, vec *sine) {
    const words quarter = (word + 0x20000000u) >> 30;
    const ints rest = (ints)(word - (quarter << 30));
    const vec t = (__builtin_convertvector(rest, vec) + (real)0.5) * (real)1.4629180792671596e-9; /* 2 pi / 2^32 */
    const vec z = -t * t;
    vec s = all_lanes((real)INVERSE_FACTORIAL[SINE_DEGREE]), c = all_lanes((real)INVERSE_FACTORIAL[COSINE_DEGREE]);
    UNROLL for (int k = SINE_DEGREE - 2; k >= 1; k -= 2) s = s * z + (real)INVERSE_FACTORIAL[k];
    UNROLL for (int k = COSINE_DEGREE - 2; k >= 0; k -= 2) c = c * z + (real)INVERSE_FACTORIAL[k];
    s *= t;
    const mask q = __builtin_convertvector((ints)quarter, mask), odd = (q & 1) != 0;
    const vec flip_cosine = choose(((q + 1) & 2) != 0, all_lanes(-1), all_lanes(1));
    const vec flip_sine = choose((q & 2) != 0, all_lanes(-1), all_lanes(1));
    *cosine = flip_cosine * choose(odd, s, c);
    *sine = flip_sine * choose(odd, c, s);
}

INLINE void normal_batch(uint64_t first, Stream s, real out[BATCH]) {
    words w[4];
    real pairs[4][LANES];
    philox(first, s, w);
    for (int pair = 0; pair < 4; pair += 2) {
        vec cosine, sine;
        const vec r = radius_of(w[pair]);
        circle(w[pair + 1], &cosine, &sine);
        store(pairs[pair], r * cosine);
        store(pairs[pair + 1], r * sine);
    }
    for (int l = 0; l < LANES; l++)
        for (int j = 0; j < 4; j++) out[4 * l + j] = pairs[j][l];
}

/* ---- draws ---- */

/* The first number of a draw is made from the words of counter `first`. */
typedef struct {
    int64_t n;
    uint64_t first;
    Stream stream;
    const real *a, *log_var;
    void *out;
} Draw;

/* Defines name(task, job), which calls make(draw, i, count), for numbers i to i + count, for each batch of a block. */
#define DRAW(name, make)                                                                                               \
    static void name(long task, void *job) {                                                                           \
        const Draw *q = job;                                                                                           \
        const int64_t end = MIN(q->n, (task + 1) * NOISE_BLOCK);                                                       \
        for (int64_t i = task * NOISE_BLOCK; i < end; i += BATCH) make(q, i, MIN(end - i, BATCH));                     \
    }

static void draw(int64_t n, uint64_t seed, uint64_t index, uint64_t first, const real *a, const real *log_var,
                 void *out, void (*block)(long, void *)) {
    Draw q = {n, first, stream_of(seed, index), a, log_var, out};
    parallel_for(CEIL_DIV(n, NOISE_BLOCK), block, &q);
}

INLINE void word_batch(uint64_t first, Stream s, uint32_t out[BATCH]) {
    words w[4];
    philox(first, s, w);
    for (int l = 0; l < LANES; l++)
        for (int j = 0; j < 4; j++) out[4 * l + j] = w[j][l];
}

INLINE void make_words(const Draw *q, int64_t i, int64_t count) {
    uint32_t w[BATCH];
    word_batch(q->first + i / 4, q->stream, w);
    memcpy((uint32_t *)q->out + i, w, count * sizeof *w);
}
DRAW(draw_words, make_words)
EXPORT void NAME(random_bits)(int64_t n, uint64_t seed, uint64_t draw_index, uint64_t first, uint32_t words_out[n]) {
    draw(n, seed, draw_index, first, 0, 0, words_out, draw_words);
}

/* float32 takes 24 bits of a word. float64 takes 53 bits of two words, so BATCH numbers need two batches of words. */
INLINE void make_uniforms(const Draw *q, int64_t i, int64_t count) {
    real *out = (real *)q->out + i;
    uint32_t w[2 * BATCH];
#if REAL_IS_FLOAT
    word_batch(q->first + i / 4, q->stream, w);
    for (int64_t j = 0; j < count; j++) out[j] = (float)(int32_t)(w[j] >> 8) * 0x1p-24f;
#else
    word_batch(q->first + i / 2, q->stream, w);
    word_batch(q->first + i / 2 + LANES, q->stream, w + BATCH);
    for (int64_t j = 0; j < count; j++)
        out[j] = ((double)(int32_t)(w[2 * j] >> 5) * 0x1p26 + (double)(int32_t)(w[2 * j + 1] >> 6)) * 0x1p-53;
#endif
}
DRAW(draw_uniforms, make_uniforms)
EXPORT void NAME(uniform)(int64_t n, uint64_t seed, uint64_t draw_index, uint64_t first, real u[n]) {
    draw(n, seed, draw_index, first, 0, 0, u, draw_uniforms);
}

INLINE void make_normals(const Draw *q, int64_t i, int64_t count) {
    real eps[BATCH];
    normal_batch(q->first + i / 4, q->stream, eps);
    memcpy((real *)q->out + i, eps, count * sizeof *eps);
}
DRAW(draw_normals, make_normals)
EXPORT void NAME(normal)(int64_t n, uint64_t seed, uint64_t draw_index, uint64_t first, real eps[n]) {
    draw(n, seed, draw_index, first, 0, 0, eps, draw_normals);
}

/* z = mu + exp(log_var / 2) eps, where a is mu; or, with `gradient`, dlog_var = dz exp(log_var / 2) eps / 2, where a is dz. */
INLINE void make_samples(const Draw *q, int64_t i, int64_t count, int gradient) {
    real eps[BATCH], *out = (real *)q->out + i;
    normal_batch(q->first + i / 4, q->stream, eps);
    for (int64_t j = 0; j < count; j += LANES) {
        const int64_t n = MIN(LANES, count - j);
        const vec a = n == LANES ? load(q->a + i + j) : load_first(q->a + i + j, n);
        const vec log_var = n == LANES ? load(q->log_var + i + j) : load_first(q->log_var + i + j, n);
        const vec noise = exp_of(log_var * (real)0.5) * load(eps + j), y = gradient ? a * noise * (real)0.5 : a + noise;
        if (n == LANES) store(out + j, y);
        else store_first(out + j, y, n);
    }
}
INLINE void make_z(const Draw *q, int64_t i, int64_t count) { make_samples(q, i, count, 0); }
INLINE void make_dlog_var(const Draw *q, int64_t i, int64_t count) { make_samples(q, i, count, 1); }
DRAW(draw_z, make_z)
DRAW(draw_dlog_var, make_dlog_var)

EXPORT void NAME(reparameterize)(int64_t n, uint64_t seed, uint64_t draw_index, uint64_t first, const real mu[n],
                                 const real log_var[n], real z[n]) {
    draw(n, seed, draw_index, first, mu, log_var, z, draw_z);
}
EXPORT void NAME(reparameterize_grad)(int64_t n, uint64_t seed, uint64_t draw_index, uint64_t first, const real dz[n],
                                      const real log_var[n], real dlog_var[n]) {
    draw(n, seed, draw_index, first, dz, log_var, dlog_var, draw_dlog_var);
}
