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

  // x has `width` rows of A or columns of B, of which `first` is the first of this tile, and K along k.
  __device__ __forceinline__ Operand(const T* x, int first, int width, int k_begin, int K) {
    pitch = K_RUNS_FASTEST ? K : width;
    whole = pitch % 4 == 0;
#pragma unroll
    for (int n = 0; n < FOURS; n++) {
      const int k = k_begin + k_of(n), w = first + w_of(n);
      from[n] = x + (K_RUNS_FASTEST ? (long long)w * pitch + k : (long long)k * pitch + w);
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
template <int DEPTH, class A, class B, class Tile, class Multiply>
__device__ __forceinline__ void for_each_tile(A& a, B& b, Tile (&a_tiles)[2], Tile (&b_tiles)[2], int k_left,
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
  Operand<T, WIDTH, DEPTH, !A_TRANSPOSED> of_a(a, block.row, p.M, block.k_begin, p.K);
  Operand<T, WIDTH, DEPTH, B_TRANSPOSED> of_b(b, block.column, p.N, block.k_begin, p.K);
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

constexpr int MMA_SIDE = 128;
constexpr int MMA_DEPTH = 16;
constexpr int MMA_PAD = 8;  // the lanes of a warp read 4 rows of a tile, 8 neighbours of each: 32 different banks

// A lane's part of an operand. TERMS = 1: each float as the nearest TF32 number. TERMS = 3: as big + small, both TF32;
// of the four products of two such sums small * small is too small to be seen, so three remain (Markidis et al. 2018).
template <int TERMS, int COUNT>
struct Fragment {
  unsigned big[COUNT], small[COUNT];
  __device__ __forceinline__ void set(int i, float x) {
    big[i] = float_to_tf32(x);
    if (TERMS == 3) small[i] = float_to_tf32(x - __uint_as_float(big[i]));
  }
};

// sum += a.T @ b for the 64 x 32 numbers of C of one warp, which begin at (row, column) of the tile: 4 x 4 products of
// 16x8 by 8x8 matrices for every 8 of k.
template <int TERMS, class Tile>
__device__ __forceinline__ void multiply_on_tensor_cores(float (&sum)[4][4][4], const Tile& a, const Tile& b, int row,
                                                         int column) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < MMA_DEPTH; k += 8) {
    Fragment<TERMS, 2> of_b[4];
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int l = 0; l < 2; l++) of_b[j].set(l, b[k + t + 4 * l][column + 8 * j + g]);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      Fragment<TERMS, 4> of_a;
#pragma unroll
      for (int l = 0; l < 4; l++) of_a.set(l, a[k + t + l / 2 * 4][row + 16 * i + g + l % 2 * 8]);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (TERMS == 3) {
          mma_m16n8k8_tf32(sum[i][j], of_a.small, of_b[j].big, sum[i][j]);
          mma_m16n8k8_tf32(sum[i][j], of_a.big, of_b[j].small, sum[i][j]);
        }
        mma_m16n8k8_tf32(sum[i][j], of_a.big, of_b[j].big, sum[i][j]);
      }
    }
  }
}

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
  Operand<float, MMA_SIDE, MMA_DEPTH, !A_TRANSPOSED> of_a(a, block.row, p.M, block.k_begin, p.K);
  Operand<float, MMA_SIDE, MMA_DEPTH, B_TRANSPOSED> of_b(b, block.column, p.N, block.k_begin, p.K);
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
