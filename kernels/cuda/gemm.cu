// C (M, N) = A (M, K) B (K, N) in five steps, each with one idea more than the one before. In NumPy: C = A @ B.
//
//   1  gemm_naive         one thread per number of C; neighbouring threads read neighbouring numbers of B
//   2  gemm_shared        a block of threads reads each operand once into shared memory and uses it 32 times
//   3  gemm_registers     a thread computes 8 x 8 numbers of C, so that each operand read from shared memory is used 8
//                         times; global memory is read 16 bytes at a time, one tile ahead of the arithmetic
//   4  gemm_tensor_cores  a warp multiplies matrices of 16x8x8 in one instruction, of operands rounded to TF32
//   5  the same, TERMS=3  each float as a sum of two TF32 numbers, which restores almost all of its precision
//
// Operands are row-major, or transposed views of row-major matrices. Steps 1 and 2 take any strides; from step 3 on the
// compiler knows along which axis memory runs, as that decides how four numbers are read at once.
#include "common.cuh"
#include "mma.cuh"
#include "pipeline.cuh"
#include "tile.cuh"

// ---- step 1 ----

// Where an operand's numbers lie: x[i][j] is x[i * row + j * column].
struct Strides {
  long long row, column;
};

// A block computes 8 x 32 numbers of C. The 32 threads of a warp share a row of A, which they read as one number for
// all, and take 32 neighbours of each row of B in one transaction. Still every operand comes from the caches once per
// multiplication, and that is all that this kernel waits for.
template <typename T>
__global__ void gemm_naive(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, int M, int N, int K,
                           Strides of_a, Strides of_b) {
  const int m = blockIdx.y * blockDim.y + threadIdx.y, n = blockIdx.x * blockDim.x + threadIdx.x;
  if (m >= M || n >= N) return;
  T sum = 0;
  for (int k = 0; k < K; k++) sum += a[m * of_a.row + k * of_a.column] * b[k * of_b.row + n * of_b.column];
  c[(long long)m * N + n] = sum;
}

// ---- step 2 ----

constexpr int SIDE = 32;

// A block of 32 x 32 threads computes 32 x 32 numbers of C. Along K it goes in steps of 32: each thread brings one
// number of A and one of B to shared memory, all wait, and then each number is used by 32 threads. What lies outside of
// the matrices is read as zero and adds nothing. The second barrier keeps fast threads from overwriting what slow ones
// still read.
template <typename T>
__global__ void __launch_bounds__(SIDE* SIDE)
    gemm_shared(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, int M, int N, int K, Strides of_a,
                Strides of_b) {
  __shared__ T a_tile[SIDE][SIDE], b_tile[SIDE][SIDE];
  const int x = threadIdx.x, y = threadIdx.y;
  const int m = blockIdx.y * SIDE + y, n = blockIdx.x * SIDE + x;
  T sum = 0;
  for (int k0 = 0; k0 < K; k0 += SIDE) {
    a_tile[y][x] = m < M && k0 + x < K ? a[m * of_a.row + (k0 + x) * of_a.column] : T(0);
    b_tile[y][x] = k0 + y < K && n < N ? b[(k0 + y) * of_b.row + n * of_b.column] : T(0);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < SIDE; k++) sum += a_tile[y][k] * b_tile[k][x];
    __syncthreads();
  }
  if (m < M && n < N) c[(long long)m * N + n] = sum;
}

// ---- what steps 3 to 5 have in common ----

// `batch` products of the same shape, the operands of which are a_step and b_step numbers apart (0: the same for all).
// K may be cut into pieces of k_per_split, a multiple of the depth of a tile, that are summed elsewhere: C is then
// (splits, batch, M, N). It fills the device when C has few tiles and K is long.
struct Problem {
  int M, N, K, batch, k_per_split;
  long long a_step, b_step;
};

// Which part of C a block computes: the tile that begins at (row, column) of one matrix of the batch, summed over
// k_length values of k. It is kept in shared memory, as its numbers are needed before and after the work, but not
// during it, when registers are scarce.
struct Block {
  long long batch;
  int row, column, k_begin, k_length;
};

// blockIdx.x counts batch and tiles, columns fastest; blockIdx.y the pieces of K. All threads must call it.
__device__ __forceinline__ void find_block(Block& block, const Problem& p, int side) {
  if (threadIdx.x == 0) {
    const int across = ceil_div(p.N, side), tiles = ceil_div(p.M, side) * across, tile = blockIdx.x % tiles;
    const int k_begin = blockIdx.y * p.k_per_split;
    const int k_length = min(p.K - k_begin, p.k_per_split);
    block = {blockIdx.x / tiles, tile / across * side, tile % across * side, k_begin, k_length};
  }
  __syncthreads();
}

// Where the results of this block's matrix begin.
__device__ __forceinline__ long long c_offset(const Block& block, const Problem& p) {
  return (blockIdx.y * (long long)p.batch + block.batch) * p.M * p.N;
}

// ---- step 3 ----

// A block of 256 threads computes a square of C with 16 * P numbers a side, a thread P x P of them in registers (see
// tile.cuh). P = 8 reads least; P = 4 has four times as many blocks, for products that are small.
template <typename T, int P, bool A_TRANSPOSED, bool B_TRANSPOSED>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    gemm_registers(const T* __restrict__ ALIGNED(16) a, const T* __restrict__ ALIGNED(16) b,
                   T* __restrict__ ALIGNED(16) c, Problem p) {
  constexpr int WIDTH = 16 * P;
  constexpr int DEPTH = 64 / P;  // of a tile each thread reads four numbers
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
    const int m = block.row + tile_row<P>(i);
#pragma unroll
    for (int j = 0; j < P; j += 4) {
      const int n = block.column + tile_column<P>(j);
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

// ---- steps 4 and 5 ----

// A block of 256 threads computes 128 x 128 numbers of C, its 8 warps standing 2 high and 4 wide. Sums are floats, kept
// in registers as the instruction returns them, spread over the warp.
template <int TERMS, bool A_TRANSPOSED, bool B_TRANSPOSED>
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
    multiply_on_tensor_cores<TERMS>(sum, a_tile, b_tile, row, column);
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
