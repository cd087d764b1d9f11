#include "evaluate/examples.h"

#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace fs = std::filesystem;

std::vector<Example> read_examples(const fs::path& file, size_t limit) {
  std::vector<Example> examples;
  read_lines(file, [&](int number, std::string_view line) {
    if (line.find_first_not_of(" \t\r") == line.npos) return true;
    const std::string where = fmt::format("{}, line {}", file.string(), number);
    const nlohmann::json json = parse_json(line, where);
    const JsonObject object(json, where);
    Example example;
    example.id = object.string("id", std::to_string(number));
    example.type = object.string("type", "answer");
    if (!object.has("answer")) fail("{}: the key \"answer\" is missing", where);
    example.answer = object.string("answer", "");
    if (!object.has("messages")) fail("{}: the key \"messages\" is missing", where);
    example.conversation = parse_messages(*object.find("messages"));
    resolve_paths(example.conversation, file.parent_path());
    examples.push_back(std::move(example));
    return limit == 0 || examples.size() < limit;
  });
  if (examples.empty()) fail("{} holds no examples", file.string());
  return examples;
}

}  // namespace dvlm
