// Warp intrinsics: lanes wait for each other, and the last one to arrive computes the results of all.
//
// Several groups of lanes of one warp may wait at the same time, each with a mask of its own.
#pragma once
#include <vector>

#include "../abi.h"

namespace emulator {

inline unsigned lanes_below(unsigned count) { return count >= 32 ? 0xffffffffu : (1u << count) - 1; }

struct Group {
  WarpOp op;
  unsigned mask, arrived;
};

struct Warp {
  unsigned existing = 0;  // lanes: fewer than 32 in the last warp of a block of odd size
  std::vector<Group> groups;
  WarpInput inputs[32];
  WarpOutput outputs[32];

  void clear() { groups.clear(); }

  // A lane for which `lane` waits.
  unsigned missing(unsigned lane) const {
    for (const Group& g : groups)
      if (g.arrived >> lane & 1) return __builtin_ctz(g.mask & ~g.arrived);
    return lane;
  }
};

inline float tf32(unsigned word) {  // the tensor cores ignore the low 13 bits
  word &= 0xffffe000u;
  float value;
  memcpy(&value, &word, 4);
  return value;
}

// Each lane's four elements of D = A B + C, from the fragments of all lanes (see mma_m16n8k8_tf32).
inline void multiply_fragments(Warp& warp) {
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum;
      memcpy(&sum, &warp.inputs[lane].fragment[6 + i], 4);
      for (int k = 0; k < 8; k++) {
        const unsigned* a = warp.inputs[row % 8 * 4 + k % 4].fragment;
        const unsigned* b = warp.inputs[column * 4 + k % 4].fragment;
        sum += tf32(a[row / 8 + 2 * (k / 4)]) * tf32(b[4 + k / 4]);
      }
      warp.outputs[lane].fragment[i] = sum;
    }
}

inline uint64_t combine(WarpOp op, uint64_t x, uint64_t y) {
  switch (op) {
    case WarpOp::Add: return (uint32_t)(x + y);
    case WarpOp::Min: return y < x ? y : x;
    case WarpOp::Max: return y > x ? y : x;
    default: return x | y;
  }
}

// Computes the outputs, once all lanes of the mask have arrived.
inline void complete(Warp& warp, WarpOp op, unsigned mask) {
  if (op == WarpOp::MmaTf32) return multiply_fragments(warp);
  uint64_t all = 0;
  bool first = true;
  for (unsigned lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    const uint64_t bits = op == WarpOp::Ballot ? warp.inputs[lane].bits << lane : warp.inputs[lane].bits;
    all = first ? bits : combine(op, all, bits);
    first = false;
  }
  for (unsigned lane = 0; lane < 32; lane++)
    if (mask >> lane & 1) warp.outputs[lane].bits = op == WarpOp::Shuffle ? warp.inputs[warp.inputs[lane].source].bits : all;
}

}  // namespace emulator
