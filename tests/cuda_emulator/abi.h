// The data structures that the compiled kernels, the runtime and Python (engine.py) share.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "device/types.h"

namespace emulator {

// One compiled kernel instance, exported by the shared library of its .cu file.
struct Kernel {
  void (*run)(void** arguments);  // runs the body for the thread in threadIdx and blockIdx
  const char* signature;          // a letter per parameter: b c h i l f d numbers, P pointer, S struct
};

enum class Passing : int32_t { Number, Struct, Array, Table };

// One argument of a launch, 48 bytes, packed by Python.
struct Argument {
  uint64_t value;      // Number: its bits; otherwise the host address of the struct, the data or the Arguments of a table
  int64_t bytes;       // size of the array; number of arrays in a Table
  const char* name;
  Passing passing;
  int32_t alignment;   // of an array's first byte
  int32_t writable;
  int32_t unused;
};

struct Launch {
  dim3 grid, block;
  uint32_t shared_bytes;
  uint32_t order;      // of threads and blocks: 0 forward, 1 reversed, else the seed of a shuffle
  uint32_t guard_end;  // nonzero: arrays end at an unreadable page; zero: they begin after one
};

// The place of a call in a kernel.
struct Site {
  const char* file;
  int line;
};

enum class WarpOp : int32_t { Sync, Shuffle, Ballot, Add, Min, Max, Or, MmaTf32 };

// The arguments of a lane for a warp intrinsic, and its results.
struct WarpInput {
  uint64_t bits;
  int32_t source;        // Shuffle: the lane to read
  uint32_t fragment[10];  // Mma: 4 words of A, 2 of B, 4 of C
};
struct WarpOutput {
  uint64_t bits;
  float fragment[4];
};

// A __shared__ variable of a kernel. Its memory is filled with NaN when the first thread of a block reaches it.
struct SharedVariable {
  const char* name;
  size_t bytes;
  char* memory = nullptr;
  uint64_t filled_for = 0;  // block_number

  constexpr SharedVariable(const char* name, size_t bytes) : name(name), bytes(bytes) {}
  void* in_this_block();
};

extern uint64_t block_number;  // counts the blocks of all launches, from 1
void refill(SharedVariable& variable);

inline void* SharedVariable::in_this_block() {
  if (filled_for != block_number) refill(*this);
  return memory;
}

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
void block_barrier(Site site);
WarpOutput warp_exchange(WarpOp op, unsigned mask, const WarpInput& input, Site site);
void* dynamic_shared();
int current_lane();

}  // namespace emulator
