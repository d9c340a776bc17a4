// 1 / sum of squared windows at position s of the untrimmed signal: a head, one period of the steady part, a tail.
struct MspEnvelope {
  int head;        // positions before this one are listed singly
  int tail;        // and from this one on
  int end;         // nothing reaches this position and those behind it
  int hop_length;

  int entry(int s, int phase) const {  // of the table, for s before the end; phase: s modulo hop_length
    return s < head ? s : s < tail ? head + phase : head + hop_length + (s - tail);
  }

  float at(const device float* table, int s, int phase) const {
    return s < end ? table[entry(s, phase)] : 0.0f;
  }
};
