// Runs kernels on the CPU as Metal would: the threads of a threadgroup are fibers, threadgroups are spread over the cores.
// Compiled once per machine. Knows nothing of Metal text or Python: a kernel is a function of (Thread, buffers).
// Not modelled: memory ordering (the fibers of a group never run at the same time), and so no data race inside a group
// is seen unless another order of its threads, chosen by a seed, changes the result.
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>
#include "runtime.h"
#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

using msl::Thread;

extern "C" struct Launch {  // filled by simulator.py
  void (*kernel)(const Thread&, void* const*);
  void* const* buffers;
  unsigned threads[3], group[3];
  unsigned long memory;  // bytes of threadgroup memory
  unsigned long long seed;
  int permute, poison, guard;
  void* fault;  // where a guarded kernel reached outside of its buffers
};

namespace {

constexpr unsigned kWidth = 32;      // threads per simdgroup
constexpr size_t kSlot = 64;         // bytes a lane may deposit
constexpr size_t kStack = 128 * 1024;

// --- switching ------------------------------------------------------------------------------------------------------
// Fibers stay on one OS thread and save only what the calling convention says a call keeps.

#if defined(__x86_64__)
extern "C" void msl_switch(void** save, void* to) asm("msl_switch");  // this name on every system
asm(".text\n.globl msl_switch\nmsl_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  retq\n");
void* prepare(char* top, void (*entry)()) {
  void** sp = (void**)top;  // 16-byte aligned; a function is entered with sp = 8 mod 16
  *--sp = nullptr;
  *--sp = (void*)entry;
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  return sp;
}
#elif defined(__aarch64__)
extern "C" void msl_switch(void** save, void* to) asm("msl_switch");
asm(".text\n.globl msl_switch\n.p2align 2\nmsl_switch:\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n  stp x25, x26, [sp, #48]\n"
    "  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
    "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n  ldp x25, x26, [sp, #48]\n"
    "  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n  ret\n");
void* prepare(char* top, void (*entry)()) {
  void** sp = (void**)(top - 160);
  memset(sp, 0, 160);
  sp[11] = (void*)entry;  // x30
  return sp;
}
#else
void msl_switch(void** save, void* to) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, (ucontext_t*)to);
}
void* prepare(char* top, void (*entry)()) {
  ucontext_t* context = (ucontext_t*)(top - sizeof(ucontext_t) - 64);
  getcontext(context);
  context->uc_stack.ss_sp = top - kStack;
  context->uc_stack.ss_size = kStack - sizeof(ucontext_t) - 128;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}
#endif

// --- stacks ---------------------------------------------------------------------------------------------------------
// Kept between launches: mapping 1024 of them takes a millisecond. The lock is held over a fork, so a child can launch.

std::mutex stack_lock;
std::vector<char*> free_stacks;

char* pop(std::vector<char*>& stacks) {
  char* top = stacks.back();
  stacks.pop_back();
  return top;
}

char* take_stack() {
  {
    std::lock_guard<std::mutex> hold(stack_lock);
    if (!free_stacks.empty()) return pop(free_stacks);
  }
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  void* base = mmap(nullptr, kStack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  mprotect(base, page, PROT_NONE);
  return (char*)base + page + kStack;
}

__attribute__((constructor)) void hold_lock_over_fork() {
  pthread_atfork([] { stack_lock.lock(); }, [] { stack_lock.unlock(); }, [] { stack_lock.unlock(); });
}

// --- one threadgroup ------------------------------------------------------------------------------------------------

enum class State : unsigned char { fresh, ready, simd, barrier, done };

struct Fiber {
  void* sp;
  char* stack;
  Thread thread;
  State state;
  int line;
  unsigned active;
  int size;
};

struct Worker {
  const Launch* launch;
  std::vector<Fiber> fibers;
  std::vector<char*> stacks;       // last in, first out: a hot stack is used again at once
  std::vector<char> deposits;      // one slot per thread
  std::vector<char> results;       // what a simdgroup reads after an exchange
  std::vector<char> memory;
  std::vector<unsigned> lanes, simdgroups;  // the order in which they run
  Fiber* current = nullptr;
  void* scheduler = nullptr;
  uint64_t random;
  std::string error;
  void* fault = nullptr;
};

thread_local Worker* worker;

#include "faults.h"

void yield_as(State state, int line) {
  Worker* w = worker;
  w->current->state = state;
  w->current->line = line;
  msl_switch(&w->current->sp, w->scheduler);
}

void threadgroup_barrier(int line) { yield_as(State::barrier, line); }
void simdgroup_barrier(int line) {
  worker->current->size = 0;
  yield_as(State::simd, line);
}
const void* simd_exchange(const void* value, int size, int line, unsigned* active, unsigned* lane) {
  Worker* w = worker;
  Fiber* f = w->current;
  f->size = size;
  memcpy(&w->deposits[f->thread.index * kSlot], value, (size_t)size);
  yield_as(State::simd, line);
  *active = f->active;
  *lane = f->thread.lane;
  return &w->results[(size_t)f->thread.simdgroup * kWidth * kSlot];
}
char* threadgroup_base() { return (char*)(((uintptr_t)worker->memory.data() + 63) & ~(uintptr_t)63); }

const msl::Runtime runtime = {threadgroup_barrier, simdgroup_barrier, simd_exchange, threadgroup_base};

void fiber_main() {
  Worker* w = worker;
  Fiber* f = w->current;
  w->launch->kernel(f->thread, w->launch->buffers);
  yield_as(State::done, 0);
}

uint64_t next_random(Worker& w) {  // xorshift64*
  w.random ^= w.random >> 12;
  w.random ^= w.random << 25;
  w.random ^= w.random >> 27;
  return w.random * 0x2545F4914F6CDD1DULL;
}

void shuffle(Worker& w, std::vector<unsigned>& order) {
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[next_random(w) % i]);
}

std::string place(const Fiber& f) {
  char text[96];
  snprintf(text, sizeof text, "thread (%u, %u, %u)", f.thread.position[0], f.thread.position[1], f.thread.position[2]);
  return text;
}

bool resume(Worker& w, Fiber& f) {
  if (f.state == State::fresh) {
    f.stack = w.stacks.empty() ? take_stack() : pop(w.stacks);
    if (!f.stack) {
      w.error = "out of memory for the stacks of the simulated threads";
      return false;
    }
    f.sp = prepare(f.stack, fiber_main);
  }
  f.state = State::ready;
  w.current = &f;
  msl_switch(&w.scheduler, f.sp);
  if (f.state == State::done) {
    w.stacks.push_back(f.stack);
    f.stack = nullptr;
  }
  if (w.fault) w.error = "outside of every buffer: " + place(f);
  return !w.fault;
}

// Completes one simd operation: that of the lanes waiting at the lowest line, so that lanes that diverged (a shorter
// loop, the other branch) meet again further down. Called when every lane is blocked; false when none waits at one.
bool complete_simd(Worker& w, unsigned simdgroup, unsigned count) {
  Fiber* f = &w.fibers[simdgroup * kWidth];
  unsigned n = std::min(kWidth, count - simdgroup * kWidth);
  int line = -1;
  for (unsigned l = 0; l < n; ++l)
    if (f[l].state == State::simd && (line < 0 || f[l].line < line)) line = f[l].line;
  if (line < 0) return false;
  char* results = &w.results[(size_t)simdgroup * kWidth * kSlot];
  if (w.launch->poison) memset(results, 0xFF, kWidth * kSlot);
  unsigned active = 0;
  for (unsigned l = 0; l < n; ++l) {
    if (f[l].state != State::simd || f[l].line != line) continue;
    active |= 1u << l;
    if (f[l].size) memcpy(results + l * kSlot, &w.deposits[f[l].thread.index * kSlot], (size_t)f[l].size);
  }
  for (unsigned l = 0; l < n; ++l)
    if (active >> l & 1) {
      f[l].active = active;
      f[l].state = State::ready;
    }
  return true;
}

bool run_group(Worker& w, const unsigned group[3], const unsigned groups[3]) {
  const Launch& launch = *w.launch;
  unsigned actual[3];
  for (int d = 0; d < 3; ++d) actual[d] = std::min(launch.group[d], launch.threads[d] - group[d] * launch.group[d]);
  unsigned count = actual[0] * actual[1] * actual[2];
  unsigned simdgroups = (count + kWidth - 1) / kWidth;
  if (w.fibers.size() < count) w.fibers.resize(count);
  for (unsigned i = 0; i < count; ++i) {
    Fiber& f = w.fibers[i];
    Thread& t = f.thread;
    t.local[0] = i % actual[0];
    t.local[1] = i / actual[0] % actual[1];
    t.local[2] = i / actual[0] / actual[1];
    for (int d = 0; d < 3; ++d) {
      t.position[d] = group[d] * launch.group[d] + t.local[d];
      t.group[d] = group[d];
      t.actual[d] = actual[d];
      t.requested[d] = launch.group[d];
      t.threads[d] = launch.threads[d];
      t.groups[d] = groups[d];
      t.origin[d] = 0;
    }
    t.index = i;
    t.lane = i % kWidth;
    t.simdgroup = i / kWidth;
    t.simdgroups = simdgroups;
    f.state = State::fresh;
  }
  if (launch.poison) memset(w.memory.data(), 0xFF, w.memory.size());
  w.simdgroups.resize(simdgroups);
  for (unsigned s = 0; s < simdgroups; ++s) w.simdgroups[s] = s;

  for (;;) {
    if (launch.permute) shuffle(w, w.simdgroups);
    for (unsigned s : w.simdgroups) {
      unsigned first = s * kWidth, n = std::min(kWidth, count - first);
      w.lanes.resize(n);
      for (unsigned l = 0; l < n; ++l) w.lanes[l] = first + l;
      do {
        if (launch.permute) shuffle(w, w.lanes);
        for (unsigned i : w.lanes)
          if (w.fibers[i].state <= State::ready && !resume(w, w.fibers[i])) return false;
      } while (complete_simd(w, s, count));
    }
    // Every thread is done or at a threadgroup barrier now.
    Fiber* waiting = nullptr;
    for (unsigned i = 0; i < count; ++i) {
      Fiber& f = w.fibers[i];
      if (f.state != State::barrier) continue;
      if (waiting && waiting->line != f.line) {
        w.error = "barrier divergence: " + place(*waiting) + " waits at the threadgroup_barrier in line " +
                  std::to_string(waiting->line) + ", " + place(f) + " at the one in line " + std::to_string(f.line);
        return false;
      }
      if (!waiting) waiting = &f;
    }
    if (!waiting) return true;
    for (unsigned i = 0; i < count; ++i)
      if (w.fibers[i].state == State::barrier) w.fibers[i].state = State::ready;
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const msl::Runtime* msl_runtime() { return &runtime; }

// Gives the threadgroup variables of one kernel their places; returns the bytes they take together. A variable's owner
// is the name of a class local to the kernel, 'Z' + the kernel's mangled name + 'E...'.
extern "C" __attribute__((visibility("default"))) unsigned long msl_assign(void* kernel, msl::ThreadgroupVariable* all) {
  Dl_info info;
  if (!dladdr(kernel, &info) || !info.dli_sname) return 0;
  std::string symbol = info.dli_sname;  // _Z3foo...
  std::string prefix = symbol.substr(symbol.compare(0, 2, "_Z") == 0 ? 1 : 0) + "E";
  unsigned long total = 0;
  for (; all; all = all->next) {
    const char* owner = all->owner[0] == '*' ? all->owner + 1 : all->owner;
    if (strncmp(owner, prefix.c_str(), prefix.size()) != 0) continue;
    unsigned long align = std::max(all->align, 16ul);
    total = (total + align - 1) / align * align;
    all->offset = total;
    total += all->size;
  }
  return (total + 15) / 16 * 16;
}

// Returns 0, or 1 with the reason in `error`.
extern "C" __attribute__((visibility("default"))) int msl_launch(Launch* launch, char* error, size_t room) {
  unsigned groups[3];
  unsigned long total = 1;
  for (int d = 0; d < 3; ++d) {
    groups[d] = (launch->threads[d] - 1) / launch->group[d] + 1;
    total *= groups[d];
  }
  unsigned long size = (unsigned long)launch->group[0] * launch->group[1] * launch->group[2];
  std::atomic<unsigned long> next{0};
  std::atomic<bool> stop{false};
  std::mutex first_error;
  FaultGuard guard(launch->guard);
  auto work = [&] {
    Worker w;
    w.launch = launch;
    w.memory.assign(launch->memory + 64, 0);
    w.deposits.resize(size * kSlot);
    w.results.resize((size + kWidth - 1) / kWidth * kWidth * kSlot);
    w.fibers.reserve(size);
    worker = &w;
    for (unsigned long g; !stop && (g = next++) < total;) {
      if (launch->permute && launch->seed & 1) g = total - 1 - g;
      w.random = (launch->seed + 1) * 0x9E3779B97F4A7C15ULL ^ (g + 1) * 0xBF58476D1CE4E5B9ULL;
      if (!w.random) w.random = 1;
      unsigned group[3] = {(unsigned)(g % groups[0]), (unsigned)(g / groups[0] % groups[1]),
                           (unsigned)(g / groups[0] / groups[1])};
      if (!run_group(w, group, groups) && !stop.exchange(true)) {
        std::lock_guard<std::mutex> hold(first_error);
        snprintf(error, room, "%s", w.error.c_str());
        launch->fault = w.fault;
      }
    }
    worker = nullptr;
    std::lock_guard<std::mutex> hold(stack_lock);
    for (Fiber& f : w.fibers)
      if (f.state != State::done && f.state != State::fresh && f.stack) free_stacks.push_back(f.stack);
    free_stacks.insert(free_stacks.end(), w.stacks.begin(), w.stacks.end());
  };
  // Two mappings per fiber: stay far below Linux's limit of 65530 for a process.
  unsigned long cores = std::max(1u, std::thread::hardware_concurrency());
  unsigned long workers = std::min({cores, total, std::max(1ul, 16384 / size)});
  std::vector<std::thread> threads;
  try {
    for (unsigned long i = 1; i < workers; ++i) threads.emplace_back(work);
  } catch (const std::exception&) {  // no more threads to be had: those that started, and this one, do the work
  }
  work();
  for (std::thread& thread : threads) thread.join();
  return stop ? 1 : 0;
}
