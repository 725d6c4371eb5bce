// CUDA's built-in vector types and the coordinates of a thread.
#pragma once

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define EMULATOR_VECTOR2(name, number)                       \
  struct alignas(2 * sizeof(number)) name {                  \
    number x, y;                                             \
  };                                                         \
  inline name make_##name(number x, number y) { return {x, y}; }

#define EMULATOR_VECTOR4(name, number)                                                                \
  struct alignas(16) name {                                                                           \
    number x, y, z, w;                                                                                \
  };                                                                                                  \
  inline name make_##name(number x, number y, number z, number w) { return {x, y, z, w}; }

EMULATOR_VECTOR2(int2, int)
EMULATOR_VECTOR2(uint2, unsigned)
EMULATOR_VECTOR2(float2, float)
EMULATOR_VECTOR2(double2, double)
EMULATOR_VECTOR4(int4, int)
EMULATOR_VECTOR4(uint4, unsigned)
EMULATOR_VECTOR4(float4, float)
EMULATOR_VECTOR4(double4, double)

// In a kernel these are constants: a thread runs the kernel once, and its coordinates never change.
// The runtime, which is another translation unit, sets them whenever it switches to another thread.
#ifdef EMULATOR_RUNTIME
#define EMULATOR_COORDINATE extern
#else
#define EMULATOR_COORDINATE extern const
#endif
EMULATOR_COORDINATE uint3 threadIdx;
EMULATOR_COORDINATE uint3 blockIdx;
EMULATOR_COORDINATE dim3 blockDim;
EMULATOR_COORDINATE dim3 gridDim;
constexpr int warpSize = 32;
