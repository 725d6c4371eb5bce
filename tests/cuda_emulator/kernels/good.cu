// Kernels without bugs, one for each feature of the emulator.
#include "mma.cuh"

constexpr int ROW_THREADS = 128;

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
  return value;
}

// The sum of a row, one block per row: each warp adds by shuffles, then the first warp adds the sums of all warps.
template <typename T>
__global__ void __launch_bounds__(ROW_THREADS) row_sum(const T* __restrict__ x, T* __restrict__ sums, long long columns) {
  __shared__ T of_warp[ROW_THREADS / 32];
  T sum = 0;
  for (long long i = threadIdx.x; i < columns; i += blockDim.x) sum += x[blockIdx.x * columns + i];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = warp_sum(threadIdx.x < blockDim.x / 32 ? of_warp[threadIdx.x] : T(0));
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Reverses every group of blockDim.x numbers, in shared memory whose size the launch states.
template <typename T>
__global__ void reverse(const T* x, T* y, int n) {
  extern __shared__ unsigned char buffer[];
  T* run = reinterpret_cast<T*>(buffer);
  const int first = blockIdx.x * blockDim.x, length = min((int)blockDim.x, n - first);
  if (threadIdx.x < length) run[threadIdx.x] = x[first + threadIdx.x];
  __syncthreads();
  if (threadIdx.x < length) y[first + threadIdx.x] = run[length - 1 - threadIdx.x];
}

// One warp: D (16, 8) = A (16, K) B (K, 8), K a multiple of 8.
__global__ void mma(const float* A, const float* B, float* D, int K) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  float d[4] = {0, 0, 0, 0};
  for (int k = 0; k < K; k += 8) {
    const unsigned a[4] = {float_to_tf32(A[g * K + k + t]), float_to_tf32(A[(g + 8) * K + k + t]),
                           float_to_tf32(A[g * K + k + t + 4]), float_to_tf32(A[(g + 8) * K + k + t + 4])};
    const unsigned b[2] = {float_to_tf32(B[(k + t) * 8 + g]), float_to_tf32(B[(k + t + 4) * 8 + g])};
    mma_m16n8k8_tf32(d, a, b, d);
  }
  D[g * 8 + 2 * t] = d[0];
  D[g * 8 + 2 * t + 1] = d[1];
  D[(g + 8) * 8 + 2 * t] = d[2];
  D[(g + 8) * 8 + 2 * t + 1] = d[3];
}

__global__ void round_to_tf32(const float* x, float* y, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = __uint_as_float(float_to_tf32(x[i]));
}

// Every thread writes its coordinates to the element that they index: out (gridDim z, y, x, blockDim z, y, x, 6).
__global__ void coordinates(int* out) {
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  int* at = out + (block * (int)(blockDim.x * blockDim.y * blockDim.z) + thread) * 6;
  at[0] = blockIdx.z, at[1] = blockIdx.y, at[2] = blockIdx.x;
  at[3] = threadIdx.z, at[4] = threadIdx.y, at[5] = threadIdx.x;
}

__global__ void histogram(const int* __restrict__ values, int* counts, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) atomicAdd(&counts[values[i]], 1);
}

// The results of the intrinsics of one warp, one column for each: out (32, 10).
__global__ void warp_intrinsics(const int* x, int* out) {
  const int lane = threadIdx.x, value = x[lane];
  const unsigned all = 0xffffffffu, half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  int* row = out + lane * 10;
  row[0] = __shfl_sync(all, value, 5);
  row[1] = __shfl_sync(all, value, 3, 8);
  row[2] = __shfl_up_sync(all, value, 2);
  row[3] = __shfl_down_sync(all, value, 3, 16);
  row[4] = __shfl_xor_sync(all, value, 1);
  row[5] = (int)__ballot_sync(all, value > 0);
  row[6] = __any_sync(half, value > 0) * 2 + __all_sync(half, value > 0);
  row[7] = (int)__reduce_add_sync(half, (unsigned)value);
  __syncwarp();
  // The halves of the warp diverge and synchronise among themselves a different number of times.
  int sum = value;
  for (int lanes = lane < 16 ? 8 : 4; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(half, sum, lanes, 16);
  row[8] = sum;
  row[9] = __shfl_xor_sync(all, value, 8, 8);
}

// A pointer declared ALIGNED, vector types, and a loop over the remaining elements.
__global__ void add_vectors(const float4* x, const float* __restrict__ ALIGNED(16) y, float* ALIGNED(16) z, int n) {
  for (int i = threadIdx.x; i < n / 4; i += blockDim.x) {
    const float4 a = x[i], b = reinterpret_cast<const float4*>(y)[i];
    reinterpret_cast<float4*>(z)[i] = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  }
  for (int i = n / 4 * 4 + threadIdx.x; i < n; i += blockDim.x) z[i] = reinterpret_cast<const float*>(x)[i] + y[i];
}

struct Affine {
  float scale;
  double offset;
  bool negate;
};

// One block per array of the table, in place.
template <typename T>
__global__ void transform(T* const* arrays, const long long* sizes, const T* const* addends, Affine f) {
  for (long long i = threadIdx.x; i < sizes[blockIdx.x]; i += blockDim.x) {
    const T value = arrays[blockIdx.x][i] * T(f.scale) + T(f.offset) + addends[blockIdx.x][i];
    arrays[blockIdx.x][i] = f.negate ? -value : value;
  }
}

__global__ void scalars(bool b, unsigned char c, short h, unsigned i, size_t l, float f, double d, double* out) {
  out[0] = b, out[1] = c, out[2] = h, out[3] = i, out[4] = (double)l, out[5] = f, out[6] = d;
}

// out (n, 8): the functions of x that the kernels of this project use.
template <typename T>
__global__ void functions(const T* x, T* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  T sine, cosine;
  sincospi(x[i], &sine, &cosine);
  T* row = out + i * 8;
  row[0] = exp(x[i]), row[1] = log1p(fabs(x[i])), row[2] = erf(x[i]), row[3] = tanh(x[i]);
  row[4] = sine, row[5] = cosine, row[6] = rsqrt(max(x[i], T(1))), row[7] = fma(x[i], x[i], T(1));
}

// y may overlap with x.
__global__ void write_then_read(float* x, const float* y, float* seen) {
  x[threadIdx.x] = threadIdx.x + 1;
  __syncthreads();
  seen[threadIdx.x] = y[threadIdx.x];
}

__global__ void is_null(const float* x, int* out) { *out = x == nullptr; }
