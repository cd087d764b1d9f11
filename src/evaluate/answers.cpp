#include "evaluate/answers.h"

#include <chrono>
#include <deque>

#include "core/error.h"
#include "core/interrupt.h"
#include "engine/scheduler.h"

namespace dvlm {

namespace {

void answer_alone(Engine& engine, size_t count, const std::function<Request(size_t)>& request_of,
                  const std::function<void(size_t, const Answer&)>& take,
                  const std::function<void(const WorkProgress&)>& on_progress) {
  for (size_t i = 0; i < count; ++i) {
    const Answer answer = engine.generate(request_of(i), {}, interrupted, on_progress);
    if (interrupted()) return;
    take(i, answer);
  }
}

// False when interrupted before its end.
bool wait_for(RequestHandle& handle, const std::function<void(const WorkProgress&)>& on_progress) {
  using namespace std::chrono_literals;
  while (!interrupted()) {
    const RequestHandle::Update update = handle.wait(100ms);
    if (!update.error.empty()) fail("{}", update.error);
    if (update.progress && on_progress) on_progress(*update.progress);
    if (update.done) return true;
  }
  return false;
}

}  // namespace

void answer_all(Engine& engine, size_t count, int parallel, const std::function<Request(size_t)>& request_of,
                const std::function<void(size_t, const Answer&)>& take,
                const std::function<void(const WorkProgress&)>& on_progress) {
  if (parallel <= 1) return answer_alone(engine, count, request_of, take, on_progress);
  const size_t ahead = 2 * static_cast<size_t>(parallel);  // whose images are read while others run
  Scheduler scheduler(engine.generator(), {.max_batch = parallel, .max_waiting = ahead});
  std::deque<std::shared_ptr<RequestHandle>> handles;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    for (; next < count && handles.size() < ahead; ++next)
      handles.push_back(scheduler.submit(request_of(next)));
    if (!wait_for(*handles.front(), on_progress)) return;
    take(i, handles.front()->answer());
    handles.pop_front();
  }
}

}  // namespace dvlm
