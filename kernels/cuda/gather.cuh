// What a convolution reads, where its results go, and tiles of the im2col matrix. That matrix, with one patch of the image
// in each row, is never written: its tiles are gathered from the image on the way to shared memory (conv.cu).
#pragma once
#include "common.cuh"
#include "pipeline.cuh"

// One correlation, for each group of channels. Output (n, u, v), with u < U and v < V, reads
// x[n, first_h + u stride_h + p step_h, ...] through tap (p, q). Its results are a *bundle* of neighbouring pixels of the
// destination, bundle_w in each row, with `outputs` channels each: a single pixel in the forward pass; in the input
// gradient one pixel for each phase that reads the same. All numbers of a bundle are the `columns` of the product. The
// bundle of (u, v) begins at row u * to_stride_h + to_first_h, and pixels outside the destination (DH, DW) are not written.
// k counts taps and channels, (p, q, c). It may be cut into splits of k_per_split, whose results lie split_step numbers
// apart (split-K).
struct Correlation {
  int N, H, W, C, groups;
  int first_h, first_w, stride_h, stride_w, step_h, step_w, taps_h, taps_w;
  int U, V, columns, bundle_w, outputs;
  int DH, DW, to_first_h, to_first_w, to_stride_h, to_stride_w;
  int k_per_split;
  long long split_step;
};

// How many output pixels there are.
__device__ __forceinline__ long long pixels_of(const Correlation& s) { return (long long)s.N * s.U * s.V; }

// An output pixel. The rows of the product count them, (n, u, v).
struct Pixel {
  int n, u, v;
};

__device__ __forceinline__ Pixel pixel_at(long long row, const Correlation& s) {
  const int n = row / (s.U * s.V), rest = row - (long long)n * s.U * s.V;
  return {n, rest / s.V, rest % s.V};
}
// The pixel a few rows after `first`. It needs only divisions of 32 bits, which are several times as fast as those of 64.
__device__ __forceinline__ Pixel pixel_after(const Pixel& first, int rows, const Correlation& s) {
  const int v = first.v + rows, u = first.u + v / s.V;
  return {first.n + u / s.U, u % s.U, v % s.V};
}

// Where column j of an output pixel's results is written, in group `group`; null if that is outside the destination.
template <typename T>
__device__ __forceinline__ T* destination(T* y, const Correlation& s, const Pixel& at, int group, int j) {
  const int place = j / s.outputs, c = j - place * s.outputs;  // place: which pixel of the bundle
  const int h = at.u * s.to_stride_h + s.to_first_h + place / s.bundle_w;
  const int w = at.v * s.to_stride_w + s.to_first_w + place % s.bundle_w;
  if ((unsigned)h >= (unsigned)s.DH || (unsigned)w >= (unsigned)s.DW) return nullptr;
  return y + (((long long)at.n * s.DH + h) * s.DW + w) * (s.groups * s.outputs) + group * s.outputs + c;
}

// What an output pixel reads: through tap (p, q), channel c of its group is first[tap_offset(s, p, q, c)], if inside(p, q).
template <typename T>
struct Source {
  const T* first;
  int h, w;  // the pixel that tap (0, 0) reads

  __device__ __forceinline__ void set(const T* x, const Correlation& s, const Pixel& at) {
    h = s.first_h + at.u * s.stride_h;
    w = s.first_w + at.v * s.stride_w;
    first = x + (((long long)at.n * s.H + h) * s.W + w) * (s.groups * s.C);
    if (at.n >= s.N) h = -(1 << 30);  // a row of the product after the last one: nothing it reads is inside an image
  }
  __device__ __forceinline__ bool inside(const Correlation& s, int p, int q) const {
    return (unsigned)(h + p * s.step_h) < (unsigned)s.H && (unsigned)(w + q * s.step_w) < (unsigned)s.W;
  }
};
__device__ __forceinline__ int tap_offset(const Correlation& s, int p, int q, int c) {
  return (p * s.step_h * s.W + q * s.step_w) * (s.groups * s.C) + c;
}

// ---- tiles ----

// The k at which a thread is in the im2col matrix, as tap (p, q) and channel c.
struct Tap {
  int p, q, c;
  __device__ __forceinline__ void start(int k, int C, int taps_w) {
    const int tap = k / C;
    c = k - tap * C;
    p = tap / taps_w;
    q = tap - p * taps_w;
  }
  __device__ __forceinline__ void advance(int by, int C, int taps_w) {
    for (c += by; c >= C; c -= C)
      if (++q == taps_w) q = 0, p++;
  }
  // The same for a C that is a multiple of `by`.
  __device__ __forceinline__ void step(int by, int C, int taps_w) {
    if ((c += by) < C) return;
    c -= C;
    if (++q == taps_w) q = 0, p++;
  }
};

// Moves rows of the im2col matrix to tile[k][row]. It replaces Operand (pipeline.cuh) and reads its numbers from the image.
// C is a multiple of UNIT. If UNIT is four or more, the four numbers that a thread reads at once are neighbouring channels
// of one pixel.
template <typename T, int WIDTH, int DEPTH, int UNIT>
struct GatheredRows {
  static constexpr int FOURS = WIDTH * DEPTH / 4 / TILE_THREADS;
  static constexpr int PER_LINE = DEPTH / 4;
  static constexpr bool ONE_TAP = UNIT % DEPTH == 0;  // a tile lies within one tap, which is the same for all threads
  const Correlation& s;
  Source<T> from[FOURS];
  Tap tap;  // with ONE_TAP that of the tile, else that of the thread's fours, which all have the same k
  Four<T> held[FOURS];

  __device__ __forceinline__ GatheredRows(const T* x, const Correlation& s, int group, const Pixel& first, int k)
      : s(s) {
    tap.start(ONE_TAP ? k : k + k_of(), s.C, s.taps_w);
#pragma unroll
    for (int n = 0; n < FOURS; n++)
      from[n].set(x + group * s.C + (ONE_TAP ? k_of() : 0), s, pixel_after(first, row_of(n), s));
  }

  static __device__ __forceinline__ int k_of() { return threadIdx.x % PER_LINE * 4; }
  static __device__ __forceinline__ int row_of(int n) { return (n * TILE_THREADS + threadIdx.x) / PER_LINE; }

  __device__ __forceinline__ void fetch(int k_left) {
    const int left = k_left - k_of();
    if (UNIT >= 4) {
      const int offset = tap_offset(s, tap.p, tap.q, tap.c);
#pragma unroll
      for (int n = 0; n < FOURS; n++)
        held[n] = left > 0 && from[n].inside(s, tap.p, tap.q) ? load4(from[n].first + offset) : Four<T>{};
      if (ONE_TAP) tap.step(DEPTH, s.C, s.taps_w);
      else tap.advance(DEPTH, s.C, s.taps_w);
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int offset = tap_offset(s, tap.p, tap.q, tap.c);
#pragma unroll
        for (int n = 0; n < FOURS; n++)
          held[n].v[i] = left > i && from[n].inside(s, tap.p, tap.q) ? from[n].first[offset] : T(0);
        tap.advance(i < 3 ? 1 : DEPTH - 3, s.C, s.taps_w);
      }
    }
  }

  template <int PITCH>
  __device__ __forceinline__ void put(T (&tile)[DEPTH][PITCH]) const {
#pragma unroll
    for (int n = 0; n < FOURS; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) tile[k_of() + i][row_of(n)] = held[n].v[i];
  }
};

// Moves the transposed matrix to tile[pixel][k]; the pixels are the axis of the sum.
template <typename T, int WIDTH, int DEPTH, int UNIT>
struct GatheredColumns {
  static constexpr int FOURS = WIDTH * DEPTH / 4 / TILE_THREADS;
  static constexpr int PER_LINE = WIDTH / 4;
  static constexpr int TAPS = UNIT >= 4 ? 1 : 4;
  const Correlation& s;
  const T* x;
  int h[TAPS], w[TAPS], offset[TAPS];  // where the thread's four k are read, relative to the pixel; they do not change
  int n[FOURS], u[FOURS], v[FOURS];    // the pixels, which advance from tile to tile
  Four<T> held[FOURS];

  __device__ __forceinline__ GatheredColumns(const T* x, const Correlation& s, int group, int first_k,
                                             const Pixel& first)
      : s(s), x(x + group * s.C) {
#pragma unroll
    for (int i = 0; i < TAPS; i++) {
      Tap tap;
      tap.start(first_k + k_of() + i, s.C, s.taps_w);
      h[i] = tap.p < s.taps_h ? s.first_h + tap.p * s.step_h : -(1 << 30);  // k is beyond the last tap
      w[i] = s.first_w + tap.q * s.step_w;
      offset[i] = ((s.first_h + tap.p * s.step_h) * s.W + w[i]) * (s.groups * s.C) + tap.c;
    }
#pragma unroll
    for (int f = 0; f < FOURS; f++) {
      const Pixel at = pixel_after(first, pixel_of(f), s);
      n[f] = at.n, u[f] = at.u, v[f] = at.v;
    }
  }

  static __device__ __forceinline__ int k_of() { return threadIdx.x % PER_LINE * 4; }
  static __device__ __forceinline__ int pixel_of(int f) { return (f * TILE_THREADS + threadIdx.x) / PER_LINE; }

  __device__ __forceinline__ void fetch(int pixels_left) {
#pragma unroll
    for (int f = 0; f < FOURS; f++) {
      const int from_h = pixel_of(f) < pixels_left ? u[f] * s.stride_h : -(1 << 30), from_w = v[f] * s.stride_w;
      const T* from = x + (((long long)n[f] * s.H + u[f] * s.stride_h) * s.W + from_w) * (s.groups * s.C);
      held[f] = {};
#pragma unroll
      for (int i = 0; i < TAPS; i++)
        if ((unsigned)(from_h + h[i]) < (unsigned)s.H && (unsigned)(from_w + w[i]) < (unsigned)s.W) {
          if (UNIT >= 4) held[f] = load4(from + offset[i]);
          else held[f].v[i] = from[offset[i]];
        }
      for (v[f] += DEPTH; v[f] >= s.V; v[f] -= s.V)
        if (++u[f] == s.U) u[f] = 0, n[f]++;
    }
  }

  template <int PITCH>
  __device__ __forceinline__ void put(T (&tile)[DEPTH][PITCH]) const {
#pragma unroll
    for (int f = 0; f < FOURS; f++) store4(&tile[pixel_of(f)][k_of()], held[f]);
  }
};
