// What `dvlm train` is told, and the regions of a line of training data: what is taken writes itself down
// and is taken again.
#include "train/config.h"

#include <cmath>

#include "json_files.h"
#include "json_mutator.h"
#include "train/regions.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  fuzz::Input input(data, size);
  const fuzz::json document = fuzz::document_of(input);
  std::optional<TrainConfig> config;
  if (fuzz::accepts([&] { config = parse_train_config(document); })) {
    validate(*config);
    DVLM_ASSERT(std::isfinite(config->learning_rate) && std::isfinite(config->loss_weights.noisy));
    DVLM_ASSERT(to_json(parse_train_config(to_json(*config))) == to_json(*config));
  }
  fuzz::accepts([&] {
    for (const Region& region : parse_regions(document, 2))
      DVLM_ASSERT(region.image >= 0 && region.image < 2 && region.x1 < region.x2 && region.y1 < region.y2);
  });
  return 0;
}
