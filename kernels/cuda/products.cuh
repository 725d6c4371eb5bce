// Products of tiles in shared memory, with register blocks or on tensor cores, behind one interface.
#pragma once
#include "mma.cuh"
#include "tile.cuh"

// The two ways to multiply tiles. Each has the results of its thread in registers and hands them out in runs of
// neighbours: run(row, first column, values).
template <typename T_, int P, int Q>
struct RegisterBlocks {
  using T = T_;
  static constexpr int ROWS = 16 * P, COLUMNS = 16 * Q, DEPTH = 64 / (P < Q ? P : Q), PAD = TILE_PAD, RUN = 4;
  T sum[P][Q] = {};

  template <class A, class B>
  __device__ __forceinline__ void multiply(const A& a, const B& b) {
    multiply_tiles<T, P, Q, DEPTH>(sum, a, b);
  }
  template <class Run>
  __device__ __forceinline__ void for_each_run(Run run) const {
#pragma unroll
    for (int i = 0; i < P; i++)
#pragma unroll
      for (int j = 0; j < Q; j += RUN) run(tile_row<P>(i), tile_column<Q>(j), &sum[i][j]);
  }
};

struct TensorCores {  // operands rounded to TF32, sums in float
  using T = float;
  static constexpr int ROWS = MMA_SIDE, COLUMNS = MMA_SIDE, DEPTH = MMA_DEPTH, PAD = MMA_PAD, RUN = 2;
  float sum[4][4][4] = {};

  static __device__ __forceinline__ int row() { return threadIdx.x / 32 / 4 * 64; }
  static __device__ __forceinline__ int column() { return threadIdx.x / 32 % 4 * 32; }
  template <class A, class B>
  __device__ __forceinline__ void multiply(const A& a, const B& b) {
    multiply_on_tensor_cores<1>(sum, a, b, row(), column());
  }
  template <class Run>
  __device__ __forceinline__ void for_each_run(Run run) const {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int l = 0; l < 4; l += RUN) run(row() + 16 * i + g + l / 2 * 8, column() + 8 * j + 2 * t, &sum[i][j][l]);
  }
};
