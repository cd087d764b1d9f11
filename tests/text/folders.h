// Model folders that hold only tokenizer files, made for one test.
#pragma once
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/utf8.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

namespace dvlm::test {

using nlohmann::json;

class TempFolder {
 public:
  TempFolder() {
    static std::atomic<int> count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("dvlm-text-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }
  void write(const std::string& name, const json& content) const { write(name, content.dump()); }

 private:
  std::filesystem::path path_;
};

// The printable stand-ins of the 256 bytes, in the order of their token ids in Qwen2's vocabulary.
inline std::vector<std::string> byte_token_texts() {
  std::vector<std::string> printable, others;
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    std::string text;
    append_utf8(text, itself ? byte : next++);
    (itself ? printable : others).push_back(text);
  }
  printable.insert(printable.end(), others.begin(), others.end());
  return printable;
}

// The vocabulary that follows from the merges: bytes first, then what each merge yields.
inline json vocabulary_of(const std::vector<std::string>& merges) {
  json vocabulary = json::object();
  for (const std::string& text : byte_token_texts()) vocabulary[text] = vocabulary.size();
  for (const std::string& merge : merges) {
    std::string text = merge;
    text.erase(text.find(' '), 1);
    vocabulary[text] = vocabulary.size();
  }
  return vocabulary;
}

inline json tokenizer_json(const std::vector<std::string>& merges, const json& added_tokens) {
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", std::string(kPretokenPattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"version", "1.0"},
          {"added_tokens", added_tokens},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", json::array({split, byte_level})}}},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", ""},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary_of(merges)},
            {"merges", merges}}}};
}

inline json added_token(int id, const std::string& text, bool special = true) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// A tokenizer.json of 256 bytes, three merges (he, ll, hell: 256 to 258) and two added tokens (259, 260).
inline json small_tokenizer_json() {
  return tokenizer_json({"h e", "l l", "he ll"},
                        json::array({added_token(259, "<|im_end|>"), added_token(260, "<note>", false)}));
}

inline std::vector<std::string> qwen_merges() {
  std::istringstream text(read_file(DVLM_FIXTURES "/text/qwen2.5/merges.txt"));
  std::vector<std::string> merges;
  for (std::string line; std::getline(text, line);) merges.push_back(line);
  return merges;
}

inline json qwen_added_tokens() {
  return json::parse(read_file(DVLM_FIXTURES "/text/qwen2.5/added_tokens.json"));
}

// The whole Qwen2.5 vocabulary with its 22 added tokens and the mask token, loaded once.
inline const Tokenizer& qwen_tokenizer() {
  static const Tokenizer tokenizer = [] {
    const TempFolder folder;
    folder.write("tokenizer.json", tokenizer_json(qwen_merges(), qwen_added_tokens()));
    return Tokenizer(folder.path());
  }();
  return tokenizer;
}

}  // namespace dvlm::test
