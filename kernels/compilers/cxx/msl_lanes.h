// simd_* and quad_* functions. Every one is a meeting of the lanes that are active together: msl::meeting hides whether they
// meet in the simulator or in a CUDA warp, so that each function is written once. Lanes that are not there, or beyond
// the group's end, give back the caller's own value where Metal leaves the result undefined.
#pragma once

namespace msl {
template <class T> class meeting {
  static_assert(sizeof(T) <= 64, "simd functions move at most 64 bytes a lane");
#if MSL_CUDA
  T own_;

 public:
  uint active, lane;
  MSL_INLINE explicit meeting(const T& value) : own_(value), active(::__activemask()) { asm("mov.u32 %0, %%laneid;" : "=r"(lane)); }
  // What `source` deposited; every active lane calls this together.
  MSL_INLINE T at(uint source) const { return move(source, [this](uint word, uint from) { return ::__shfl_sync(active, word, int(from)); }); }
  MSL_INLINE T across(uint mask) const { return move(mask, [this](uint word, uint m) { return ::__shfl_xor_sync(active, word, int(m)); }); }
  MSL_INLINE T above(uint by) const { return move(by, [this](uint word, uint d) { return ::__shfl_down_sync(active, word, d); }); }
  MSL_INLINE T below(uint by) const { return move(by, [this](uint word, uint d) { return ::__shfl_up_sync(active, word, d); }); }

 private:
  template <class Shuffle> MSL_INLINE T move(uint argument, Shuffle shuffle) const {
    if constexpr (sizeof(T) == 4) return bits<T>(shuffle(bits<uint>(own_), argument));
    else {
      constexpr int n = (sizeof(T) + 3) / 4;
      uint words[n] = {};
      ::memcpy(words, &own_, sizeof(T));
#pragma unroll
      for (int i = 0; i < n; ++i) words[i] = shuffle(words[i], argument);
      T result;
      ::memcpy(&result, words, sizeof(T));
      return result;
    }
  }
#else
  const char* deposits_;

 public:
  uint active, lane;
  MSL_INLINE meeting(const T& value, Line line) { deposits_ = (const char*)runtime.simd_exchange(&value, sizeof(T), line.number, &active, &lane); }
  MSL_INLINE T at(uint source) const { return *(const T*)(deposits_ + 64 * (source < 32 && active >> source & 1 ? source : lane)); }
  MSL_INLINE T across(uint mask) const { return at(lane ^ mask); }
  MSL_INLINE T above(uint by) const { return at(lane + by); }
  MSL_INLINE T below(uint by) const { return at(lane - by); }
#endif
};

// Combines the deposits of the active lanes among `lanes` in their order; `start` where there is none.
template <class Op, class T> MSL_INLINE T in_order(const meeting<T>& m, uint lanes, T start) {
  bool first = true;
  T sum = start;
  for (uint l = 0; l < 32; ++l) {
    if (!(m.active >> l & 1)) continue;
    const T other = m.at(l);  // all active lanes meet here
    if (!(lanes >> l & 1)) continue;
    sum = first ? other : Op::f(sum, other);
    first = false;
  }
  return sum;
}
// Combines the deposits of the active lanes among `lanes`, in the order of lanes unless all 32 are there on NVRTC.
template <class Op, class T> MSL_INLINE T combine(const meeting<T>& m, T own, uint lanes) {
#if MSL_CUDA
  if (m.active == 0xffffffffu) {
    const uint half_size = lanes == 0xffffffffu ? 16u : 2u;
#pragma unroll
    for (uint d = half_size; d > 0; d >>= 1) own = Op::f(own, meeting<T>(own).across(d));
    return own;
  }
#endif
  return in_order<Op>(m, lanes, own);
}
// Of the active lanes among `lanes` below this one (and this one, if inclusive); `start` where there is none.
template <class Op, class T> MSL_INLINE T scan(const meeting<T>& m, T own, uint lanes, bool inclusive, T start) {
#if MSL_CUDA
  if (m.active == 0xffffffffu) {
    const uint size = lanes == 0xffffffffu ? 32u : 4u, place = m.lane & (size - 1u);
    T total = own;
#pragma unroll
    for (uint d = 1; d < 32; d <<= 1) {
      if (d >= size) break;
      const T other = meeting<T>(total).below(d);
      if (place >= d) total = Op::f(other, total);
    }
    if (inclusive) return total;
    const T before = meeting<T>(total).below(1);
    return place == 0 ? start : before;
  }
#endif
  return in_order<Op>(m, lanes & (((inclusive ? 2u : 1u) << m.lane) - 1u), start);
}
struct op_add { template <class T> static MSL_INLINE T f(T a, T b) { return T(a + b); } };
struct op_multiply { template <class T> static MSL_INLINE T f(T a, T b) { return T(a * b); } };
struct op_least { template <class T> static MSL_INLINE T f(T a, T b) { return metal::min(a, b); } };
struct op_greatest { template <class T> static MSL_INLINE T f(T a, T b) { return metal::max(a, b); } };
struct op_and { template <class T> static MSL_INLINE T f(T a, T b) { return T(a & b); } };
struct op_or { template <class T> static MSL_INLINE T f(T a, T b) { return T(a | b); } };
struct op_xor { template <class T> static MSL_INLINE T f(T a, T b) { return T(a ^ b); } };

MSL_INLINE uint whole_simdgroup(uint) { return 0xffffffffu; }
MSL_INLINE uint quad_of(uint lane) { return 15u << (lane & ~3u); }
MSL_INLINE uint first_lane(uint mask) { return uint(trailing_zeros(ulong(mask))); }
}  // namespace msl

namespace metal {
class simd_vote {
 public:
  typedef ulong vote_t;
  MSL_INLINE explicit constexpr simd_vote(vote_t v = 0) : v_(v), active_(0xffffffffu) {}
  MSL_INLINE constexpr simd_vote(vote_t v, uint active) : v_(v), active_(active) {}
  MSL_INLINE explicit constexpr operator vote_t() const { return v_; }
  MSL_INLINE constexpr bool all() const { return (v_ & active_) == active_; }
  MSL_INLINE constexpr bool any() const { return v_ != 0; }

 private:
  vote_t v_;
  uint active_;
};
typedef simd_vote quad_vote;

// name(value), among the lanes that LANES(lane) selects
#define MSL_REDUCTION(name, ...)                                                             \
  template <class A, class R = msl::value_t<A>> MSL_INLINE R name(const A& value MSL_LINE) { \
    const R own = R(value);                                                                  \
    const msl::meeting<R> m{own MSL_PASS_LINE};                                              \
    return __VA_ARGS__;                                                                      \
  }
#define MSL_REDUCTIONS(group, LANES)                                                                               \
  MSL_REDUCTION(group##_sum, msl::combine<msl::op_add>(m, own, LANES(m.lane)))                                     \
  MSL_REDUCTION(group##_product, msl::combine<msl::op_multiply>(m, own, LANES(m.lane)))                            \
  MSL_REDUCTION(group##_min, msl::combine<msl::op_least>(m, own, LANES(m.lane)))                                   \
  MSL_REDUCTION(group##_max, msl::combine<msl::op_greatest>(m, own, LANES(m.lane)))                                \
  MSL_REDUCTION(group##_and, msl::combine<msl::op_and>(m, own, LANES(m.lane)))                                     \
  MSL_REDUCTION(group##_or, msl::combine<msl::op_or>(m, own, LANES(m.lane)))                                       \
  MSL_REDUCTION(group##_xor, msl::combine<msl::op_xor>(m, own, LANES(m.lane)))                                     \
  MSL_REDUCTION(group##_prefix_inclusive_sum, msl::scan<msl::op_add>(m, own, LANES(m.lane), true, own))            \
  MSL_REDUCTION(group##_prefix_exclusive_sum, msl::scan<msl::op_add>(m, own, LANES(m.lane), false, R(0)))          \
  MSL_REDUCTION(group##_prefix_inclusive_product, msl::scan<msl::op_multiply>(m, own, LANES(m.lane), true, own))   \
  MSL_REDUCTION(group##_prefix_exclusive_product, msl::scan<msl::op_multiply>(m, own, LANES(m.lane), false, R(1))) \
  MSL_REDUCTION(group##_broadcast_first, m.at(msl::first_lane(m.active & LANES(m.lane))))
MSL_REDUCTIONS(simd, msl::whole_simdgroup)
MSL_REDUCTIONS(quad, msl::quad_of)
#undef MSL_REDUCTIONS
#undef MSL_REDUCTION

// name(value, argument)
#define MSL_SHUFFLE(name, ...)                                                                         \
  template <class A, class R = msl::value_t<A>> MSL_INLINE R name(const A& value, ushort n MSL_LINE) { \
    const msl::meeting<R> m{R(value) MSL_PASS_LINE};                                                   \
    return __VA_ARGS__;                                                                                \
  }
MSL_SHUFFLE(simd_shuffle, m.at(n))
MSL_SHUFFLE(simd_broadcast, m.at(n))
MSL_SHUFFLE(simd_shuffle_xor, m.across(n))
MSL_SHUFFLE(simd_shuffle_down, m.above(n))
MSL_SHUFFLE(simd_shuffle_up, m.below(n))
MSL_SHUFFLE(simd_shuffle_rotate_down, m.at((m.lane + n) & 31u))
MSL_SHUFFLE(simd_shuffle_rotate_up, m.at((m.lane - n) & 31u))
MSL_SHUFFLE(quad_shuffle, m.at((m.lane & ~3u) + (n & 3u)))
MSL_SHUFFLE(quad_broadcast, m.at((m.lane & ~3u) + (n & 3u)))
MSL_SHUFFLE(quad_shuffle_xor, m.across(n & 3u))
MSL_SHUFFLE(quad_shuffle_down, m.at((m.lane & 3u) + n < 4u ? m.lane + n : m.lane))
MSL_SHUFFLE(quad_shuffle_up, m.at((m.lane & 3u) >= n ? m.lane - n : m.lane))
MSL_SHUFFLE(quad_shuffle_rotate_down, m.at((m.lane & ~3u) + ((m.lane + n) & 3u)))
MSL_SHUFFLE(quad_shuffle_rotate_up, m.at((m.lane & ~3u) + ((m.lane - n) & 3u)))
#undef MSL_SHUFFLE

// The lanes that a shift leaves without a value take it from `filling`, in blocks of `modulo` lanes.
#define MSL_SHUFFLE_AND_FILL(name, op)                                                                            \
  template <class A, class B, class R = msl::value_t<A>>                                                          \
  MSL_INLINE R name(const A& value, const B& filling, ushort delta, ushort modulo = 32 MSL_LINE) {                \
    const msl::meeting<R> m{R(value) MSL_PASS_LINE};                                                              \
    const uint inside = modulo - 1u, block = m.lane & ~inside, wanted = (m.lane & inside) op delta;               \
    const R moved = m.at(wanted < modulo ? block + wanted : m.lane);                                              \
    const msl::meeting<R> f{R(filling) MSL_PASS_LINE};                                                            \
    const R filled = f.at(block + (wanted & inside));                                                             \
    return wanted < modulo ? moved : filled;                                                                      \
  }
MSL_SHUFFLE_AND_FILL(simd_shuffle_and_fill_down, +)
MSL_SHUFFLE_AND_FILL(simd_shuffle_and_fill_up, -)
#undef MSL_SHUFFLE_AND_FILL

MSL_INLINE simd_vote simd_ballot(bool truth MSL_LINE) {
  const msl::meeting<uint> m{uint(truth) MSL_PASS_LINE};
#if MSL_CUDA
  return simd_vote(::__ballot_sync(m.active, truth), m.active);
#else
  uint votes = 0;
  for (uint l = 0; l < 32; ++l)
    if (m.active >> l & 1) votes |= m.at(l) << l;
  return simd_vote(votes, m.active);
#endif
}
MSL_INLINE bool simd_all(bool truth MSL_LINE) {
  return simd_ballot(truth MSL_PASS_LINE).all();
}
MSL_INLINE bool simd_any(bool truth MSL_LINE) {
  return simd_ballot(truth MSL_PASS_LINE).any();
}
MSL_INLINE simd_vote simd_active_threads_mask(MSL_LINE_ONLY) {
  const msl::meeting<uint> m{1u MSL_PASS_LINE};
  return simd_vote(m.active, m.active);
}
MSL_INLINE bool simd_is_first(MSL_LINE_ONLY) {
  const msl::meeting<uint> m{1u MSL_PASS_LINE};
  return m.lane == msl::first_lane(m.active);
}
MSL_INLINE quad_vote quad_ballot(bool truth MSL_LINE) {
  const msl::meeting<uint> m{uint(truth) MSL_PASS_LINE};
  const uint start = m.lane & ~3u;
  uint votes = 0;
  for (uint i = 0; i < 4; ++i) {
    const uint vote = m.at(start + i);
    if (m.active >> (start + i) & 1) votes |= vote << i;
  }
  return quad_vote(votes, m.active >> start & 15u);
}
MSL_INLINE bool quad_all(bool truth MSL_LINE) {
  return quad_ballot(truth MSL_PASS_LINE).all();
}
MSL_INLINE bool quad_any(bool truth MSL_LINE) {
  return quad_ballot(truth MSL_PASS_LINE).any();
}
MSL_INLINE bool quad_is_first(MSL_LINE_ONLY) {
  const msl::meeting<uint> m{1u MSL_PASS_LINE};
  return m.lane == msl::first_lane(m.active & msl::quad_of(m.lane));
}
MSL_INLINE quad_vote quad_active_threads_mask(MSL_LINE_ONLY) {
  const msl::meeting<uint> m{1u MSL_PASS_LINE};
  const uint four = m.active >> (m.lane & ~3u) & 15u;
  return quad_vote(four, four);
}
}  // namespace metal
