#include "work_bar.h"

namespace dvlm {

void WorkBar::hear(const WorkProgress& work) {
  const bool same = bar_ && written_ < 0 && work.stage == first_.stage && work.picture == first_.picture &&
                    work.total == first_.total && work.done > first_.done;
  if (!same) begin(work);
  notice(work);
  bar_->update(work.done);
  if (work.done >= work.total) bar_.reset();
}

void WorkBar::begin(const WorkProgress& work) {
  bar_.reset();  // its line ends before the next one begins
  const char* unit = work.stage == Stage::prompt    ? ", tokens"
                     : work.stage == Stage::picture ? ", layers"
                                                    : "";
  bar_.emplace(title_of(work) + unit, work.total);
  first_ = work;
  begun_ = Clock::now();
  written_ = -1;
}

void WorkBar::notice(const WorkProgress& work) {
  constexpr int64_t kLayers = 2;
  const int64_t seen = work.done - first_.done;
  if (noticed_ || work.stage != Stage::picture || work.video || seen < kLayers) return;
  const double expected = seconds_since(begun_) * static_cast<double>(work.total) / static_cast<double>(seen);
  if (expected <= kLongSeconds) return;
  noticed_ = true;
  bar_->say(expensive_picture(work.image, config_));
}

void WorkBar::write(const std::string& title, size_t characters) {
  if (!bar_ || written_ < 0) {
    bar_.reset();
    bar_.emplace(title, 0);
    written_ = 0;
  }
  bar_->update(written_ += static_cast<int64_t>(characters));
}

}  // namespace dvlm
