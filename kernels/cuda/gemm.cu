// C (M, N) = A (M, K) B (K, N), with register blocks (tile.cuh) or on tensor cores (mma.cuh). In NumPy: C = A @ B.
//
// ladder/ leads to these kernels step by step, and explains the words. Both kernels read global memory 16 bytes at a time,
// one tile ahead of the arithmetic (pipeline.cuh). Operands are row-major matrices or transposed views of them. Which of
// the two is a template argument, because it decides how four numbers are read at once.
#include "common.cuh"
#include "mma.cuh"
#include "pipeline.cuh"
#include "tile.cuh"

// `batch` products of the same shape, whose operands lie a_step and b_step numbers apart (0: all use the same one). K may
// be cut into splits of k_per_split, a multiple of a tile's depth. C is then (splits, batch, M, N), and the caller adds
// the splits up. This fills the GPU when C has few tiles and K is long (split-K).
struct Problem {
  int M, N, K, batch, k_per_split;
  long long a_step, b_step;
};

// Which part of C a block computes: the tile that begins at (row, column) of one matrix of the batch, summed over
// k_length values of k. It is kept in shared memory, because it is needed only before and after the loop over k, in which
// registers are scarce.
struct Block {
  long long batch;
  int row, column, k_begin, k_length;
};

// blockIdx.x counts the batch and the tiles, columns fastest; blockIdx.y counts the splits of K. All threads must call it.
__device__ __forceinline__ void find_block(Block& block, const Problem& p, int side) {
  if (threadIdx.x == 0) {
    const int per_row = ceil_div(p.N, side), tiles = ceil_div(p.M, side) * per_row, tile = blockIdx.x % tiles;
    const int k_begin = blockIdx.y * p.k_per_split;
    const int k_length = min(p.K - k_begin, p.k_per_split);
    block = {blockIdx.x / tiles, tile / per_row * side, tile % per_row * side, k_begin, k_length};
  }
  __syncthreads();
}

// Where the results of this block's matrix begin.
__device__ __forceinline__ long long c_offset(const Block& block, const Problem& p) {
  return (blockIdx.y * (long long)p.batch + block.batch) * p.M * p.N;
}

// ---- register blocks ----

// A block of 256 threads computes a square of C with 16 * P numbers on each side; a thread keeps P x P of them in
// registers (see tile.cuh). P = 8 reads the fewest bytes per flop. P = 4 has four times as many blocks, for small products.
template <typename T, int P, bool A_TRANSPOSED, bool B_TRANSPOSED>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    gemm_registers(const T* __restrict__ ALIGNED(16) a, const T* __restrict__ ALIGNED(16) b,
                   T* __restrict__ ALIGNED(16) c, Problem p) {
  constexpr int WIDTH = 16 * P;
  constexpr int DEPTH = 64 / P;  // so that each thread reads one four of each tile
  __shared__ __align__(16) T a_tiles[2][DEPTH][WIDTH + TILE_PAD], b_tiles[2][DEPTH][WIDTH + TILE_PAD];
  __shared__ Block block;
  find_block(block, p, WIDTH);
  a += block.batch * p.a_step;
  b += block.batch * p.b_step;
  Operand<T, WIDTH, DEPTH, !A_TRANSPOSED> of_a(a, block.row, p.M, A_TRANSPOSED ? p.M : p.K, block.k_begin);
  Operand<T, WIDTH, DEPTH, B_TRANSPOSED> of_b(b, block.column, p.N, B_TRANSPOSED ? p.K : p.N, block.k_begin);
  T sum[P][P] = {};
  for_each_tile<DEPTH>(of_a, of_b, a_tiles, b_tiles, block.k_length, [&](auto& a_tile, auto& b_tile) {
    multiply_tiles<T, P, P, DEPTH>(sum, a_tile, b_tile);
  });

  c += c_offset(block, p);
#pragma unroll
  for (int i = 0; i < P; i++) {
    const int m = block.row + tile_row(i);
#pragma unroll
    for (int j = 0; j < P; j += 4) {
      const int n = block.column + tile_column(j);
      T* to = c + (long long)m * p.N + n;
      if (m < p.M && n < p.N && p.N % 4 == 0) {
        store4(to, Four<T>{{sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]}});
      } else if (m < p.M) {
#pragma unroll
        for (int l = 0; l < 4; l++)
          if (n + l < p.N) to[l] = sum[i][j + l];
      }
    }
  }
}

// ---- tensor cores ----

// A block of 256 threads computes 128 x 128 numbers of C; its 8 warps stand in 2 rows and 4 columns. The sums are floats
// in registers, distributed over the lanes of a warp as the instruction returns them.
template <bool A_TRANSPOSED, bool B_TRANSPOSED>
__global__ void __launch_bounds__(TILE_THREADS)
    gemm_tensor_cores(const float* __restrict__ ALIGNED(16) a, const float* __restrict__ ALIGNED(16) b,
                      float* __restrict__ c, Problem p) {
  __shared__ __align__(16) float a_tiles[2][MMA_DEPTH][MMA_SIDE + MMA_PAD], b_tiles[2][MMA_DEPTH][MMA_SIDE + MMA_PAD];
  __shared__ Block block;
  find_block(block, p, MMA_SIDE);
  a += block.batch * p.a_step;
  b += block.batch * p.b_step;
  Operand<float, MMA_SIDE, MMA_DEPTH, !A_TRANSPOSED> of_a(a, block.row, p.M, A_TRANSPOSED ? p.M : p.K, block.k_begin);
  Operand<float, MMA_SIDE, MMA_DEPTH, B_TRANSPOSED> of_b(b, block.column, p.N, B_TRANSPOSED ? p.K : p.N, block.k_begin);
  const int warp = threadIdx.x / 32, row = warp / 4 * 64, column = warp % 4 * 32;
  float sum[4][4][4] = {};
  for_each_tile<MMA_DEPTH>(of_a, of_b, a_tiles, b_tiles, block.k_length, [&](auto& a_tile, auto& b_tile) {
    multiply_on_tensor_cores(sum, a_tile, b_tile, row, column);
  });

  c += c_offset(block, p);
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int l = 0; l < 4; l++) {
        const int m = block.row + row + 16 * i + g + l / 2 * 8, n = block.column + column + 8 * j + 2 * t + l % 2;
        if (m < p.M && n < p.N) c[(long long)m * p.N + n] = sum[i][j][l];
      }
}
