#include "evaluate/examples.h"

#include <array>
#include <map>

#include "checkpoint/json.h"
#include "core/data_url.h"
#include "core/error.h"
#include "data/record_file.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

// A text or a whole number; the record's place where it has none.
std::string id_of(const nlohmann::json& record, const std::string& where, int64_t i) {
  const JsonObject object(record, where);
  const nlohmann::json* id = object.find("id");
  if (id != nullptr && id->is_number_integer()) return id->dump();
  return object.string("id", std::to_string(i + 1));
}

Example example_of(const RecordFile& records, int64_t i) {
  constexpr std::array<std::string_view, 4> kOwnKeys = {"answer", "type", "metric", "long"};
  try {
    const nlohmann::json record = records.object(i);
    const JsonObject object(record, "the record");
    Example example;
    example.id = id_of(record, "the record", i);
    example.type = object.string("type", "answer");
    if (!object.has("answer")) fail("the key \"answer\" is missing");
    example.answer = object.string("answer", "");
    example.metric = metric_from_name(object.string("metric", "exact"));
    example.is_long = object.boolean("long", example.answer.size() > kLongAnswer);
    example.conversation = records.conversation(i, record, kOwnKeys);
    if (!example.conversation.empty() && example.conversation.back().role == "assistant")
      fail("it ends with an answer, which would be shown to the model: a test record ends with a question");
    return example;
  } catch (const Error& error) {
    fail("{}: {}", records.name(i), error.what());
  }
}

class ExampleFile : public TestSet {
 public:
  explicit ExampleFile(const fs::path& file) : file_(file), records_(file) {}

  std::string name() const override { return file_.stem().string(); }
  fs::path file() const override { return file_; }
  int64_t size() const override { return records_.size(); }
  std::string id(int64_t i) const override { return id_of(records_.object(i), records_.name(i), i); }

  TestQuestion question(int64_t i) const override {
    Example example = example_of(records_, i);
    check_pictures(i, example.conversation);
    return {std::move(example.id),
            std::move(example.conversation),
            {{"type", example.type},
             {"answer", example.answer},
             {"metric", name_of(example.metric)},
             {"long", example.is_long}}};
  }

 private:
  // A picture that is not there is no question that a model got wrong.
  void check_pictures(int64_t i, const Conversation& conversation) const {
    std::error_code ignored;
    for (const Message& message : conversation)
      for (const ContentPart& part : message.content)
        if (part.type == ContentPart::Type::image && !is_data_url(part.source) &&
            !fs::exists(local_path(part.source), ignored))
          fail("{}: its picture {} is not there", records_.name(i), printable(part.source));
  }

  const fs::path file_;
  const RecordFile records_;
};

}  // namespace

std::vector<Example> read_examples(const fs::path& file, size_t limit) {
  const RecordFile records(file);
  std::vector<Example> examples;
  for (int64_t i = 0; i < records.size() && (limit == 0 || examples.size() < limit); ++i)
    examples.push_back(example_of(records, i));
  return examples;
}

std::unique_ptr<TestSet> open_examples(const fs::path& file) {
  return std::make_unique<ExampleFile>(file);
}

TaskScore score_examples(std::span<const Answered> answers) {
  TaskScore out{.metric = "score"};
  std::map<std::string, TaskScore::Part> types;
  TaskScore::Part short_types{"**all short types**"}, all{"**all**"};
  for (const auto& [row, answer, no_verdict] : answers) {
    const JsonObject question(row, "the question");
    const Metric metric = metric_from_name(question.string("metric", "exact"));
    const double value = score(metric, question.string("answer", ""), answer);
    const std::string type = question.string("type", "answer");
    out.values.push_back(value);
    types[type].name = type;
    add(types[type], value);
    if (!question.boolean("long", false) && metric != Metric::boxes) add(short_types, value);
    add(all, value);
  }
  out.parts = {std::move(all)};
  for (auto& [name, part] : types) out.parts.push_back(std::move(part));
  out.parts.push_back(std::move(short_types));
  for (TaskScore::Part& part : out.parts) finish(part);
  return out;
}

}  // namespace dvlm
