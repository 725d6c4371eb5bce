// The runtime of the emulator: one shared library that those of all .cu files use. See ../__init__.py for the whole.
#include <stdarg.h>
#include <stdio.h>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include "block.h"
#include "faults.h"
#include "memory.h"
#include "shared.h"
#include "warp.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {

// While one of these lives, subnormal numbers are zero, as in the float32 arithmetic of CuPy's kernels, which NVRTC
// compiles with -ftz=true. (The processor knows this for all numbers or none, so it holds for float64 too.)
struct FlushToZero {
#ifdef __SSE2__
  static constexpr unsigned BITS = 0x8040;  // FTZ and DAZ
  const unsigned before = _mm_getcsr();
  FlushToZero() { _mm_setcsr(before | BITS); }
  ~FlushToZero() { _mm_setcsr(before); }
#endif
};

uint64_t block_number = 0;
static char error[1024];

// Ends the launch, from wherever in a kernel it is called: the fibers are left as they are, never to be resumed.
void fail(const char* format, ...) {
  va_list values;
  va_start(values, format);
  size_t length = vsnprintf(error, sizeof error, format, values);
  va_end(values);
  length = std::min(length, sizeof error - 1);
  length += snprintf(error + length, sizeof error - length, ", in block (%u,%u,%u)", blockIdx.x, blockIdx.y, blockIdx.z);
  length = std::min(length, sizeof error - 1);
  if (block.current)
    snprintf(error + length, sizeof error - length, ", thread (%u,%u,%u)", threadIdx.x, threadIdx.y, threadIdx.z);
  Context abandoned;
  switch_context(abandoned, block.scheduler);
  __builtin_unreachable();
}

void block_barrier(Site site) { wait(State::AtBarrier, site); }

int current_lane() { return block.current->rank % 32; }

void* dynamic_shared() { return dynamic_memory.begin; }

void refill(SharedVariable& variable) {
  if (!variable.memory) {
    shared_variables.emplace_back(variable.name, variable.bytes);
    variable.memory = shared_variables.back().begin;
  }
  fill_with_nan(variable.memory, variable.memory + (variable.bytes + 15) / 16 * 16);
  variable.filled_for = block_number;
}

// The group of lanes that meet under this mask, of which the caller is the first or a later one. A lane that waits for
// the caller under another mask, while the caller would wait for it under this one, is an error.
static Group& join_group(Warp& warp, unsigned lane, WarpOp op, unsigned mask) {
  for (Group& group : warp.groups) {
    if (group.mask == mask) {
      if (group.op != op) fail("lanes of one warp wait at different warp intrinsics");
      return group;
    }
    if ((group.mask >> lane & 1) && (group.arrived & mask))
      fail("lanes of one warp disagree about the mask: %08x here, %08x in lanes that wait already", mask, group.mask);
  }
  warp.groups.push_back({op, mask, 0});
  return warp.groups.back();
}

WarpOutput warp_exchange(WarpOp op, unsigned mask, const WarpInput& input, Site site) {
  Thread& self = *block.current;
  Warp& warp = block.warps[self.rank / 32];
  const unsigned lane = self.rank % 32;
  if (!(mask >> lane & 1)) fail("mask %08x of %s:%d leaves out the calling lane %u", mask, site.file, site.line, lane);
  if (mask & ~warp.existing) fail("mask %08x of %s:%d names lanes that the warp does not have", mask, site.file, site.line);
  if (op == WarpOp::Shuffle && !(mask >> input.source & 1))
    fail("shuffle of %s:%d reads lane %d, which mask %08x leaves out", site.file, site.line, input.source, mask);
  Group& group = join_group(warp, lane, op, mask);
  warp.inputs[lane] = input;
  group.arrived |= 1u << lane;
  if (group.arrived != mask) {
    wait(State::InWarp, site);
    return warp.outputs[lane];
  }
  complete(warp, op, mask);
  warp.groups.erase(warp.groups.begin() + (&group - warp.groups.data()));
  for (unsigned other = 0; other < 32; other++)
    if (mask >> other & 1) block.threads[self.rank / 32 * 32 + other].state = State::Ready;
  return warp.outputs[lane];
}

static void run_grid(uint32_t order) {
  const size_t count = (size_t)gridDim.x * gridDim.y * gridDim.z;
  std::vector<unsigned> ranks;
  permutation(ranks, count, order);
  for (unsigned rank : ranks) {
    blockIdx = {rank % gridDim.x, rank / gridDim.x % gridDim.y, rank / gridDim.x / gridDim.y};
    begin_block();
    run_block();
    if (error[0]) return;
  }
}

}  // namespace emulator

using namespace emulator;

// Runs a kernel. Returns 0, or 1 when emulator_error() says what went wrong; then no array has changed.
extern "C" int emulator_launch(const Kernel* kernel, const Launch* launch, const Argument* list, int count) {
  error[0] = 0;
  Arguments arguments(list, count, launch->guard_end);
  resize_dynamic_shared(launch->shared_bytes);
  running_arguments = &arguments;
  gridDim = launch->grid;
  blockDim = launch->block;
  shape_block(launch->block, launch->order);
  block.kernel = kernel;
  block.arguments = arguments.addresses();
  {
    FaultHandler handler;
    FlushToZero arithmetic;
    run_grid(launch->order);
  }
  if (error[0]) {
    block.fibers.clear();
    block.free_fibers.clear();
    return 1;
  }
  if (const char* name = arguments.written_beside()) {
    snprintf(error, sizeof error, "out-of-bounds write beside %s", name);
    return 1;
  }
  arguments.copy_out();
  return 0;
}

extern "C" const char* emulator_error() { return error; }
