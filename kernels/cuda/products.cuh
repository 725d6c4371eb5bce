// Two ways to multiply tiles in shared memory, with register blocks and on tensor cores, behind one interface.
#pragma once
#include "mma.cuh"
#include "tile.cuh"

constexpr int SLICE = 16;  // the rows of a slice

// Both keep the results of a thread in registers and hand them out in one of two ways. for_each_run calls
// run(row, first column, values) for runs of neighbours. put writes one slice, 16 rows of the tile, to shared memory;
// line l of a slice is row row_of(slice, l) of the tile.
template <typename T_, int P, int Q>
struct RegisterBlocks {
  using T = T_;
  static constexpr int ROWS = 16 * P, COLUMNS = 16 * Q, DEPTH = 64 / (P < Q ? P : Q), PAD = TILE_PAD, RUN = 4;
  static constexpr int SLICES = P;
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
      for (int j = 0; j < Q; j += RUN) run(tile_row(i), tile_column(j), &sum[i][j]);
  }
  template <int PITCH>
  __device__ __forceinline__ void put(int slice, T (&lines)[SLICE][PITCH]) const {
#pragma unroll
    for (int i = 0; i < P; i++) {  // unrolled, because an index into registers must be known to the compiler
      if (i != slice) continue;
#pragma unroll
      for (int j = 0; j < Q; j += 4)
        store4(&lines[thread_row()][tile_column(j)], Four<T>{{sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]}});
    }
  }
  static __device__ __forceinline__ int row_of(int slice, int line) {
    return slice / 4 * 64 + line * 4 + slice % 4;
  }
};

struct TensorCores {  // operands are rounded to TF32, sums are floats
  using T = float;
  static constexpr int ROWS = MMA_SIDE, COLUMNS = MMA_SIDE, DEPTH = MMA_DEPTH, PAD = MMA_PAD, RUN = 2;
  static constexpr int SLICES = 8;
  float sum[4][4][4] = {};

  static __device__ __forceinline__ int row() { return threadIdx.x / 32 / 4 * 64; }
  static __device__ __forceinline__ int column() { return threadIdx.x / 32 % 4 * 32; }
  template <class A, class B>
  __device__ __forceinline__ void multiply(const A& a, const B& b) {
    multiply_on_tensor_cores(sum, a, b, row(), column());
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
  template <int PITCH>
  __device__ __forceinline__ void put(int slice, float (&lines)[SLICE][PITCH]) const {
    const int line = threadIdx.x / 32 / 4 * 8 + threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < SLICES; i++) {
      if (i != slice) continue;
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int l = 0; l < 2; l++) lines[line][column() + 8 * j + 2 * t + l] = sum[i / 2][j][i % 2 * 2 + l];
    }
  }
  static __device__ __forceinline__ int row_of(int slice, int line) {
    return line / 8 * 64 + slice / 2 * 16 + slice % 2 * 8 + line % 8;
  }
};

// Calls visit(row, four) for all results of a block. A thread gets the four neighbours that begin at column
// threadIdx.x % (COLUMNS / 4) * 4, in one row after another. The results go through shared memory, where the tiles of a are
// no longer needed. So neighbouring threads write neighbours to global memory, and `visit` is compiled only once.
template <class Product, class Tiles, class Visit>
__device__ __forceinline__ void for_each_four(const Product& product, Tiles& tiles, Visit visit) {
  using T = typename Product::T;
  constexpr int PER_LINE = Product::COLUMNS / 4, PITCH = Product::COLUMNS + 4;
  static_assert(SLICE * PITCH * sizeof(T) <= sizeof(Tiles), "a slice fits into the tiles");
  auto& lines = reinterpret_cast<T(&)[SLICE][PITCH]>(tiles);
#pragma unroll 1
  for (int slice = 0; slice < Product::SLICES; slice++) {
    product.put(slice, lines);
    __syncthreads();
#pragma unroll 1
    for (int line = threadIdx.x / PER_LINE; line < SLICE; line += TILE_THREADS / PER_LINE)
      visit(Product::row_of(slice, line), load4(&lines[line][threadIdx.x % PER_LINE * 4]));
    __syncthreads();
  }
}
