// Shared memory. Every __shared__ variable, and the dynamic part whose size the launch states, ends at an unreadable
// page and is filled with NaN when a block begins.
#pragma once
#include <vector>

#include "../abi.h"
#include "memory.h"

namespace emulator {

struct SharedMemory {
  const char* name;
  size_t bytes;
  Mapping mapping;
  char* begin;

  SharedMemory(const char* name, size_t bytes)
      : name(name), bytes(bytes), mapping(Mapping::make((bytes + PAGE - 1) / PAGE * PAGE)), begin(mapping.end_aligned(bytes)) {}
};

inline std::vector<SharedMemory> shared_variables;  // of all kernels that have run
inline SharedMemory dynamic_memory("dynamic shared memory", 256 << 10);

inline const SharedMemory* shared_memory_near(const char* address) {
  if (dynamic_memory.mapping.near(address)) return &dynamic_memory;
  for (const SharedMemory& memory : shared_variables)
    if (memory.mapping.near(address)) return &memory;
  return nullptr;
}

// Dynamic shared memory has this size from now on.
inline void resize_dynamic_shared(size_t bytes) {
  dynamic_memory.bytes = bytes;
  dynamic_memory.begin = dynamic_memory.mapping.end_aligned(bytes);
}

inline void begin_block() {
  block_number++;
  fill_with_nan(dynamic_memory.begin, dynamic_memory.mapping.end());
}

}  // namespace emulator
