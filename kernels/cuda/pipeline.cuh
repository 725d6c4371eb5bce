// From global to shared memory, one tile ahead of the arithmetic: what all products of register blocks and tensor cores
// have in common.
#pragma once
#include "tile.cuh"

// One operand on its way from global memory through registers to shared memory, a tile of DEPTH (along k) x WIDTH
// (along m or n) at a time. In shared memory it lies as tile[k][m or n]. In global memory either k runs fastest (A as
// it is, B transposed), and the four numbers that a thread reads at once are written below each other; or m or n does,
// and they stay side by side.
template <typename T, int WIDTH, int DEPTH, bool K_RUNS_FASTEST>
struct Operand {
  static constexpr int FOURS = WIDTH * DEPTH / 4 / TILE_THREADS;  // per thread
  static constexpr int PER_LINE = (K_RUNS_FASTEST ? DEPTH : WIDTH) / 4;
  const T* from[FOURS];  // where each four is in global memory,
  int beside[FOURS];     // and how many numbers there are from there on along m or n
  unsigned pitch;        // from one line in memory to the next
  bool whole;            // lines are whole fours, so that each four is aligned and none is ragged
  Four<T> held[FOURS];

  // x has `width` rows of A or columns of B, of which `first` is the first of this tile; `pitch` numbers lie from one
  // line in memory to the next.
  __device__ __forceinline__ Operand(const T* x, int first, int width, int pitch, long long k_begin)
      : pitch(pitch) {
    whole = pitch % 4 == 0 && (K_RUNS_FASTEST || width % 4 == 0);
#pragma unroll
    for (int n = 0; n < FOURS; n++) {
      const long long k = k_begin + k_of(n), w = first + w_of(n);
      from[n] = x + (K_RUNS_FASTEST ? w * pitch + k : k * pitch + w);
      beside[n] = width - w;
    }
  }

  // Four n of this thread begins at tile[k_of(n)][w_of(n)].
  static __device__ __forceinline__ int along(int n) { return (n * TILE_THREADS + threadIdx.x) % PER_LINE * 4; }
  static __device__ __forceinline__ int line(int n) { return (n * TILE_THREADS + threadIdx.x) / PER_LINE; }
  static __device__ __forceinline__ int k_of(int n) { return K_RUNS_FASTEST ? along(n) : line(n); }
  static __device__ __forceinline__ int w_of(int n) { return K_RUNS_FASTEST ? line(n) : along(n); }

  // Global memory to registers, and on to the next tile; k_left is what remains of K. Zeros stand for what is outside.
  __device__ __forceinline__ void fetch(int k_left) {
#pragma unroll
    for (int n = 0; n < FOURS; n++) {
      const int below = k_left - k_of(n);
      const int there = K_RUNS_FASTEST ? (beside[n] > 0 ? below : 0) : (below > 0 ? beside[n] : 0);
      if (whole && there > 0) {
        held[n] = load4(from[n]);
      } else {
#pragma unroll
        for (int i = 0; i < 4; i++) held[n].v[i] = i < there ? from[n][i] : T(0);
      }
      from[n] += K_RUNS_FASTEST ? DEPTH : (unsigned long long)pitch * DEPTH;
    }
  }

  // Registers to shared memory.
  template <int PITCH>
  __device__ __forceinline__ void put(T (&tile)[DEPTH][PITCH]) const {
#pragma unroll
    for (int n = 0; n < FOURS; n++) {
      const int k = k_of(n), w = w_of(n);
      if (!K_RUNS_FASTEST) {
        store4(&tile[k][w], held[n]);
      } else {
#pragma unroll
        for (int i = 0; i < 4; i++) tile[k + i][w] = held[n].v[i];
      }
    }
  }
};

// Calls multiply(a_tile, b_tile) for tile after tile along k. There are two tiles of each operand: while one is being
// multiplied, the loads of the next are on their way to registers, from where they go to the other. So the latency of
// global memory is hidden, and one barrier per tile suffices.
template <int DEPTH, class A, class B, class ATile, class BTile, class Multiply>
__device__ __forceinline__ void for_each_tile(A& a, B& b, ATile (&a_tiles)[2], BTile (&b_tiles)[2], int k_left,
                                              Multiply multiply) {
  a.fetch(k_left);
  b.fetch(k_left);
  a.put(a_tiles[0]);
  b.put(b_tiles[0]);
  __syncthreads();
  for (int now = 0; k_left > 0; now ^= 1) {
    k_left -= DEPTH;
    if (k_left > 0) a.fetch(k_left), b.fetch(k_left);
    multiply(a_tiles[now], b_tiles[now]);
    if (k_left > 0) a.put(a_tiles[now ^ 1]), b.put(b_tiles[now ^ 1]);
    __syncthreads();
  }
}
