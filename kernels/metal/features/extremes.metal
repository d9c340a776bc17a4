// The largest (x) and the least (y) of features. A NaN counts as the largest, as in torch.amax, and not as the least.

#define MSP_NO_EXTREMES float2(-INFINITY, INFINITY)

inline float2 msp_extremes(float2 a, float2 b) {
  return float2(b.x > a.x || b.x != b.x ? b.x : a.x, b.y < a.y ? b.y : a.y);
}

// Those of what the threads of a threadgroup hold, in found[0]. found: one for each of them.
inline void msp_find_extremes(threadgroup float2* found, float2 extremes, int threads, int thread_index) {
  threadgroup_barrier(mem_flags::mem_threadgroup);
  found[thread_index] = extremes;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  int left = threads;  // those whose extremes are not in another's yet
  while (left > 1) {
    const int half_left = (left + 1) / 2;
    if (thread_index + half_left < left) {
      found[thread_index] = msp_extremes(found[thread_index], found[thread_index + half_left]);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    left = half_left;
  }
}
