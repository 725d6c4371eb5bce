// Operations in which threads cooperate: barriers, warp intrinsics, tensor cores, atomics.
//
// In a warp intrinsic every lane of the mask passes a WarpInput, and when the last lane has arrived, each gets its
// WarpOutput (runtime/warp.h). File and line of the call are passed for the error messages; as default arguments they
// are those of the caller.
#pragma once
#include "../abi.h"
#include "math.h"

namespace emulator {

inline Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }

template <class T> WarpInput warp_input(T value, int source = 0) {
  static_assert(sizeof(T) <= 8, "a shuffle moves 4 or 8 bytes");
  WarpInput input{};
  memcpy(&input.bits, &value, sizeof value);
  input.source = source;
  return input;
}

template <class T> T warp_value(const WarpOutput& output) {
  T value;
  memcpy(&value, &output.bits, sizeof value);
  return value;
}

template <class T> T shuffle(unsigned mask, T value, int source, Site site) {
  return warp_value<T>(warp_exchange(WarpOp::Shuffle, mask, warp_input(value, source), site));
}

inline uint64_t reduce(WarpOp op, unsigned mask, uint64_t value, Site site) {
  return warp_exchange(op, mask, warp_input(value), site).bits;
}

// mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32: d = a b + c, for the whole warp at once. The fragments are
// those of the PTX ISA: with g = lane / 4 and t = lane % 4, a lane holds A[g][t], A[g+8][t], A[g][t+4], A[g+8][t+4];
// B[t][g], B[t+4][g]; and C[g][2t], C[g][2t+1], C[g+8][2t], C[g+8][2t+1].
inline void mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2], const float c[4], Site site = here()) {
  WarpInput input{};
  memcpy(input.fragment, a, 16);
  memcpy(input.fragment + 4, b, 8);
  memcpy(input.fragment + 6, c, 16);
  memcpy(d, warp_exchange(WarpOp::MmaTf32, 0xffffffffu, input, site).fragment, 16);
}

// cvt.rna.tf32.f32: to 10 mantissa bits, to nearest, ties away from zero.
inline unsigned float_to_tf32(float x) {
  const unsigned bits = __float_as_uint(x);
  return isfinite(x) ? (bits + 0x1000u) & 0xffffe000u : bits;
}

}  // namespace emulator

inline void __syncthreads(emulator::Site site = emulator::here()) { emulator::block_barrier(site); }

inline void __syncwarp(unsigned mask = 0xffffffffu, emulator::Site site = emulator::here()) {
  emulator::warp_exchange(emulator::WarpOp::Sync, mask, {}, site);
}

// Shuffles within segments of `width` lanes; a source outside the segment means the lane's own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, emulator::Site site = emulator::here()) {
  const int lane = emulator::current_lane();
  return emulator::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, emulator::Site site = emulator::here()) {
  const int lane = emulator::current_lane(), in_segment = lane & (width - 1);
  return emulator::shuffle(mask, value, in_segment >= (int)delta ? lane - (int)delta : lane, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, emulator::Site site = emulator::here()) {
  const int lane = emulator::current_lane(), in_segment = lane & (width - 1);
  return emulator::shuffle(mask, value, in_segment + (int)delta < width ? lane + (int)delta : lane, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, emulator::Site site = emulator::here()) {
  const int lane = emulator::current_lane(), source = lane ^ lanes;
  return emulator::shuffle(mask, value, (source | (width - 1)) <= (lane | (width - 1)) ? source : lane, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, emulator::Site site = emulator::here()) {
  return (unsigned)emulator::reduce(emulator::WarpOp::Ballot, mask, predicate != 0, site);
}
inline int __any_sync(unsigned mask, int predicate, emulator::Site site = emulator::here()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, emulator::Site site = emulator::here()) {
  return __ballot_sync(mask, predicate, site) == mask;
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, emulator::Site site = emulator::here()) {
  return (unsigned)emulator::reduce(emulator::WarpOp::Add, mask, value, site);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, emulator::Site site = emulator::here()) {
  return (unsigned)emulator::reduce(emulator::WarpOp::Min, mask, value, site);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, emulator::Site site = emulator::here()) {
  return (unsigned)emulator::reduce(emulator::WarpOp::Max, mask, value, site);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, emulator::Site site = emulator::here()) {
  return (unsigned)emulator::reduce(emulator::WarpOp::Or, mask, value, site);
}

// One thread runs at a time, so an ordinary operation is atomic. Floating-point atomics are left out on purpose:
// their result depends on the order of threads.
#define EMULATOR_ATOMIC(name, expression)                       \
  template <class T> T name(T* address, T value) {              \
    static_assert((T)0.5 == (T)0, "atomics are for integers");  \
    const T old = *address;                                     \
    *address = expression;                                      \
    return old;                                                 \
  }
EMULATOR_ATOMIC(atomicAdd, old + value)
EMULATOR_ATOMIC(atomicSub, old - value)
EMULATOR_ATOMIC(atomicMin, value < old ? value : old)
EMULATOR_ATOMIC(atomicMax, value > old ? value : old)
EMULATOR_ATOMIC(atomicAnd, old & value)
EMULATOR_ATOMIC(atomicOr, old | value)
EMULATOR_ATOMIC(atomicXor, old ^ value)
EMULATOR_ATOMIC(atomicExch, value)
template <class T> T atomicCAS(T* address, T expected, T value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}

// Memory is sequentially consistent here: fences have nothing to do.
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> T __ldg(const T* address) { return *address; }
template <class T> T __ldcs(const T* address) { return *address; }
template <class T> void __stcs(T* address, T value) { *address = value; }
