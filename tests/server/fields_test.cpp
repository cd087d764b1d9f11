// The tables of fields in the documents are those of the code.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "server/request_fields.h"

namespace dvlm {
namespace {

struct FieldTable {
  const char *title, *schema;  // in docs/serving.md, and in docs/openapi.yaml
  FieldRules rules;
};

std::vector<FieldTable> field_tables() {
  return {{"chat completions", "ChatRequest", chat_fields()},
          {"completions", "CompletionRequest", completion_fields()},
          {"responses", "ResponseRequest", response_fields()},
          {"responses' `text`", "ResponseRequest", response_text_fields()},
          {"messages", "MessagesRequest", message_fields()},
          {"generate", "GenerateRequest", generate_fields()},
          {"generate's `sampling_params`", "GenerateRequest", generate_sampling_fields()},
          {"`stream_options`", "Streaming", stream_fields()},
          {"`dvlm`", "Extensions", extension_fields()}};
}

std::string accepted_by(const FieldRule& rule) {
  const std::string accepted = rule.accepted;
  if (accepted.empty()) return "nothing";
  const bool words = accepted.starts_with("any ") || accepted == "true or false";
  return words ? accepted : "`" + accepted + "`";
}

std::string markdown(const FieldTable& table) {
  std::string read, others;
  for (const FieldRule& rule : table.rules) {
    if (!rule.accepted)
      read += fmt::format("{}`{}`", read.empty() ? "" : ", ", rule.name);
    else
      others += fmt::format("| `{}` | {} | {} |\n", rule.name, accepted_by(rule), rule.why);
  }
  return fmt::format(
      "| field of {} | what is accepted | why nothing else is |\n| --- | --- | --- |\n| {} | read | |\n{}",
      table.title, read, others);
}

TEST(Fields, are_those_of_the_documents) {
  const std::string folder = std::string(DVLM_MODELS) + "/../docs/";
  const std::string page = read_file(folder + "serving.md");
  for (const FieldTable& table : field_tables())
    EXPECT_NE(page.find(markdown(table)), std::string::npos) << "docs/serving.md needs this table:\n\n"
                                                             << markdown(table);
}

// Schemas that a schema includes stand before it.
TEST(Fields, are_described) {
  const std::string text = read_file(std::string(DVLM_MODELS) + "/../docs/openapi.yaml");
  const size_t sampling = text.find("\n    Extensions:\n");
  for (const FieldTable& table : field_tables()) {
    const size_t begin = text.find(fmt::format("\n    {}:\n", table.schema));
    ASSERT_NE(begin, std::string::npos) << table.schema;
    size_t end = text.find("\n    ", begin + 1);
    while (end != std::string::npos && text[end + 5] == ' ') end = text.find("\n    ", end + 1);
    const std::string described =
        text.substr(sampling, text.find("\n    ChatRequest:\n") - sampling) + text.substr(begin, end - begin);
    for (const FieldRule& rule : table.rules) {
      if (rule.accepted && *rule.accepted == '\0') continue;
      EXPECT_THAT(described, testing::ContainsRegex(fmt::format("[ {{]{}:", rule.name)))
          << table.schema << " in docs/openapi.yaml";
    }
  }
}

}  // namespace
}  // namespace dvlm
