#include "text/tokenizer_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/utf8.h"
#include "text/pretokenizer.h"

namespace dvlm {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{256} << 20;
constexpr int64_t kMaxTokens = int64_t{1} << 22;  // Qwen2.5 has 151,666
constexpr size_t kMaxAddedTokens = 65536;
constexpr size_t kMaxTokenBytes = 4096;

// GPT-2's table: printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and up.
struct ByteTable {
  std::array<char32_t, 256> code{};
  std::array<int, 0x144> byte{};
  ByteTable() {
    byte.fill(-1);
    char32_t next = 256;
    for (unsigned value = 0; value < 256; ++value) {
      const bool itself = (value >= 33 && value <= 126) || (value >= 161 && value <= 172) || value >= 174;
      code[value] = itself ? value : next++;
      byte[code[value]] = static_cast<int>(value);
    }
  }
};

const ByteTable& byte_table() {
  static const ByteTable table;
  return table;
}

// The bytes that a vocabulary entry stands for: inverse of the GPT-2 byte table, or the text itself when a
// character of it is not in the table (Hugging Face's ByteLevel decoder does the same).
std::string bytes_of_token_text(std::string_view text) {
  const ByteTable& table = byte_table();
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = next_utf8(text, at);
    if (!c.valid || c.code >= table.byte.size() || table.byte[c.code] < 0) return std::string(text);
    bytes += static_cast<char>(static_cast<unsigned char>(table.byte[c.code]));
    at += c.length;
  }
  return bytes;
}

std::string shown(const json& value) {
  return printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 200);
}

// Collects the vocabulary from one file format or the other.
class Reader {
 public:
  explicit Reader(const fs::path& folder) : folder_(folder) {}

  TokenizerFiles read() {
    if (fs::exists(folder_ / "tokenizer.json"))
      read_tokenizer_json();
    else
      read_vocab_and_merges();
    read_extra_added_tokens();
    finish();
    return std::move(files_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: {}", file_.string(), fmt::format(format, std::forward<Args>(args)...));
  }

  template <class... Args>
  [[noreturn]] void unsupported(fmt::format_string<Args...> format, Args&&... args) const {
    refuse("{}; dvlm reads byte-level BPE tokenizers of the Qwen2 family only",
           fmt::format(format, std::forward<Args>(args)...));
  }

  void read_tokenizer_json() {
    file_ = folder_ / "tokenizer.json";
    const json root = read_json(file_, kMaxFileBytes);
    if (!root.is_object() || !root.contains("model") || !root["model"].is_object())
      refuse("has no \"model\" object; it is not a tokenizer.json");
    check_pipeline(root);
    check_model(root["model"]);
    const json& model = root["model"];
    if (!model.contains("vocab") || !model.contains("merges")) refuse("has no vocabulary or no merges");
    read_vocabulary(model["vocab"]);
    read_merges(model["merges"]);
    const json added = root.value("added_tokens", json::array());
    if (!added.is_array()) refuse("\"added_tokens\" is not a list");
    for (const json& token : added) {
      if (!token.is_object() || !token.contains("id")) refuse("an added token has no id: {}", shown(token));
      add_token(token["id"], token);
    }
  }

  static bool is_byte_level(const json& step) {
    return step.is_object() && step.value("type", json()) == "ByteLevel" &&
           step.value("add_prefix_space", json()) != true;
  }

  void check_pipeline(const json& root) const {
    const json normalizer = root.value("normalizer", json());
    if (normalizer != json{{"type", "NFC"}})
      unsupported("the normalizer is {} instead of NFC", shown(normalizer));
    const json pre = root.value("pre_tokenizer", json());
    const json steps = pre.is_object() ? pre.value("pretokenizers", json()) : json();
    if (!steps.is_array() || steps.size() != 2 || !steps[0].is_object() || !is_byte_level(steps[1]) ||
        steps[1].value("use_regex", json(true)) != false)
      unsupported("the pre-tokenizer is {}", shown(pre));
    const json& split = steps[0];
    const json pattern = split.value("pattern", json());
    if (split.value("type", json()) != "Split" || split.value("behavior", json()) != "Isolated" ||
        split.value("invert", json(false)) != false || pattern != json{{"Regex", kPretokenPattern}})
      unsupported("the pre-tokenisation pattern is {}", shown(split));
    const json post = root.value("post_processor", json());
    if (!post.is_null() && !is_byte_level(post)) unsupported("the post-processor is {}", shown(post));
    const json decoder = root.value("decoder", json());
    if (!decoder.is_object() || decoder.value("type", json()) != "ByteLevel")
      unsupported("the decoder is {}", shown(decoder));
  }

  void check_model(const json& model) const {
    if (model.value("type", json("BPE")) != "BPE") unsupported("the model type is {}", shown(model["type"]));
    const auto is_off = [&](const char* key) {
      const json value = model.value(key, json());
      return value.is_null() || value == false || value == 0.0 ||
             (value.is_string() && value.get_ref<const std::string&>().empty());
    };
    for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                            "fuse_unk", "byte_fallback", "ignore_merges"})
      if (!is_off(key)) unsupported("the model sets \"{}\" to {}", key, shown(model[key]));
  }

  TokenId checked_id(const json& value, std::string_view text) const {
    if (!value.is_number_integer() || value < 0 || value >= kMaxTokens)
      refuse("token \"{}\" has the id {}, expected an integer from 0 to {}", printable(text), shown(value),
             kMaxTokens - 1);
    return value.get<TokenId>();
  }

  void place(TokenId id, const std::string& text) {
    if (text.empty() || text.size() > kMaxTokenBytes)
      refuse("token {} has {} bytes of text, expected 1 to {}", id, text.size(), kMaxTokenBytes);
    const auto at = static_cast<size_t>(id);
    if (at >= files_.bytes.size()) files_.bytes.resize(at + 1);
    if (!files_.bytes[at].empty()) refuse("two tokens have the id {}", id);
    files_.bytes[at] = bytes_of_token_text(text);
  }

  void read_vocabulary(const json& vocabulary) {
    if (!vocabulary.is_object() || vocabulary.empty()) refuse("has no vocabulary");
    if (static_cast<int64_t>(vocabulary.size()) > kMaxTokens)
      refuse("has {} tokens, too many", vocabulary.size());
    ids_.reserve(vocabulary.size());
    for (const auto& [text, value] : vocabulary.items()) {
      const TokenId id = checked_id(value, text);
      place(id, text);
      ids_.emplace(text, id);
    }
    for (unsigned value = 0; value < 256; ++value) {
      std::string text;
      append_utf8(text, byte_table().code[value]);
      const auto found = ids_.find(text);
      if (found == ids_.end()) unsupported("no token stands for the byte {:#04x}", value);
      files_.byte_tokens[value] = found->second;
    }
  }

  TokenId known(const std::string& text, size_t rank) const {
    const auto found = ids_.find(text);
    if (found == ids_.end())
      refuse("merge {} names \"{}\", which is not in the vocabulary", rank, printable(text));
    return found->second;
  }

  void add_merge(const std::string& left, const std::string& right) {
    const size_t rank = files_.merges.size();
    if (static_cast<int64_t>(rank) >= kMaxTokens) refuse("has more than {} merges", kMaxTokens);
    files_.merges.push_back({known(left, rank), known(right, rank), known(left + right, rank)});
  }

  void add_merge_line(const std::string& line) {
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
      refuse("merge {} is \"{}\", expected two tokens", files_.merges.size(), printable(line));
    add_merge(line.substr(0, space), line.substr(space + 1));
  }

  void read_merges(const json& merges) {
    if (!merges.is_array()) refuse("has no list of merges");
    files_.merges.reserve(merges.size());
    for (const json& merge : merges) {
      if (merge.is_string())
        add_merge_line(merge.get<std::string>());
      else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
        add_merge(merge[0].get<std::string>(), merge[1].get<std::string>());
      else
        refuse("merge {} is {}, expected two tokens", files_.merges.size(), shown(merge));
    }
  }

  void read_vocab_and_merges() {
    file_ = folder_ / "vocab.json";
    if (!fs::exists(file_))
      fail("{} has neither tokenizer.json nor vocab.json; is it a model folder?", folder_.string());
    read_vocabulary(read_json(file_, kMaxFileBytes));
    file_ = folder_ / "merges.txt";
    const std::string text = read_file(file_, kMaxFileBytes);
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      std::string line = text.substr(at, end - at);
      if (line.ends_with('\r')) line.pop_back();
      const bool is_header = at == 0 && line.starts_with("#version");
      if (!line.empty() && !is_header) add_merge_line(line);
      at = end + 1;
    }
    const json config = optional_json("tokenizer_config.json");
    const json name = config.value("tokenizer_class", json("Qwen2Tokenizer"));
    if (name != "Qwen2Tokenizer" && name != "Qwen2TokenizerFast")
      unsupported("tokenizer_class is {}", shown(name));
  }

  // The file's object, or an empty one when there is no such file; later messages name it.
  json optional_json(const char* name) {
    if (!fs::exists(folder_ / name)) return json::object();
    file_ = folder_ / name;
    json value = read_json(file_, kMaxFileBytes);
    if (!value.is_object()) refuse("is not a JSON object");
    return value;
  }

  void read_extra_added_tokens() {
    const json config = optional_json("tokenizer_config.json");
    const json tokens = config.value("added_tokens_decoder", json::object());
    if (!tokens.is_object()) refuse("\"added_tokens_decoder\" is not an object");
    for (const auto& [id, token] : tokens.items()) {
      if (!token.is_object() || !token.value("content", json()).is_string())
        refuse("added token {} has no content", printable(id));
      if (added_.contains(token["content"].get<std::string>())) continue;
      const bool is_number =
          !id.empty() && id.size() < 10 && id.find_first_not_of("0123456789") == std::string::npos;
      add_token(is_number ? json(std::stoll(id)) : json(id), token);
    }
    const std::set<std::string> special = texts_of_special_tokens();
    const json more = optional_json("added_tokens.json");
    for (const auto& [text, id] : more.items()) {
      const bool is_special = special.contains(text);
      if (!added_.contains(text))
        add_token(id, {{"content", text}, {"special", is_special}, {"normalized", !is_special}});
    }
  }

  std::set<std::string> texts_of_special_tokens() {
    std::set<std::string> texts;
    const auto take = [&](const json& value) {
      const json text = value.is_object() ? value.value("content", json()) : value;
      if (text.is_string()) texts.insert(text.get<std::string>());
    };
    const json map = optional_json("special_tokens_map.json");
    for (const auto& [key, value] : map.items()) {
      if (value.is_array())
        for (const json& item : value) take(item);
      else
        take(value);
    }
    return texts;
  }

  void add_token(const json& id, const json& token) {
    const json content = token.value("content", json());
    if (!content.is_string()) refuse("an added token has no content: {}", shown(token));
    AddedTokenRule rule;
    rule.token.text = content.get<std::string>();
    rule.token.id = checked_id(id, rule.token.text);
    const auto flag = [&](const char* key) {
      const json value = token.value(key, json(false));
      if (!value.is_boolean())
        refuse("added token \"{}\": \"{}\" is not true or false", printable(rule.token.text), key);
      return value.get<bool>();
    };
    rule.token.special = flag("special");
    rule.normalized = flag("normalized");
    rule.lstrip = flag("lstrip");
    rule.rstrip = flag("rstrip");
    if (flag("single_word")) unsupported("added token \"{}\" is single_word", printable(rule.token.text));
    if (!added_.insert(rule.token.text).second)
      refuse("added token \"{}\" appears twice", printable(rule.token.text));
    if (added_.size() > kMaxAddedTokens) refuse("has more than {} added tokens", kMaxAddedTokens);
    const auto in_vocabulary = ids_.find(rule.token.text);
    if (in_vocabulary == ids_.end())
      place(rule.token.id, rule.token.text);
    else if (in_vocabulary->second != rule.token.id)
      refuse("added token \"{}\" has the id {}, but {} in the vocabulary", printable(rule.token.text),
             rule.token.id, in_vocabulary->second);
    files_.added_tokens.push_back(std::move(rule));
  }

  // Plain text must never give an added token: then text that a user types cannot control the model.
  void finish() {
    std::sort(files_.added_tokens.begin(), files_.added_tokens.end(),
              [](const auto& a, const auto& b) { return a.token.id < b.token.id; });
    std::set<TokenId> controls;
    for (const auto& rule : files_.added_tokens) controls.insert(rule.token.id);
    const auto check = [&](TokenId id) {
      if (controls.contains(id)) unsupported("plain text can yield the added token {}", id);
    };
    for (const TokenId id : files_.byte_tokens) check(id);
    for (const Merge& merge : files_.merges) check(merge.result);
  }

  fs::path folder_;
  fs::path file_;  // what messages name
  TokenizerFiles files_;
  std::unordered_map<std::string, TokenId> ids_;  // of the vocabulary, by its text
  std::set<std::string> added_;
};

}  // namespace

TokenizerFiles read_tokenizer_files(const fs::path& folder) {
  return Reader(folder).read();
}

}  // namespace dvlm
