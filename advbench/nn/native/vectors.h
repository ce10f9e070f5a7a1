// Vectors of this processor, memory that threads keep, and loops over all threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "xla.h"

namespace {

using Int = int64_t;

#if !defined(LANES) && defined(__AVX512F__)
#define LANES 16
#elif !defined(LANES) && defined(__AVX__)
#define LANES 8
#elif !defined(LANES)
#define LANES 4
#endif
#if defined(__AVX512VL__)  // 32 registers instead of 16
constexpr int kLanes = LANES, kRows = 12;
#else
constexpr int kLanes = LANES, kRows = 6;
#endif
typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes), aligned(1), may_alias));
using Byte = uint8_t;

#define ALWAYS inline __attribute__((always_inline))

inline Vec load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Unaligned*>(p) = v; }

// Eight bytes to eight integers and back: compilers take these conversions apart into single bytes.
#if defined(__AVX2__) && LANES == 8
inline Ints load(const Byte* p) { return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)); }
inline void store(Byte* p, Ints v) {
  const __m128i low = _mm256_castsi256_si128((__m256i)v), high = _mm256_extracti128_si256((__m256i)v, 1);
  const __m128i words = _mm_packs_epi32(low, high);
  _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(words, words));
}
#else
inline Ints load(const Byte* p) { return __builtin_convertvector(*(const Bytes*)p, Ints); }
inline void store(Byte* p, Ints v) { *(Bytes*)p = __builtin_convertvector(v, Bytes); }
#endif

// Memory that a thread keeps from call to call, one piece for each purpose.
enum Purpose { kPadded, kKernel, kLeft, kRight, kProduct, kSums, kZeros };
template <Purpose>
float* scratch(Int floats) {
  struct alignas(64) Line { float f[16]; };
  thread_local std::vector<Line> lines;
  if (Int(lines.size()) * 16 < floats) lines.resize((floats + 15) / 16);
  return lines.data()->f;
}

// The same for pointers.
template <int which>
auto pointers(Int count) {
  using Pointer = std::conditional_t<which == 0, const float*, float*>;
  thread_local std::vector<Pointer> kept;
  if (Int(kept.size()) < count) kept.resize(count);
  return kept.data();
}

// Calls f(0) ... f(n - 1) on the pool's threads and on this one. A helper that starts late finds nothing left to do.
template <class F>
void parallel(ffi::ThreadPool* pool, Int n, const F& f) {
  struct State { std::atomic<Int> next{0}, done{0}; };
  auto state = std::make_shared<State>();
  std::function<void()> work = [state, n, &f] {
    for (Int i; (i = state->next++) < n; state->done++) f(i);
  };
  const Int threads = pool ? std::min(pool->num_threads(), n) : 1;
  for (Int helper = 1; helper < threads; helper++) pool->Schedule(std::function(work));
  work();
  while (state->done < n) std::this_thread::yield();
}

}  // namespace
