// Test files of questions from anywhere, and answers of a model against theirs: a score is a share.
#include "evaluate/examples.h"

#include <optional>

#include "evaluate/metrics.h"
#include "json_mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  std::vector<Example> examples;
  fuzz::accepts([&] { examples = read_examples(file.path(), 4); });
  DVLM_ASSERT(examples.size() <= 4);
  for (const Example& example : examples) {
    DVLM_ASSERT(!example.conversation.empty());
    for (const Message& message : example.conversation)
      for (const ContentPart& part : message.content)
        for (const Metric metric :
             {Metric::exact, Metric::boxes, Metric::sentences, Metric::relaxed, Metric::anls}) {
          const double share = score(metric, example.answer, part.text);
          DVLM_ASSERT(share >= 0 && share <= 1);
        }
  }
  return 0;
}
