// The answers to many requests of one engine.
#pragma once
#include <functional>

#include "engine/engine.h"

namespace dvlm {

// Answers the requests request_of(0) .. request_of(count - 1) and gives each answer to `take`, in order. With
// `parallel` above 1 so many are under way at a time and share passes: their texts are the same, their times
// are those of answers beside others. Stops when interrupted(). `on_progress` hears of the work before texts
// begin, and with parallel answers of one of them at a time. Throws Error for a request that cannot be
// answered.
void answer_all(Engine& engine, size_t count, int parallel, const std::function<Request(size_t)>& request_of,
                const std::function<void(size_t, const Answer&)>& take,
                const std::function<void(const WorkProgress&)>& on_progress = {});

}  // namespace dvlm
