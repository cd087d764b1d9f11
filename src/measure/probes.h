// What this machine can do right now: measured beside whatever is compared with it, because shared machines
// drift.
#pragma once
#include "core/thread_pool.h"

namespace dvlm::probes {

// Bytes per second that all threads read from an array of a GiB, one stream each; best of `trials`.
double read_bandwidth(ThreadPool& pool, int trials = 5);

// Multiplications and additions per second of all threads on registers alone, with what linear layers use for
// BF16 (Isa::multiply). Best of `trials`.
double multiply_rate(ThreadPool& pool, int trials = 5);

}  // namespace dvlm::probes
