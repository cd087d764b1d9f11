#include "train/mask_token.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "text/tokenizer.h"

namespace dvlm {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

void edit(const fs::path& path, const std::function<void(Json&)>& change) {
  if (!fs::exists(path)) return;
  Json content = Json::parse(read_file(path), nullptr, false);
  try {
    change(content);
  } catch (const Json::exception&) {
    fail("{} is not what a tokenizer's file of this name holds: it cannot take the mask token",
         path.string());
  }
  write_file(path, content.dump(2) + "\n");
}

void add_to_special_tokens(Json& file) {
  Json& list = file["additional_special_tokens"];
  if (!list.is_array()) list = Json::array();
  list.push_back(kMaskToken);
}

}  // namespace

void ensure_mask_token(const fs::path& folder, int vocab_size) {
  int id = 0;
  {
    const Tokenizer tokenizer(folder);
    if (tokenizer.find(kMaskToken)) return;
    id = tokenizer.size();
  }
  if (id >= vocab_size)
    fail(
        "the mask token {} would get the id {}, but the model's vocabulary ends at {}: enlarge the embedding "
        "first",
        kMaskToken, id, vocab_size - 1);
  Json token = {{"content", kMaskToken}, {"lstrip", false},      {"normalized", false},
                {"rstrip", false},       {"single_word", false}, {"special", true}};
  edit(folder / "tokenizer_config.json", [&](Json& file) {
    file["added_tokens_decoder"][std::to_string(id)] = token;
    add_to_special_tokens(file);
  });
  edit(folder / "special_tokens_map.json", add_to_special_tokens);
  edit(folder / "added_tokens.json", [&](Json& file) { file[kMaskToken] = id; });
  token["id"] = id;
  edit(folder / "tokenizer.json", [&](Json& file) { file["added_tokens"].push_back(token); });
  if (!Tokenizer(folder).find(kMaskToken))  // none of the files was there to take it
    write_file(folder / "added_tokens.json", Json{{kMaskToken, id}}.dump() + "\n");
  log_info("the tokenizer has no {}: added with the id {}", kMaskToken, id);
}

}  // namespace dvlm
