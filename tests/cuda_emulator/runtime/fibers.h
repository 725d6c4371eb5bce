// Fibers: stacks that take turns on one OS thread. One CUDA thread runs on one fiber until it has to wait.
//
// Switching costs a few nanoseconds on x86-64 (save six registers, change the stack, restore six) and about twenty
// times that with ucontext, which makes two system calls per switch and is used on all other processors.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#if !defined(__x86_64__) || defined(EMULATOR_UCONTEXT)
#include <ucontext.h>
#endif

namespace emulator {

constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t STACK_GUARD = 64 << 10;
constexpr size_t PAGE = 4096;

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)

using Context = void*;  // the stack pointer; the registers lie on the stack

extern "C" void emulator_switch(Context* save, Context to);
__asm__(R"(
  .text
  .type emulator_switch, @function
emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");

inline void switch_context(Context& save, Context& to) { emulator_switch(&save, to); }

inline void prepare_context(Context& context, char* stack_low, size_t bytes, void (*entry)()) {
  // What emulator_switch pops: six registers, then the address to return to; above it, where a caller's would be, 0.
  void** frame = (void**)(stack_low + bytes) - 8;
  for (int i = 0; i < 8; i++) frame[i] = nullptr;
  frame[6] = (void*)entry;
  context = frame;
}

#else

using Context = ucontext_t;

inline void switch_context(Context& save, Context& to) { swapcontext(&save, &to); }

inline void prepare_context(Context& context, char* stack_low, size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack_low;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

#endif

struct Fiber {
  Context context;
  char* mapping;  // unreadable pages, then the stack, which grows down towards it

  Fiber(void (*entry)(), int number) {
    mapping = (char*)mmap(nullptr, STACK_GUARD + STACK_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) abort();
    mprotect(mapping, STACK_GUARD, PROT_NONE);
    // Stacks that all started at the same offset in a page would compete for the same cache lines.
    prepare_context(context, mapping + STACK_GUARD, STACK_BYTES - number % 32 * 128, entry);
  }
  ~Fiber() { munmap(mapping, STACK_GUARD + STACK_BYTES); }
  Fiber(const Fiber&) = delete;

  bool overflowed_at(const char* address) const { return address >= mapping && address < mapping + STACK_GUARD; }
};

}  // namespace emulator
