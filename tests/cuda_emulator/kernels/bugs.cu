// Kernels with one bug each. Some bugs are switched on by an argument, so that a test can show that nothing is reported
// without the bug.

__global__ void divergent_barrier(float* x, int reach) {
  if (threadIdx.x < reach) __syncthreads();
  x[threadIdx.x] = 1;
}

__global__ void early_return(float* x, int n) {
  if (threadIdx.x >= n) return;
  __syncthreads();
  x[threadIdx.x] = 1;
}

__global__ void different_barriers(float* x, int split) {
  if (threadIdx.x < split)
    __syncthreads();
  else
    __syncthreads();
  x[threadIdx.x] = 1;
}

__global__ void uninitialised_shared(float* x, double* y, int written) {
  __shared__ float values[64];
  __shared__ double doubles[64];
  if (threadIdx.x < written) values[threadIdx.x] = doubles[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = values[threadIdx.x];
  y[threadIdx.x] = doubles[threadIdx.x];
}

template <typename T>
__global__ void uninitialised_in_template(T* x) {
  __shared__ T values[64];
  x[threadIdx.x] = values[threadIdx.x];
}

__global__ void uninitialised_dynamic(float* x, int written) {
  extern __shared__ float values[];
  if (threadIdx.x < written) values[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = values[threadIdx.x];
}

__global__ void read_at(const float* x, float* y, long long offset) { y[threadIdx.x] = x[threadIdx.x + offset]; }

__global__ void write_at(float* y, long long offset) { y[threadIdx.x + offset] = 1; }

__global__ void table_at(float* const* tables, int table, int offset) { tables[table][threadIdx.x + offset] = 1; }

__global__ void dynamic_shared_at(float* x, int offset) {
  extern __shared__ float values[];
  values[threadIdx.x + offset] = 1;
  x[threadIdx.x] = values[threadIdx.x + offset];
}

__global__ void fixed_size_at(float* x, int offset) {
  __shared__ float values[4][32];
  values[1][threadIdx.x + offset] = 1;
  __syncthreads();
  x[threadIdx.x] = values[1][threadIdx.x + offset];
}

__global__ void vector_without_promise(const float* x, float* y) {
  reinterpret_cast<float4*>(y)[threadIdx.x] = reinterpret_cast<const float4*>(x)[threadIdx.x];
}

__global__ void shuffle(int* x, unsigned mask, int callers, int source) {
  if (threadIdx.x < callers) x[threadIdx.x] = __shfl_sync(mask, x[threadIdx.x], source);
}

__global__ void disagree(int* x, int split) {
  x[threadIdx.x] = __shfl_xor_sync(threadIdx.x < split ? 0xffffffffu : 0xfffffff0u, x[threadIdx.x], 0);
}

__global__ void different_intrinsics(int* x, int split) {
  if (threadIdx.x < split)
    x[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
  else
    x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 0);
}

__global__ void lane_at_barrier(int* x, int split) {
  if (threadIdx.x < split)
    __syncthreads();
  else
    __syncwarp();
  x[threadIdx.x] = 1;
}

// Old warp-synchronous code: it reads the neighbour's value without __syncwarp between writing and reading.
template <bool SYNC>
__global__ void neighbour(int* x) {
  __shared__ int values[32];
  values[threadIdx.x] = x[threadIdx.x];
  if (SYNC) __syncwarp();
  x[threadIdx.x] = values[(threadIdx.x + 1) % 32];
}

// The result is that of the block that runs last.
__global__ void last_block(int* x) { x[0] = blockIdx.x; }

__device__ int depth(int n) {
  volatile int local[1024];
  local[n % 1024] = n;
  return n == 0 ? 0 : depth(n - 1) + local[n % 1024];
}
__global__ void recursion(int* x, int n) { x[0] = depth(n); }

__global__ void divide(int* x, int divisor) { x[0] = 7 / divisor; }
