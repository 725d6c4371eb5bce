// The declarations that NVRTC has built in. This file is included before the text of a .cu file.
#pragma once
#define MINIVAE_EMULATOR 1

#include <stddef.h>
#include <stdio.h>
#include <type_traits>
#include <utility>

#include "threads.h"

namespace emulator {

// The launch passes an array of addresses, one per parameter, as the CUDA driver does.
template <class... P, size_t... I>
inline void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
  kernel(*(P*)arguments[I]...);
}
template <class... P> inline void call(void (*kernel)(P...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<P...>());
}

template <class T> using Identity = T;

template <class P> constexpr char letter() {
  if (std::is_class_v<P>) return 'S';
  if (std::is_pointer_v<P>) return 'P';
  if (std::is_floating_point_v<P>) return sizeof(P) == 4 ? 'f' : 'd';
  return std::is_same_v<P, bool> ? 'b' : sizeof(P) == 1 ? 'c' : sizeof(P) == 2 ? 'h' : sizeof(P) == 4 ? 'i' : 'l';
}
template <class... P> const char* signature(void (*)(P...)) {
  static const char letters[] = {letter<P>()..., 0};
  return letters;
}

}  // namespace emulator

// build.py rewrites the declarations of shared memory, for which C++ has no equivalent:
//   __shared__ T tile[16][17];             EMULATOR_SHARED(tile, T[16][17]);
//   extern __shared__ float4 buffer[];     EMULATOR_DYNAMIC_SHARED(buffer, float4);
#define EMULATOR_SHARED(name, ...)                                                                       \
  static emulator::SharedVariable emulator_##name(#name, sizeof(emulator::Identity<__VA_ARGS__>));       \
  auto& name = *static_cast<emulator::Identity<__VA_ARGS__>*>(emulator_##name.in_this_block())
#define EMULATOR_DYNAMIC_SHARED(name, ...) \
  __VA_ARGS__* name = static_cast<__VA_ARGS__*>(emulator::dynamic_shared())

#define EMULATOR_EXPORT(index, ...)                                                                       \
  static void emulator_run_##index(void** arguments) { emulator::call(&__VA_ARGS__, arguments); }         \
  extern "C" __attribute__((visibility("default"))) emulator::Kernel emulator_kernel_##index = {    \
      emulator_run_##index, emulator::signature(&__VA_ARGS__)};

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) alignas(bytes)
