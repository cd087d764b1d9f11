#include "text/tool_calls.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "text/python_json.h"

namespace dvlm {

using nlohmann::ordered_json;

namespace {

const std::string kBegin = kToolCall, kHead = "\n{\"name\": \"", kArguments = "\", \"arguments\": ";
const std::string kEnd = std::string("}\n") + kToolCallEnd;
constexpr std::string_view kNameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
constexpr size_t kLongestName = 64;

// Bytes at the end of `text` that may begin `what`.
size_t begun(std::string_view text, std::string_view what) {
  for (size_t size = std::min(text.size(), what.size() - 1); size > 0; --size)
    if (text.substr(text.size() - size) == what.substr(0, size)) return size;
  return 0;
}

Tool read_tool(const ordered_json& given, size_t number) {
  const auto refuse = [&](std::string_view why) { fail("tool {}: {}", number, why); };
  if (!given.is_object() || given.value("type", ordered_json()) != "function" ||
      !given.contains("function") || !given["function"].is_object())
    refuse("it must be {\"type\": \"function\", \"function\": {...}}");
  const ordered_json& function = given["function"];
  static const std::set<std::string> kKnown = {"name", "description", "parameters", "strict"};
  for (const auto& [key, value] : function.items())
    if (!kKnown.count(key)) refuse(fmt::format("the field \"{}\" is not known", printable(key)));
  for (const auto& [key, value] : given.items())
    if (key != "type" && key != "function")
      refuse(fmt::format("the field \"{}\" is not known", printable(key)));
  Tool out;
  if (function.contains("name") && function["name"].is_string())
    out.name = function["name"].get<std::string>();
  if (!is_tool_name(out.name)) refuse("its \"name\" must be 1 to 64 letters, digits, _, - and .");
  ordered_json parameters = function.value("parameters", ordered_json());
  if (!parameters.is_null() && !parameters.is_object()) refuse("\"parameters\" must be a JSON schema");
  if (parameters.is_object() && parameters.value("type", ordered_json("object")) != "object")
    refuse("\"parameters\" must be the schema of an object");
  if (function.contains("strict") && !function["strict"].is_boolean() && !function["strict"].is_null())
    refuse("\"strict\" must be true or false");
  if (function.contains("description") && !function["description"].is_string() &&
      !function["description"].is_null())
    refuse("\"description\" must be a string");
  out.text = python_json(given);
  const bool none = parameters.is_null() || parameters.empty();
  if (!none) parameters["type"] = "object";  // a reference or a combination may say less
  out.parameters = none ? R"({"type": "object", "properties": {}})" : parameters.dump();
  return out;
}

}  // namespace

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName && name.find_first_not_of(kNameLetters) == name.npos;
}

std::vector<Tool> parse_tools(const ordered_json& tools) {
  constexpr size_t kMost = 128;
  if (!tools.is_array()) fail("tools must be a list");
  if (tools.size() > kMost) fail("there are {} tools, but at most {} are read", tools.size(), kMost);
  std::vector<Tool> out;
  for (const ordered_json& tool : tools) {
    out.push_back(read_tool(tool, out.size() + 1));
    if (std::ranges::count(out, out.back().name, &Tool::name) > 1)
      fail("tool {}: there is another {}", out.size(), out.back().name);
  }
  return out;
}

ToolCallReader::Part ToolCallReader::push(std::string_view text) {
  held_ += text;
  Part out;
  while (advance(out)) {
  }
  return out;
}

// True when there may be more to say about what is held.
bool ToolCallReader::advance(Part& out) {
  switch (where_) {
    case Where::content: {
      // A line end before a call is not content.
      const size_t at = std::min(held_.find("\n" + kBegin), held_.find(kBegin));
      if (at != std::string::npos) {
        out.content += held_.substr(0, at);
        held_.erase(0, held_.find(kBegin) + kBegin.size());
        where_ = Where::head;
        return true;
      }
      const size_t keep = std::max(begun(held_, "\n" + kBegin), begun(held_, kBegin));
      out.content += held_.substr(0, held_.size() - keep);
      held_.erase(0, held_.size() - keep);
      return false;
    }
    case Where::head:
      return read_head(out);
    case Where::arguments: {
      const size_t end = held_.find(kEnd);
      const size_t size = end != std::string::npos ? end : held_.size() - begun(held_, kEnd);
      if (size > 0) out.calls.push_back({calls_ - 1, "", held_.substr(0, size)});
      arguments_ += held_.substr(0, size);
      held_.erase(0, size);
      if (end == std::string::npos) return false;
      held_.erase(0, kEnd.size());
      where_ = Where::behind;
      return true;
    }
    case Where::behind: {
      const size_t next = held_.find(kBegin);
      if (next == std::string::npos) return false;
      held_.erase(0, next + kBegin.size());
      where_ = Where::head;
      return true;
    }
  }
  return false;
}

// Text that only mentions the tag, as far as that shows, is content.
bool ToolCallReader::read_head(Part& out) {
  const std::string_view held = held_;
  const size_t same = std::min(held.size(), kHead.size());
  const size_t end =
      held.size() > kHead.size() ? held.find_first_not_of(kNameLetters, kHead.size()) : held.npos;
  const std::string_view behind = end == held.npos ? std::string_view() : held.substr(end);
  if (held.substr(0, same) != std::string_view(kHead).substr(0, same) || end == kHead.size() ||
      behind.substr(0, kArguments.size()) !=
          std::string_view(kArguments).substr(0, std::min(behind.size(), kArguments.size()))) {
    out.content += kBegin;
    where_ = Where::content;
    return true;
  }
  if (behind.size() < kArguments.size()) return false;
  out.calls.push_back({calls_++, std::string(held.substr(kHead.size(), end - kHead.size())), ""});
  held_.erase(0, end + kArguments.size());
  arguments_.clear();
  where_ = Where::arguments;
  return true;
}

ToolCallReader::Part ToolCallReader::finish() {
  Part out;
  // The head of a call that is cut off says nothing to anybody.
  if (where_ == Where::content) out.content = held_;
  // What was held back began what stands behind a call, where its arguments are whole.
  const bool whole = nlohmann::json::accept(arguments_);
  if (where_ == Where::arguments && !whole && !held_.empty()) out.calls.push_back({calls_ - 1, "", held_});
  held_.clear();
  return out;
}

}  // namespace dvlm
