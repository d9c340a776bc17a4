// Where one thread stands in its grid: written by the simulator before a fiber starts, read by the generated launchers.
// Both sides are compiled apart, so this layout is their contract (a change renames every cached library).
#pragma once
namespace msl {
struct Thread {
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
}  // namespace msl
