#include "evaluate/examples.h"

#include <array>

#include "checkpoint/json.h"
#include "core/error.h"
#include "data/record_file.h"

namespace dvlm {

namespace fs = std::filesystem;

std::vector<Example> read_examples(const fs::path& file, size_t limit) {
  constexpr std::array<std::string_view, 4> kOwnKeys = {"answer", "type", "metric", "long"};
  const RecordFile records(file);
  std::vector<Example> examples;
  for (int64_t i = 0; i < records.size() && (limit == 0 || examples.size() < limit); ++i) {
    try {
      const nlohmann::json record = records.object(i);
      const JsonObject object(record, "the record");
      Example example;
      example.id = object.string("id", std::to_string(i + 1));
      example.type = object.string("type", "answer");
      if (!object.has("answer")) fail("the key \"answer\" is missing");
      example.answer = object.string("answer", "");
      example.metric = metric_from_name(object.string("metric", "exact"));
      example.is_long = object.boolean("long", example.answer.size() > kLongAnswer);
      example.conversation = records.conversation(i, record, kOwnKeys);
      examples.push_back(std::move(example));
    } catch (const Error& error) {
      fail("{}: {}", records.name(i), error.what());
    }
  }
  return examples;
}

}  // namespace dvlm
