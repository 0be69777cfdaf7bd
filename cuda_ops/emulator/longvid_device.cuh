// The device on the host: runs the CUDA kernels of this project as plain C++, one block at a time,
// every thread a fiber. For tests on machines without a GPU; slow.
//
// It is strict where a GPU is silent: asynchronous copies land only when waited for, shared memory
// starts as NaN, threads run in a chosen order (LONGVID_EMULATOR_ORDER = forward, backward or
// mixed), and a barrier that not all threads reach ends the program.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <tuple>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define LONGVID_DYNAMIC_SHARED(name) unsigned char* name = longvid::emulator::shared_memory()

struct dim3 {
  unsigned x, y, z;
  dim3(int64_t x, unsigned y = 1, unsigned z = 1) : x(unsigned(x)), y(y), z(z) {}
};
struct uint4 {
  uint32_t x, y, z, w;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

enum cudaError_t { cudaSuccess = 0 };
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

struct EmulatedIndex {
  unsigned x = 0, y = 0, z = 0;
};
inline EmulatedIndex threadIdx, blockIdx, blockDim;

namespace longvid {
namespace emulator {

constexpr size_t kSharedBytes = 256 * 1024;
constexpr size_t kStackBytes = 128 * 1024;
constexpr int kMaxThreads = 1024;

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Copy {
  void* to;
  const void* from;
  bool valid;
};

// Contexts start a fiber; from then on it is left and resumed by jumps, which make no system call.
struct Fiber {
  ucontext_t start;
  jmp_buf here;
  bool started = false;
  State state = State::kDone;
  std::vector<std::vector<Copy>> groups;  // committed copies, oldest first
  std::vector<Copy> open;
};

// What the lanes of a warp hand in for one collective instruction, and what they get back.
struct Exchange {
  uint64_t in[32][8];
  uint64_t out[32][8];
};

struct Block {
  std::vector<Fiber> fibers = std::vector<Fiber>(kMaxThreads);
  std::vector<Exchange> exchanges = std::vector<Exchange>(kMaxThreads / 32);
  std::vector<char> stacks = std::vector<char>(kStackBytes * kMaxThreads);
  jmp_buf scheduler;
  std::function<void()> body;
  std::function<void(Exchange&)> collective[kMaxThreads / 32];
  int num_threads = 0;
  int current = 0;
  int counted = 0;
  int count_result = 0;
};

inline Block& block() {
  static Block the_block;
  return the_block;
}

inline unsigned char* shared_memory() {
  alignas(128) static unsigned char memory[kSharedBytes];
  return memory;
}

[[noreturn]] inline void fail(const char* what) {
  fprintf(stderr, "emulator: %s (block %u, thread %d)\n", what, blockIdx.x, block().current);
  abort();
}

inline void wait_at(State state) {
  Block& b = block();
  b.fibers[b.current].state = state;
  if (!_setjmp(b.fibers[b.current].here)) _longjmp(b.scheduler, 1);
}

inline void run_fiber() {
  Block& b = block();
  b.body();
  b.fibers[b.current].state = State::kDone;
  _longjmp(b.scheduler, 1);
}

// Run the current fiber until it waits or is done.
__attribute__((noinline)) inline void resume(Block& b) {
  Fiber& fiber = b.fibers[b.current];
  if (_setjmp(b.scheduler)) return;
  if (fiber.started) _longjmp(fiber.here, 1);
  fiber.started = true;
  setcontext(&fiber.start);
}

// Let a barrier go once every thread of the block, or of the warp, stands at it.
inline void release(Block& b) {
  int live = 0, at_block = 0;
  for (int t = 0; t < b.num_threads; ++t) {
    live += b.fibers[t].state != State::kDone;
    at_block += b.fibers[t].state == State::kAtBlockBarrier;
  }
  if (live && at_block == live) {
    b.count_result = b.counted;
    b.counted = 0;
    for (int t = 0; t < b.num_threads; ++t)
      if (b.fibers[t].state == State::kAtBlockBarrier) b.fibers[t].state = State::kReady;
  }
  for (int w = 0; w < (b.num_threads + 31) / 32; ++w) {
    int waiting = 0;
    for (int t = 32 * w; t < 32 * w + 32; ++t)
      waiting += t < b.num_threads && b.fibers[t].state == State::kAtWarpBarrier;
    if (waiting != 32) continue;
    b.collective[w](b.exchanges[w]);
    for (int t = 32 * w; t < 32 * w + 32; ++t) b.fibers[t].state = State::kReady;
  }
}

inline int chosen_thread(const char* order, int turn, int round, int num_threads) {
  if (order && !strcmp(order, "backward")) return num_threads - 1 - turn;
  if (order && !strcmp(order, "mixed"))  // an odd stride visits each of 2^n threads once
    return int((int64_t(turn) * (2 * (round % 61) + 1) + 7 * round) % num_threads);
  return turn;
}

inline void run_block(int num_threads, const std::function<void()>& body) {
  Block& b = block();
  b.num_threads = num_threads;
  b.body = body;
  const char* order = getenv("LONGVID_EMULATOR_ORDER");
  memset(shared_memory(), 0xff, kSharedBytes);
  for (int t = 0; t < num_threads; ++t) {
    Fiber& fiber = b.fibers[t];
    fiber.state = State::kReady;
    fiber.groups.clear();
    fiber.open.clear();
    fiber.started = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = b.stacks.data() + kStackBytes * t;
    fiber.start.uc_stack.ss_size = kStackBytes;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, run_fiber, 0);
  }
  for (int round = 0;; ++round) {
    int ran = 0, live = 0;
    for (int turn = 0; turn < num_threads; ++turn) {
      const int t = chosen_thread(order, turn, round, num_threads);
      if (b.fibers[t].state != State::kReady) continue;
      b.current = t;
      threadIdx.x = unsigned(t);
      resume(b);
      ++ran;
    }
    for (int t = 0; t < num_threads; ++t) live += b.fibers[t].state != State::kDone;
    if (!live) return;
    if (!ran) fail("some threads wait at a barrier that others never reach");
    release(b);
  }
}

// Run `compute` once for the warp when all 32 lanes have handed in `in`.
template <class Compute>
inline Exchange& collect(const uint64_t* in, int count, Compute compute) {
  Block& b = block();
  const int warp = b.current / 32, lane = b.current % 32;
  for (int i = 0; i < count; ++i) b.exchanges[warp].in[lane][i] = in[i];
  b.collective[warp] = compute;
  wait_at(State::kAtWarpBarrier);
  return b.exchanges[warp];
}

inline float float_of(uint64_t bits) {
  const uint32_t low = uint32_t(bits);
  float value;
  memcpy(&value, &low, sizeof value);
  return value;
}
inline uint64_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <class V>
inline V shuffle(V value, const std::function<int(int)>& source) {
  uint64_t in = 0;
  memcpy(&in, &value, sizeof value);
  const int lane = block().current % 32;
  Exchange& exchange = collect(&in, 1, [source](Exchange& e) {
    for (int l = 0; l < 32; ++l) e.out[l][0] = e.in[source(l)][0];
  });
  V result;
  memcpy(&result, &exchange.out[lane][0], sizeof result);
  return result;
}

}  // namespace emulator

struct F32 {
  using Type = float;
  static constexpr int kVector = 4;
};
struct Bf16 {
  using Type = uint16_t;
  static constexpr int kVector = 8;
};
struct F16 {
  using Type = uint16_t;
  static constexpr int kVector = 8;
};

}  // namespace longvid

#include "../cpu/convert.h"

inline void __syncthreads() { longvid::emulator::wait_at(longvid::emulator::State::kAtBlockBarrier); }
inline int __syncthreads_count(bool predicate) {
  longvid::emulator::block().counted += predicate;
  __syncthreads();
  return longvid::emulator::block().count_result;
}
template <class V>
V __shfl_xor_sync(unsigned, V value, int step) {
  return longvid::emulator::shuffle(value, [step](int lane) { return lane ^ step; });
}
template <class V>
V __shfl_up_sync(unsigned, V value, int step) {
  return longvid::emulator::shuffle(value,
                                    [step](int lane) { return lane < step ? lane : lane - step; });
}
template <class V>
V __ldg(const V* p) {
  return *p;
}
inline int atomicAdd(int* p, int value) {
  const int before = *p;
  *p += value;
  return before;
}
inline float __uint_as_float(uint32_t bits) { return longvid::bits_float(bits); }
inline uint32_t __float_as_uint(float value) { return longvid::float_bits(value); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

namespace longvid {

template <class T>
inline float to_float(typename T::Type bits) {
  if constexpr (T::kVector == 4)
    return bits;
  else
    return std::is_same_v<T, Bf16> ? bf16_to_float(bits) : f16_to_float(bits);
}
template <class T>
inline typename T::Type from_float(float value) {
  if constexpr (T::kVector == 4)
    return value;
  else
    return std::is_same_v<T, Bf16> ? float_to_bf16(value) : float_to_f16(value);
}

inline void copy_async(void* shared, const void* global, bool valid) {
  emulator::Block& b = emulator::block();
  if (reinterpret_cast<uintptr_t>(shared) % 16 || reinterpret_cast<uintptr_t>(global) % 16)
    emulator::fail("an asynchronous copy is not aligned to 16 bytes");
  b.fibers[b.current].open.push_back({shared, global, valid});
}
inline void copy_commit() {
  emulator::Fiber& fiber = emulator::block().fibers[emulator::block().current];
  fiber.groups.push_back(fiber.open);
  fiber.open.clear();
}
template <int kPending>
inline void copy_wait() {
  emulator::Fiber& fiber = emulator::block().fibers[emulator::block().current];
  while (int(fiber.groups.size()) > kPending) {
    for (const emulator::Copy& copy : fiber.groups.front()) {
      if (copy.valid)
        memcpy(copy.to, copy.from, 16);
      else
        memset(copy.to, 0, 16);
    }
    fiber.groups.erase(fiber.groups.begin());
  }
}

inline void load_matrices(uint32_t (&r)[4], const void* shared) {
  if (reinterpret_cast<uintptr_t>(shared) % 16)
    emulator::fail("a matrix row is not aligned to 16 bytes");
  const uint64_t in = reinterpret_cast<uintptr_t>(shared);
  const int lane = emulator::block().current % 32;
  emulator::Exchange& exchange = emulator::collect(&in, 1, [](emulator::Exchange& e) {
    for (int l = 0; l < 32; ++l)
      for (int i = 0; i < 4; ++i) {
        const char* row = reinterpret_cast<const char*>(uintptr_t(e.in[8 * i + l / 4][0]));
        uint32_t pair;
        memcpy(&pair, row + 4 * (l % 4), sizeof pair);
        e.out[l][i] = pair;
      }
  });
  for (int i = 0; i < 4; ++i) r[i] = uint32_t(exchange.out[lane][i]);
}

template <class T>
inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t b0,
                         const uint32_t b1) {
  const uint64_t in[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const int lane = emulator::block().current % 32;
  emulator::Exchange& exchange = emulator::collect(in, 6, [](emulator::Exchange& e) {
    const auto element = [](uint64_t pair, int odd) {
      return to_float<T>(typename T::Type(odd ? uint32_t(pair) >> 16 : uint32_t(pair) & 0xffffu));
    };
    for (int l = 0; l < 32; ++l)
      for (int u = 0; u < 4; ++u) {
        const int row = l / 4 + u / 2 * 8, column = 2 * (l % 4) + u % 2;
        float sum = 0.0f;
        for (int k = 0; k < 16; ++k) {
          const int from_a = row % 8 * 4 + k % 8 / 2, part_a = row / 8 + k / 8 * 2;
          const int from_b = column * 4 + k % 8 / 2, part_b = 4 + k / 8;
          sum = fmaf(element(e.in[from_a][part_a], k % 2), element(e.in[from_b][part_b], k % 2),
                     sum);
        }
        e.out[l][u] = emulator::bits_of(sum);
      }
  });
  for (int u = 0; u < 4; ++u) c[u] += emulator::float_of(exchange.out[lane][u]);
}

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes,
                   void*, Arguments... arguments) {
  if (shared_bytes > emulator::kSharedBytes) emulator::fail("too much shared memory");
  const std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
  blockDim.x = unsigned(threads);
  for (unsigned x = 0; x < grid.x; ++x) {
    blockIdx.x = x;
    emulator::run_block(threads, [&] { std::apply(kernel, values); });
  }
  return cudaSuccess;
}

}  // namespace longvid
