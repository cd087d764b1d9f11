// Samples of calibration data from anywhere, and what a model is asked for them: one of both forms, within
// the limit of tokens.
#include "quantize/calibration.h"

#include <algorithm>

#include "json_mutator.h"
#include "tiny_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  constexpr int kLength = 20;
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    const auto samples =
        read_samples({.sources = {file.path()}, .samples = 3, .length = kLength, .seed = size});
    DVLM_ASSERT(!samples.empty() && samples.size() <= 3);
    for (const CalibrationSample& sample : samples) {
      DVLM_ASSERT(sample.text.empty() != sample.conversation.empty());
      const Request request = request_of(sample, fuzz::tokenizer(), kLength);
      DVLM_ASSERT(request.input_ids.empty() != request.conversation.empty() &&
                  request.input_ids.size() <= kLength);
      DVLM_ASSERT(std::ranges::all_of(request.input_ids, [](TokenId id) { return id >= 0 && id < 259; }));
    }
  });
  return 0;
}
