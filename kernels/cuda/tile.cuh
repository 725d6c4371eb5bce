// A tile of a matrix product, held in registers: BM x BN numbers of C by a block of 256 threads.
//
// A number in shared memory costs as much time to read as several multiplications. A thread that computes P x Q numbers
// of C reads P + Q operands for P * Q multiplications, so large P and Q are what makes a product fast. Both operands
// lie in shared memory with k as the slow axis, a[k][row] and b[k][column]; then the operands of neighbouring results
// are neighbours, and four of them are one load of 16 bytes.
//
// The 256 threads stand 16 high and 16 wide, and each takes 4 x 4 results at a time. A thread's P x Q results are such
// 4 x 4 pieces, 64 rows and 64 columns apart. A warp is two columns of threads: lanes 0 and 1 lie beside each other, 2
// and 3 below them, and so on.
//
//     C tile, 64 x 64: threads         one twice as high and as wide
//     +---------------------+          +---------+---------+
//     |  0  1   32 33   ..  |          |  0  ..  |  0  ..  |   P = BM / 16 rows and
//     |  2  3   34 35       |          |  ..     |  ..     |   Q = BN / 16 columns of a thread
//     |   ..     ..         |          +---------+---------+
//     | 30 31   62 63   ..  |          |  0  ..  |  0  ..  |
//     +---------------------+          |  ..     |  ..     |
//       4 x 4 results each             +---------+---------+
//
// For a load of 16 bytes is served in two steps in the place of four where lane and lane ^ 1, or lane and lane ^ 2, read
// the same address in all of the warp. Here they do: lane ^ 1 in the loads of a, lane ^ 2 in those of b. (NVIDIA states
// that for devices of compute capability 7. On a later one it has not been measured yet.)
//
// Tiles begin at a multiple of 16 bytes:
//
//     __shared__ __align__(16) T a[DEPTH][16 * P + TILE_PAD], b[DEPTH][16 * Q + TILE_PAD];
#pragma once

constexpr int TILE_THREADS = 256;
constexpr int TILE_PAD = 4;  // numbers behind each row of a tile, against bank conflicts when it is written

// Four neighbours, moved at once: for float one load of 16 bytes, for double two.
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

// Where this thread stands among the 16 x 16: row t / 2 % 16, column t / 32 * 2 + t % 2. They are written as bits, and
// multiply_tiles has columns as its outer loop, because the largest tiles leave no register to spare: of thirty ways to
// write the same, this one spills nothing with NVRTC 13.0 and 13.5 for sm_80 and sm_90.
__device__ __forceinline__ int thread_row() { return threadIdx.x >> 1 & 15; }
__device__ __forceinline__ int thread_column() { return (threadIdx.x >> 4 & 14) | (threadIdx.x & 1); }

// The row of the tile in which result i of a thread lies, and the column of result j. Results 4n .. 4n+3 are neighbours.
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
