// Copies tiles from global to shared memory, one tile ahead of the arithmetic. All products use it, those with register
// blocks and those on tensor cores.
#pragma once
#include "tile.cuh"

// Moves one operand, A or B, from global memory through registers to shared memory, one tile at a time: DEPTH numbers
// along k times WIDTH along m (for A) or n (for B). In shared memory it lies as tile[k][m or n]. A thread reads four
// neighbours at once, a *four*. In global memory either k runs fastest (A as it is, B transposed), and a four is written
// to four rows of the tile; or m or n runs fastest, and a four stays in one row.
template <typename T, int WIDTH, int DEPTH, bool K_RUNS_FASTEST>
struct Operand {
  static constexpr int FOURS = WIDTH * DEPTH / 4 / TILE_THREADS;  // of each thread
  static constexpr int PER_LINE = (K_RUNS_FASTEST ? DEPTH : WIDTH) / 4;
  const T* from[FOURS];  // where each four lies in global memory
  int beside[FOURS];     // how many numbers there are from there on along m or n
  unsigned pitch;        // the numbers from one line in memory to the next
  bool whole;            // whether lines consist of whole fours, so that all fours are aligned and complete
  Four<T> held[FOURS];

  // x has `width` rows of A or columns of B, of which `first` is the first one of this tile.
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

  // Four number n of this thread begins at tile[k_of(n)][w_of(n)].
  static __device__ __forceinline__ int along(int n) { return (n * TILE_THREADS + threadIdx.x) % PER_LINE * 4; }
  static __device__ __forceinline__ int line(int n) { return (n * TILE_THREADS + threadIdx.x) / PER_LINE; }
  static __device__ __forceinline__ int k_of(int n) { return K_RUNS_FASTEST ? along(n) : line(n); }
  static __device__ __forceinline__ int w_of(int n) { return K_RUNS_FASTEST ? line(n) : along(n); }

  // Reads a tile from global memory into registers and moves on to the next tile. k_left is what remains of K. Places
  // outside the matrix are read as zeros.
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

  // Writes the registers to shared memory.
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

// Calls multiply(a_tile, b_tile) for tile after tile along k. There is room for two tiles of each operand: while one is
// multiplied, the next one is loaded into registers, and then written to the other place. So the arithmetic does not wait
// for global memory, and one barrier per tile suffices.
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
