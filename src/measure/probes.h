// What this machine can do right now: measured beside whatever is compared with it, because shared machines
// drift.
#pragma once
#include "core/thread_pool.h"

namespace dvlm::probes {

// Bytes per second that all threads read from an array of a GiB, one stream each; best of `trials`.
double read_bandwidth(ThreadPool& pool, int trials = 5);

// Multiplications and additions per second of all threads on registers alone, with what linear layers use for
// BF16: AMX tiles, AVX-512's dot products of pairs or its f32 multiply-adds; 0 without AVX-512. Best of
// `trials`.
double multiply_rate(ThreadPool& pool, int trials = 5);

}  // namespace dvlm::probes
