// Sums, maxima and minima over the threads of a warp or a block. All of them give the same bits each time: the order in
// which numbers are combined depends only on lanes and warps, never on which thread comes first.
#pragma once

constexpr unsigned WARP = 0xffffffffu;  // the mask of all 32 lanes

template <typename I>
__host__ __device__ constexpr I ceil_div(I count, I per_block) {
  return (count + per_block - 1) / per_block;
}

// How many of begin + lane, begin + lane + lanes, ... are below end, for lanes = 2^lane_bits. A loop that counts to this
// number needs no division; a loop that counts in steps of `lanes` does, once it is unrolled.
__device__ __forceinline__ int terms_of_lane(long long begin, long long end, int lane, int lane_bits) {
  return (end - begin - lane + (1 << lane_bits) - 1) >> lane_bits;
}

// The sum over the 32 lanes of a warp, in every lane. In each of five rounds a lane adds the value of the lane whose number
// differs in one bit; in the end every lane has the sum of all. Since a + b = b + a, all lanes get the same bits.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) value += __shfl_xor_sync(WARP, value, bit);
  return value;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) value = max(value, __shfl_xor_sync(WARP, value, bit));
  return value;
}

// The smallest value over the lanes of a warp and its index, in every lane; ties go to the lowest index, as in np.argmin.
template <typename T, typename I>
__device__ __forceinline__ void warp_argmin(T& value, I& index) {
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) {
    const T other = __shfl_xor_sync(WARP, value, bit);
    const I at = __shfl_xor_sync(WARP, index, bit);
    if (other < value || (other == value && at < index)) value = other, index = at;
  }
}

// The sum over a block of whole warps, in every thread. All threads of the block must call it, because it has barriers.
// Each warp writes its sum to shared memory; then every warp adds these sums, all in the same order.
template <typename T>
__device__ __forceinline__ T block_sum(T value) {
  __shared__ T of_warp[32];
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const int lane = thread % 32, warps = blockDim.x * blockDim.y * blockDim.z / 32;
  value = warp_sum(value);
  if (lane == 0) of_warp[thread / 32] = value;
  __syncthreads();
  value = warp_sum(lane < warps ? of_warp[lane] : T(0));
  __syncthreads();  // so that the next call may overwrite of_warp
  return value;
}
