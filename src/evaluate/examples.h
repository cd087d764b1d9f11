// Test files of one's own: conversations in any layout (data/layouts.h), each with "answer", and if need be
// "type", "metric" and "long".
#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "evaluate/metrics.h"
#include "evaluate/tasks.h"
#include "text/chat.h"

namespace dvlm {

struct Example {
  std::string id, type, answer;  // `type` is a row of the report and means nothing else
  Metric metric = Metric::exact;
  bool is_long = false;  // tokens per pass are measured where answers are long
  Conversation
      conversation;  // images with paths that exist, relative ones resolved against the file's folder
};

// Without "long" an answer above this many bytes is long: about 200 tokens, the bound of Fast-dVLM's paper.
inline constexpr size_t kLongAnswer = 800;

// See data/record_file.h. Throws Error naming file and record. `limit` 0 reads all.
std::vector<Example> read_examples(const std::filesystem::path& file, size_t limit = 0);

// The same as a task, whose records are read when they are asked for.
std::unique_ptr<TestSet> open_examples(const std::filesystem::path& file);

// Of answers to such questions: means of each type, of all types whose answers are short and no boxes, and of
// all.
TaskScore score_examples(std::span<const Answered> answers);

}  // namespace dvlm
