// Records of training data from anywhere: what becomes of a line fits together and keeps the limit of tokens.
#include "train/dataset.h"

#include <algorithm>

#include "json_mutator.h"
#include "tiny_model.h"

namespace {

using namespace dvlm;

void check(const Sample& sample, const SampleContext& context) {
  const auto size = std::ssize(sample.ids);
  DVLM_ASSERT(size <= context.max_length && std::ssize(sample.positions) == size);
  DVLM_ASSERT(!sample.ids.empty() || (sample.visuals.empty() && sample.answers.empty()));
  for (const Span& answer : sample.answers)
    DVLM_ASSERT(answer.begin >= 0 && answer.begin < answer.end && answer.end <= size);
  for (const RegionToken& region : sample.regions)
    DVLM_ASSERT(region.at >= 0 && region.at < size && !region.words.empty());
  const int merged = context.config.vision.spatial_merge_size * context.config.vision.spatial_merge_size;
  int64_t tokens = 0;
  for (const Patches& visual : sample.visuals) tokens += visual.grid.patches() / merged;
  DVLM_ASSERT(std::ranges::count_if(sample.ids, [&](TokenId id) {
                return id == context.config.image_token || id == context.config.video_token;
              }) == tokens);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  const SampleContext context{fuzz::tokenizer(), fuzz::config(), answer_markers(fuzz::tokenizer()), 300};
  fuzz::accepts([&] {
    const Dataset dataset(
        {DataSource{.path = file.path().string(), .box_format = size % 2 ? "norm1000" : "text"}});
    for (int64_t i = 0; i < std::min<int64_t>(dataset.size(), 4); ++i)
      fuzz::accepts([&] {
        DVLM_ASSERT(dataset.length(i, context) >= 0 && dataset.length(i, context) <= context.max_length);
        check(dataset.load(i, context), context);
      });
  });
  return 0;
}
