// A block: its threads take turns on fibers, in the order that the launch states, until all have finished.
//
// A thread runs until it waits at a barrier or for other lanes of its warp. Then the next thread that can run does. A
// thread that has not started yet starts on a fiber that has become free, so threads that never wait all run on one
// fiber, without a switch. If no thread can run, either all of them are at the same barrier, which opens, or the kernel
// would hang, and the launch fails with the reason.
#pragma once
#include <string.h>

#include <memory>
#include <vector>

#include "../abi.h"
#include "fibers.h"
#include "warp.h"

namespace emulator {

enum class State : uint8_t { Ready, AtBarrier, InWarp, Finished };

struct Thread {
  uint3 index;
  unsigned rank;
  State state;
  Fiber* fiber;
  Site site;  // where it waits
};

struct Block {
  std::vector<Thread> threads;
  std::vector<unsigned> order;  // ranks, in the order in which threads are resumed
  std::vector<Warp> warps;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> free_fibers;
  Context scheduler;
  Thread* current = nullptr;
  unsigned cursor = 0, finished = 0;
  const Kernel* kernel = nullptr;
  void** arguments = nullptr;
};

inline Block block;

// The ranks 0 .. count-1 forward (0), reversed (1), or shuffled with the seed `order` (Fisher and Yates).
inline void permutation(std::vector<unsigned>& ranks, size_t count, uint32_t order) {
  ranks.resize(count);
  for (size_t i = 0; i < count; i++) ranks[i] = order == 1 ? count - 1 - i : i;
  uint64_t random = order * 0x9E3779B97F4A7C15ull;
  for (size_t i = count; order > 1 && i > 1; i--) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    std::swap(ranks[i - 1], ranks[(random >> 33) % i]);
  }
}

inline void turn_to(Thread& thread) {
  block.current = &thread;
  threadIdx = thread.index;
}

inline const char* describe(const Thread& thread) {
  static char texts[2][160];
  static int turn;
  char* text = texts[turn ^= 1];
  const char* doing = thread.state == State::Finished ? "has finished" : "waits at";
  int n = snprintf(text, sizeof texts[0], "thread (%u,%u,%u) %s", thread.index.x, thread.index.y, thread.index.z, doing);
  if (thread.state != State::Finished)
    snprintf(text + n, sizeof texts[0] - n, " %s of %s:%d", thread.state == State::AtBarrier ? "__syncthreads" : "a warp intrinsic",
             thread.site.file, thread.site.line);
  return text;
}

// All threads wait. Opens the barrier if all are at it; otherwise fails and says which thread waits for which.
inline void open_barrier_or_fail() {
  block.current = nullptr;
  Thread *in_warp = nullptr, *at_barrier = nullptr, *finished = nullptr;
  unsigned count = 0;
  for (Thread& t : block.threads) {
    if (t.state == State::InWarp && !in_warp) in_warp = &t;
    if (t.state == State::Finished && !finished) finished = &t;
    if (t.state != State::AtBarrier) continue;
    count++;
    if (!at_barrier) at_barrier = &t;
    else if (t.site.line != at_barrier->site.line || strcmp(t.site.file, at_barrier->site.file) != 0)
      fail("threads wait at different barriers: %s, %s", describe(*at_barrier), describe(t));
  }
  if (in_warp) {
    const unsigned missing = block.warps[in_warp->rank / 32].missing(in_warp->rank % 32);
    fail("%s for lane %u of its warp, but %s", describe(*in_warp), missing,
         describe(block.threads[in_warp->rank / 32 * 32 + missing]));
  }
  if (count < block.threads.size())
    fail("__syncthreads reached by %u of %zu threads: %s, but %s", count, block.threads.size(), describe(*at_barrier),
         describe(*finished));
  for (Thread& t : block.threads) t.state = State::Ready;
}

// The next thread that can run, or null when all have finished.
inline Thread* next_thread() {
  for (bool anybody = true;; anybody = false) {
    for (; block.cursor < block.order.size(); block.cursor++) {
      Thread& thread = block.threads[block.order[block.cursor]];
      if (thread.state != State::Ready) continue;
      block.cursor++;
      return &thread;
    }
    if (block.finished == block.threads.size()) return nullptr;
    block.cursor = 0;
    if (!anybody) open_barrier_or_fail();
  }
}

// The main function of every fiber: run the current thread to its end, then the next one, without end.
inline void fiber_main() {
  for (;;) {
    block.kernel->run(block.arguments);
    block.current->state = State::Finished;
    block.finished++;
    Fiber* own = block.current->fiber;
    Thread* next = next_thread();
    if (next && !next->fiber) {
      next->fiber = own;
      turn_to(*next);
      continue;
    }
    block.free_fibers.push_back(own);
    if (next) turn_to(*next);
    switch_context(own->context, next ? next->fiber->context : block.scheduler);
  }
}

inline Fiber* free_fiber() {
  if (block.free_fibers.empty()) {
    block.fibers.push_back(std::make_unique<Fiber>(fiber_main, (int)block.fibers.size()));
    return block.fibers.back().get();
  }
  Fiber* fiber = block.free_fibers.back();
  block.free_fibers.pop_back();
  return fiber;
}

// The current thread waits until its state is Ready again and its turn has come.
inline void wait(State state, Site site) {
  Thread& self = *block.current;
  self.state = state;
  self.site = site;
  Thread* next = next_thread();  // not null: this thread has not finished
  if (!next->fiber) next->fiber = free_fiber();
  turn_to(*next);
  if (next == &self) return;
  switch_context(self.fiber->context, next->fiber->context);
}

inline void run_block() {
  for (Thread& thread : block.threads) {
    thread.state = State::Ready;
    thread.fiber = nullptr;
  }
  for (Warp& warp : block.warps) warp.clear();
  block.cursor = block.finished = 0;
  Thread* first = next_thread();
  first->fiber = free_fiber();
  turn_to(*first);
  switch_context(block.scheduler, first->fiber->context);
}

inline void shape_block(dim3 size, uint32_t order) {
  const unsigned count = size.x * size.y * size.z;
  block.threads.resize(count);
  for (unsigned rank = 0; rank < count; rank++)
    block.threads[rank] = {{rank % size.x, rank / size.x % size.y, rank / size.x / size.y}, rank, State::Ready, nullptr, {}};
  block.warps.resize((count + 31) / 32);
  for (unsigned w = 0; w < block.warps.size(); w++) block.warps[w].existing = lanes_below(count - w * 32);
  permutation(block.order, count, order);
}

}  // namespace emulator
