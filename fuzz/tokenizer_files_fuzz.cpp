// The tokenizer of a model folder from anywhere. With one that is read, text decodes to itself in
// normalisation form C, and text that is not parsed never becomes an added token. Missing bytes of the
// vocabulary are added, or few inputs would get beyond them; "text" is what is encoded.
#include "text/tokenizer_files.h"

#include "json_files.h"
#include "json_mutator.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

using namespace dvlm;
using fuzz::json;

constexpr auto kFiles = {"tokenizer.json",        "vocab.json",        "merges.txt",
                         "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"};

void add_bytes(json& vocabulary) {
  constexpr int kFirst = 1000;
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    std::string text;
    append_utf8(text, itself ? byte : next++);
    if (!vocabulary.contains(text)) vocabulary[text] = kFirst + static_cast<int>(byte);
  }
}

void check(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<TokenId> ids = tokenizer.encode(text, ControlTokens::as_text);
  std::set<TokenId> added;
  for (const AddedToken& token : tokenizer.added_tokens()) added.insert(token.id);
  for (const TokenId id : ids) DVLM_ASSERT(id >= 0 && id < tokenizer.size() && !added.contains(id));
  std::string storage;
  const std::string valid = replace_invalid_utf8(text);
  DVLM_ASSERT(tokenizer.decode(ids, true) == to_nfc(valid, storage));
  const std::vector<TokenId> parsed = tokenizer.encode(text, ControlTokens::parse);
  StreamDecoder stream(tokenizer);
  std::string streamed;
  for (const TokenId& id : parsed) streamed += stream.push({&id, 1});
  DVLM_ASSERT(streamed + stream.finish() == tokenizer.decode(parsed, true));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  fuzz::Input input(data, size);
  json document = fuzz::document_of(input);
  if (!document.is_object()) return 0;
  if (json& file = document["tokenizer.json"]; file.is_object() && file.contains("model") &&
                                               file["model"].contains("vocab") &&
                                               file["model"]["vocab"].is_object())
    add_bytes(file["model"]["vocab"]);
  if (document["tokenizer.json"].is_null()) document.erase("tokenizer.json");
  if (document.contains("vocab.json") && document["vocab.json"].is_object())
    add_bytes(document["vocab.json"]);
  fuzz::put_files(folder, document, kFiles);
  const std::string text = document.contains("text") ? fuzz::text_in(document["text"]) : "hello";
  std::optional<Tokenizer> tokenizer;
  if (fuzz::accepts([&] { tokenizer.emplace(folder.path()); })) check(*tokenizer, text);
  return 0;
}
