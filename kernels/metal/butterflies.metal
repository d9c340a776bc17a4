// Complex arithmetic on float2 (x real, y imaginary) and the butterflies of the transform. Every butterfly is a forward DFT (kernel e^{-2 pi i jk / R}) over R values in registers, in natural order;
// the inverse transform swaps real and imaginary parts around it. Constants are rounded from float64.

#include "registers.metal"

inline float2 msp_multiply(float2 a, float2 b) {
  return float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

inline float2 msp_multiply_conjugate(float2 a, float2 b) {  // a * conj(b)
  return float2(a.x * b.x + a.y * b.y, a.y * b.x - a.x * b.y);
}

inline float2 msp_times_minus_i(float2 a) {
  return float2(a.y, -a.x);
}

// The butterfly of radix R, in place. This one is for products of coprime factors, by Good-Thomas: no twiddles, input
// n = B a + A b, output k picks (k mod A, k mod B).
template <int R>
MSP_INLINE void msp_radix(thread float2* v) {
  constexpr int A = R % 4 == 0 ? 4 : R % 2 == 0 ? 2 : 3, B = R / A;
  float2 t[R];
  MSP_UNROLL
  for (int b = 0; b < B; ++b) {
    float2 column[A];
    MSP_UNROLL
    for (int a = 0; a < A; ++a) column[a] = v[(B * a + A * b) % R];
    msp_radix<A>(column);
    MSP_UNROLL
    for (int a = 0; a < A; ++a) t[a * B + b] = column[a];
  }
  MSP_UNROLL
  for (int a = 0; a < A; ++a) msp_radix<B>(t + a * B);
  MSP_UNROLL
  for (int k = 0; k < R; ++k) v[k] = t[(k % A) * B + (k % B)];
}

template <>
MSP_INLINE void msp_radix<2>(thread float2* v) {
  float2 a = v[0];
  v[0] = a + v[1];
  v[1] = a - v[1];
}

template <>
MSP_INLINE void msp_radix<3>(thread float2* v) {
  float2 sum = v[1] + v[2];
  float2 rotated = msp_times_minus_i(v[1] - v[2]);
  float2 middle = v[0] - sum * 0.5f;
  v[0] = v[0] + sum;
  v[1] = middle + rotated * 0.866025403784438647f;
  v[2] = middle - rotated * 0.866025403784438647f;
}

template <>
MSP_INLINE void msp_radix<4>(thread float2* v) {
  float2 a = v[0] + v[2];
  float2 b = v[0] - v[2];
  float2 c = v[1] + v[3];
  float2 d = msp_times_minus_i(v[1] - v[3]);
  v[0] = a + c;
  v[1] = b + d;
  v[2] = a - c;
  v[3] = b - d;
}

template <>
MSP_INLINE void msp_radix<5>(thread float2* v) {
  const float c1 = 0.309016994374947424f, c2 = -0.809016994374947424f;
  const float s1 = 0.951056516295153572f, s2 = 0.587785252292473129f;
  float2 a1 = v[1] + v[4], a2 = v[2] + v[3];
  float2 b1 = v[1] - v[4], b2 = v[2] - v[3];
  float2 m1 = v[0] + a1 * c1 + a2 * c2;
  float2 m2 = v[0] + a1 * c2 + a2 * c1;
  float2 n1 = msp_times_minus_i(b1 * s1 + b2 * s2);
  float2 n2 = msp_times_minus_i(b1 * s2 - b2 * s1);
  v[0] = v[0] + a1 + a2;
  v[1] = m1 + n1;
  v[2] = m2 + n2;
  v[3] = m2 - n2;
  v[4] = m1 - n1;
}

template <>
MSP_INLINE void msp_radix<7>(thread float2* v) {
  const float c1 = 0.623489801858733531f, c2 = -0.222520933956314404f, c3 = -0.900968867902419126f;
  const float s1 = 0.781831482468029809f, s2 = 0.974927912181823607f, s3 = 0.433883739117558120f;
  float2 a1 = v[1] + v[6], a2 = v[2] + v[5], a3 = v[3] + v[4];
  float2 b1 = v[1] - v[6], b2 = v[2] - v[5], b3 = v[3] - v[4];
  float2 m1 = v[0] + a1 * c1 + a2 * c2 + a3 * c3;
  float2 m2 = v[0] + a1 * c2 + a2 * c3 + a3 * c1;
  float2 m3 = v[0] + a1 * c3 + a2 * c1 + a3 * c2;
  float2 n1 = msp_times_minus_i(b1 * s1 + b2 * s2 + b3 * s3);
  float2 n2 = msp_times_minus_i(b1 * s2 - b2 * s3 - b3 * s1);
  float2 n3 = msp_times_minus_i(b1 * s3 - b2 * s1 + b3 * s2);
  v[0] = v[0] + a1 + a2 + a3;
  v[1] = m1 + n1;
  v[2] = m2 + n2;
  v[3] = m3 + n3;
  v[4] = m3 - n3;
  v[5] = m2 - n2;
  v[6] = m1 - n1;
}

template <>
MSP_INLINE void msp_radix<8>(thread float2* v) {
  const float h = 0.707106781186547524f;
  float2 even[4] = {v[0], v[2], v[4], v[6]};
  float2 odd[4] = {v[1], v[3], v[5], v[7]};
  msp_radix<4>(even);
  msp_radix<4>(odd);
  float2 w1 = float2(odd[1].x + odd[1].y, odd[1].y - odd[1].x);
  float2 w2 = msp_times_minus_i(odd[2]);
  float2 w3 = float2(odd[3].y - odd[3].x, -odd[3].x - odd[3].y);
  v[0] = even[0] + odd[0];
  v[4] = even[0] - odd[0];
  v[1] = even[1] + w1 * h;
  v[5] = even[1] - w1 * h;
  v[2] = even[2] + w2;
  v[6] = even[2] - w2;
  v[3] = even[3] + w3 * h;
  v[7] = even[3] - w3 * h;
}

template <>
MSP_INLINE void msp_radix<9>(thread float2* v) {
  float2 a[3] = {v[0], v[3], v[6]};
  float2 b[3] = {v[1], v[4], v[7]};
  float2 c[3] = {v[2], v[5], v[8]};
  msp_radix<3>(a);
  msp_radix<3>(b);
  msp_radix<3>(c);
  const float2 w1 = float2(0.766044443118978035f, -0.642787609686539326f);
  const float2 w2 = float2(0.173648177666930349f, -0.984807753012208059f);
  const float2 w4 = float2(-0.939692620785908384f, -0.342020143325668733f);
  b[1] = msp_multiply(b[1], w1);
  c[1] = msp_multiply(c[1], w2);
  b[2] = msp_multiply(b[2], w2);
  c[2] = msp_multiply(c[2], w4);
  MSP_UNROLL
  for (int k = 0; k < 3; ++k) {
    float2 row[3] = {a[k], b[k], c[k]};
    msp_radix<3>(row);
    v[k] = row[0];
    v[k + 3] = row[1];
    v[k + 6] = row[2];
  }
}

template <>
MSP_INLINE void msp_radix<16>(thread float2* v) {
  const float c = 0.923879532511286756f, s = 0.382683432365089772f, h = 0.707106781186547524f;
  float2 t[16];
  MSP_UNROLL
  for (int b = 0; b < 4; ++b) {
    t[4 * b] = v[b];
    t[4 * b + 1] = v[b + 4];
    t[4 * b + 2] = v[b + 8];
    t[4 * b + 3] = v[b + 12];
    msp_radix<4>(t + 4 * b);
  }
  t[5] = msp_multiply(t[5], float2(c, -s));                            // w^1
  t[6] = float2(t[6].x + t[6].y, t[6].y - t[6].x) * h;                 // w^2
  t[7] = msp_multiply(t[7], float2(s, -c));                            // w^3
  t[9] = float2(t[9].x + t[9].y, t[9].y - t[9].x) * h;                 // w^2
  t[10] = msp_times_minus_i(t[10]);                                    // w^4
  t[11] = float2(t[11].y - t[11].x, -t[11].x - t[11].y) * h;           // w^6
  t[13] = msp_multiply(t[13], float2(s, -c));                          // w^3
  t[14] = float2(t[14].y - t[14].x, -t[14].x - t[14].y) * h;           // w^6
  t[15] = msp_multiply(t[15], float2(-c, s));                          // w^9
  MSP_UNROLL
  for (int k = 0; k < 4; ++k) {
    float2 row[4] = {t[k], t[k + 4], t[k + 8], t[k + 12]};
    msp_radix<4>(row);
    v[k] = row[0];
    v[k + 4] = row[1];
    v[k + 8] = row[2];
    v[k + 12] = row[3];
  }
}
