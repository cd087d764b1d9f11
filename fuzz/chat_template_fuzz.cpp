// The chat template of a model folder from anywhere: none but those that dvlm renders is accepted, by the
// text that transformers would take.
#include "text/chat.h"

#include "json_files.h"
#include "json_mutator.h"

namespace {

using namespace dvlm;
using fuzz::json;

constexpr auto kFiles = {"chat_template.jinja", "chat_template.json", "tokenizer_config.json"};

// The text that counts in an accepted folder; empty when there is none.
std::string template_of(const json& document) {
  if (document.contains("chat_template.jinja")) return fuzz::text_in(document["chat_template.jinja"]);
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    if (!document.contains(name)) continue;
    const json file = json::parse(fuzz::text_in(document[name]));
    json found = file.is_object() && file.contains("chat_template") ? file["chat_template"] : json();
    if (found.is_array())
      for (const json& item : json(found))
        if (found.is_array() && item.is_object() && item.contains("name") && item["name"] == "default")
          found = item.at("template");
    if (found.is_string() && !found.get_ref<const std::string&>().empty()) return found;
  }
  return "";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  fuzz::Input input(data, size);
  const json document = fuzz::document_of(input);
  fuzz::put_files(folder, document, kFiles);
  if (!fuzz::accepts([&] { check_chat_template(folder.path()); })) return 0;
  const std::string text = template_of(document);
  DVLM_ASSERT((text.empty() && !document.contains("chat_template.jinja")) ||
              is_known_template(template_fingerprint(text)));
  return 0;
}
