// What the simulator and the kernel libraries it loads have in common. Both are compiled apart, so these layouts are their
// contract (a change renames every cached library).
#pragma once
namespace msl {
struct Thread {           // where one stands in its grid: written by the simulator before a fiber starts
  unsigned position[3];   // in the grid
  unsigned group[3];      // the threadgroup's position in the grid of threadgroups
  unsigned local[3];      // in the threadgroup
  unsigned actual[3];     // threads of this threadgroup (fewer at the grid's edge)
  unsigned requested[3];  // group_size
  unsigned threads[3];    // of the grid
  unsigned groups[3];     // threadgroups in the grid
  unsigned origin[3];     // always zero
  unsigned index, lane, simdgroup, simdgroups;
};

struct Runtime {
  void (*threadgroup_barrier)(int line);
  void (*simdgroup_barrier)(int line);
  // Deposits `size` (<= 64) bytes and waits until every active lane of this simdgroup is here; returns the deposits, 64 bytes
  // apart by lane, valid until this lane's next simd operation. *active: the lanes that took part; *lane: this one.
  const void* (*simd_exchange)(const void* value, int size, int line, unsigned* active, unsigned* lane);
  char* (*threadgroup_base)();  // start of this threadgroup's memory
};

struct ThreadgroupVariable {
  const char* owner;  // mangled name of a struct local to the kernel, hence of the kernel
  unsigned long size, align, offset;
  ThreadgroupVariable* next;
};
}  // namespace msl
