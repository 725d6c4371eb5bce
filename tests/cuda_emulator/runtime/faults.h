// While a kernel runs, the processor's faults become errors that name the thread and what it did.
//
// The handler does not return to the faulting instruction: it ends the launch by switching to the scheduler, as fail()
// does anywhere. SA_NODEFER keeps the signal deliverable although its handler never returns.
#pragma once
#include <signal.h>
#include <string.h>

#include "block.h"
#include "memory.h"
#include "shared.h"

namespace emulator {

inline const Arguments* running_arguments;

inline const char* access_kind(void* context) {
#if defined(__x86_64__)
  return ((ucontext_t*)context)->uc_mcontext.gregs[REG_ERR] & 2 ? "write" : "read";
#else
  return "access";
#endif
}

[[noreturn]] inline void explain_access(const char* address, const char* kind) {
  for (const auto& fiber : block.fibers)
    if (fiber->overflowed_at(address)) fail("stack overflow: more than %zu KB of local variables", STACK_BYTES >> 10);
  if (address < (char*)0x10000) fail("out-of-bounds %s through a null pointer", kind);
  if (const SharedMemory* memory = shared_memory_near(address))
    fail("out-of-bounds %s of shared memory, at byte %td of the %zu bytes of %s", kind, address - memory->begin,
         memory->bytes, memory->name);
  const Region* region = running_arguments->near(address);
  if (!region) fail("out-of-bounds %s at %p, which is near no argument", kind, address);
  if (address < region->copy) fail("out-of-bounds %s of %s, %td bytes before its start", kind, region->name, region->copy - address);
  fail("out-of-bounds %s of %s, %td bytes past its end", kind, region->name, address - region->copy_end());
}

inline void on_fault(int signal, siginfo_t* info, void* context) {
  if (signal == SIGFPE) fail("integer division by zero");
  if (signal == SIGILL) fail("index outside an array of fixed size");  // the trap of -fsanitize=bounds
  if (info->si_code == SI_KERNEL) fail("misaligned access to a vector, or an address that cannot be one");
  explain_access((const char*)info->si_addr, access_kind(context));
}

// Installs the handler, on a stack of its own because the fiber's stack may have overflowed, and restores the old one.
class FaultHandler {
 public:
  FaultHandler() {
    static char handler_stack[64 << 10];
    stack_t stack{};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof handler_stack;
    sigaltstack(&stack, &stack_before_);
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 4; i++) sigaction(SIGNALS[i], &action, &before_[i]);
  }
  ~FaultHandler() {
    for (int i = 0; i < 4; i++) sigaction(SIGNALS[i], &before_[i], nullptr);
    sigaltstack(&stack_before_, nullptr);
  }
  FaultHandler(const FaultHandler&) = delete;

 private:
  static constexpr int SIGNALS[4] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  struct sigaction before_[4];
  stack_t stack_before_;
};

}  // namespace emulator
