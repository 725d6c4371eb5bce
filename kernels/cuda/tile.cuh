// The tile of a matrix product: a block of 256 threads computes BM x BN numbers of C, and each thread keeps P x Q of them
// in registers.
//
// Why tiles are large: for each k, a block reads BM + BN numbers from global memory for BM * BN multiplications and as
// many additions. In float32 that is 4 (BM + BN) bytes for 2 BM BN flops: 1/16 byte per flop for a tile of 64 x 64, 1/32
// for 128 x 128. An H200 delivers 4.8 TB/s and computes 67 Tflop/s by its data sheet, which is 1/14 byte per flop. The same
// holds within a block: a thread reads P + Q numbers from shared memory for P * Q multiplications, which is 1 byte per flop
// for 4 x 4 results and 1/2 for 8 x 8. In one clock shared memory delivers 128 bytes and a multiprocessor does 256 flops.
// Small products use small tiles all the same, because a large tile would leave too few blocks to fill the GPU.
//
// Both operands lie in shared memory with k as the slow axis, a[k][row] and b[k][column]. So the operands of neighbouring
// results are neighbours, and four of them are one load of 16 bytes.
//
// The 256 threads stand in 16 rows and 16 columns, and each takes 4 x 4 results at a time. If P and Q are larger, a
// thread has several such 4 x 4 squares, 64 rows or 64 columns apart. A warp is two columns of threads: lanes 0 and 1 lie
// beside each other, 2 and 3 below them, and so on.
//
//     C tile, 64 x 64: threads         a tile twice as high and as wide
//     +---------------------+          +---------+---------+
//     |  0  1   32 33   ..  |          |  0  ..  |  0  ..  |   P = BM / 16 rows and
//     |  2  3   34 35       |          |  ..     |  ..     |   Q = BN / 16 columns of a thread
//     |   ..     ..         |          +---------+---------+
//     | 30 31   62 63   ..  |          |  0  ..  |  0  ..  |
//     +---------------------+          |  ..     |  ..     |
//       4 x 4 results each             +---------+---------+
//
// The reason for this arrangement: a warp's load of 16 bytes takes two steps instead of four if, in the whole warp, lane
// and lane ^ 1, or lane and lane ^ 2, read the same address. Here lane ^ 1 does so in the loads of a, and lane ^ 2 in
// those of b. (NVIDIA states this for devices of compute capability 7; it has not been measured on later ones.)
//
// Tiles must begin at a multiple of 16 bytes:
//
//     __shared__ __align__(16) T a[DEPTH][16 * P + TILE_PAD], b[DEPTH][16 * Q + TILE_PAD];
#pragma once

constexpr int TILE_THREADS = 256;
constexpr int TILE_PAD = 4;  // unused numbers behind each row of a tile, which avoid bank conflicts when it is written

// Four neighbours, moved at once: for float by one load of 16 bytes, for double by two.
template <typename T>
struct alignas(16) Four {
  T v[4];
};

template <typename T>
__device__ __forceinline__ Four<T> load4(const T* from) {
  return *reinterpret_cast<const Four<T>*>(from);
}

template <typename T>
__device__ __forceinline__ void store4(T* to, const Four<T>& four) {
  *reinterpret_cast<Four<T>*>(to) = four;
}

// Where thread t stands among the 16 x 16: row t / 2 % 16, column t / 32 * 2 + t % 2. Both are written with bit operations,
// and multiply_tiles has columns as its outer loop, because the largest tiles need all registers: of thirty equivalent
// forms this one spills nothing with NVRTC 13.0 and 13.5 for sm_80 and sm_90.
__device__ __forceinline__ int thread_row() { return threadIdx.x >> 1 & 15; }
__device__ __forceinline__ int thread_column() { return (threadIdx.x >> 4 & 14) | (threadIdx.x & 1); }

// The row of the tile in which row i of a thread's results lies, and the column of column j. 4n .. 4n+3 are neighbours.
__device__ __forceinline__ int tile_row(int i) { return i / 4 * 64 + thread_row() * 4 + i % 4; }
__device__ __forceinline__ int tile_column(int j) { return j / 4 * 64 + thread_column() * 4 + j % 4; }

// sum += a.T @ b for the thread's P x Q results: DEPTH outer products of a row of a and a row of b.
template <typename T, int P, int Q, int DEPTH>
__device__ __forceinline__ void multiply_tiles(T (&sum)[P][Q], const T (&a)[DEPTH][16 * P + TILE_PAD],
                                               const T (&b)[DEPTH][16 * Q + TILE_PAD]) {
  static_assert(P % 4 == 0 && Q % 4 == 0, "results are taken four by four");
#pragma unroll
  for (int k = 0; k < DEPTH; k++) {
    Four<T> of_a[P / 4], of_b[Q / 4];
#pragma unroll
    for (int i = 0; i < P; i += 4) of_a[i / 4] = load4(&a[k][tile_row(i)]);
#pragma unroll
    for (int j = 0; j < Q; j += 4) of_b[j / 4] = load4(&b[k][tile_column(j)]);
#pragma unroll
    for (int j = 0; j < Q; j++)
#pragma unroll
      for (int i = 0; i < P; i++) sum[i][j] += of_a[i / 4].v[i % 4] * of_b[j / 4].v[j % 4];
  }
}
