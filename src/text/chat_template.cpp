// Recognises the chat templates that render_chat reproduces.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "text/chat.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxTemplateBytes = size_t{64} << 20;

// FNV-1a of templates known to render as render_chat does; tools/fixtures/make_text_fixtures.py compares them
// through Jinja. Every character outside the tags is output, so a template is known by its exact text or not
// at all.
constexpr std::array<uint64_t, 2> kKnownTemplates = {
    0x71242F76359E71E8,  // Qwen2-VL, Qwen2.5-VL and the Fast-dVLM checkpoints made from them
    0x7573C197E14B42B5,  // examples/tiny/model/chat_template.jinja
};

void check_text(const fs::path& path, std::string_view text) {
  const uint64_t fingerprint = template_fingerprint(text);
  if (!is_known_template(fingerprint))
    fail(
        "{} holds a chat template other than Qwen2.5-VL's (fingerprint {:016x}), which would be rendered "
        "wrongly; use the chat_template.jinja of the vision-language model",
        path.string(), fingerprint);
}

// The template of a JSON file: a string, or a list of named ones of which "default" counts. Empty when there
// is none.
std::string template_in_json(const fs::path& path) {
  const json root = read_json(path, kMaxTemplateBytes);
  json found = root.is_object() ? root.value("chat_template", json()) : json();
  if (found.is_array()) {
    const auto is_default = [](const json& item) {
      return item.is_object() && item.value("name", json()) == "default";
    };
    const auto at = std::find_if(found.begin(), found.end(), is_default);
    found = at == found.end() ? json(0) : at->value("template", json(0));
  }
  if (found.is_null()) return {};
  if (!found.is_string())
    fail("{}: \"chat_template\" is neither a string nor a list with a default", path.string());
  return found.get<std::string>();
}

}  // namespace

uint64_t template_fingerprint(std::string_view text) {
  std::string read;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    read += text[i] == '\r' ? '\n' : text[i];
  }
  if (read.ends_with('\n')) read.pop_back();
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : read) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

bool is_known_template(uint64_t fingerprint) {
  return std::find(kKnownTemplates.begin(), kKnownTemplates.end(), fingerprint) != kKnownTemplates.end();
}

void check_chat_template(const fs::path& folder) {
  // The first of the three wins, as in transformers.
  const fs::path jinja = folder / "chat_template.jinja";
  if (fs::exists(jinja)) return check_text(jinja, read_file(jinja, kMaxTemplateBytes));
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const fs::path path = folder / name;
    if (!fs::exists(path)) continue;
    const std::string text = template_in_json(path);
    if (!text.empty()) return check_text(path, text);
  }
}

}  // namespace dvlm
