#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "core/error.h"
#include "core/utf8.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_files.h"
#include "text/unicode.h"

namespace dvlm {
// Finds the added tokens of a text: leftmost, then longest.
class AddedTokenMatcher {
 public:
  struct Match {
    size_t begin = 0, end = 0;
    const AddedTokenRule* rule = nullptr;  // null: no more matches
  };

  void add(std::string text, const AddedTokenRule& rule) {
    auto& entries = by_first_byte_[static_cast<unsigned char>(text[0])];
    entries.push_back({std::move(text), &rule});
    empty_ = false;
  }

  void finish() {  // after the last add()
    for (auto& entries : by_first_byte_)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const Entry& a, const Entry& b) { return a.text.size() > b.text.size(); });
  }

  Match next(std::string_view text, size_t from) const {
    if (empty_) return {text.size(), text.size(), nullptr};
    for (size_t at = from; at < text.size(); ++at)
      for (const Entry& entry : by_first_byte_[static_cast<unsigned char>(text[at])])
        if (text.substr(at).starts_with(entry.text)) return {at, at + entry.text.size(), entry.rule};
    return {text.size(), text.size(), nullptr};
  }

 private:
  struct Entry {
    std::string text;
    const AddedTokenRule* rule;
  };
  std::array<std::vector<Entry>, 256> by_first_byte_;
  bool empty_ = true;
};

namespace {

bool is_space(std::string_view text, size_t at, size_t& length) {
  return CharClasses::get()[decode_valid_utf8(text, at, length)] & kSpace;
}

size_t skip_spaces(std::string_view text, size_t at) {
  for (size_t length = 0; at < text.size() && is_space(text, at, length);) at += length;
  return at;
}

size_t skip_spaces_back(std::string_view text, size_t from, size_t at) {
  while (at > from) {
    size_t begin = at - 1, length = 0;
    while (begin > from && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!is_space(text, begin, length)) break;
    at = begin;
  }
  return at;
}

}  // namespace

// The tokens of pre-tokens met lately: most words of a text are repeats. One per running encode, so no locks.
class WordCache {
 public:
  WordCache() : entries_(kEntries) {}

  void encode(const Bpe& bpe, std::string_view word, std::vector<TokenId>& ids) {
    if (word.size() > kMaxWord) return bpe.encode(word, ids);
    Entry& entry = entries_[slot(word)];
    if (entry.length != word.size() || std::memcmp(entry.word, word.data(), word.size()) != 0) {
      const size_t before = ids.size();
      bpe.encode(word, ids);
      if (ids.size() - before > kMaxIds) return;
      entry.length = static_cast<uint8_t>(word.size());
      entry.count = static_cast<uint8_t>(ids.size() - before);
      std::memcpy(entry.word, word.data(), word.size());
      std::copy(ids.begin() + static_cast<ptrdiff_t>(before), ids.end(), entry.ids);
      return;
    }
    ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
  }

 private:
  static constexpr size_t kEntries = size_t{1} << 14, kMaxWord = 30, kMaxIds = 8;
  struct Entry {  // one cache line
    uint8_t length = 0, count = 0;
    char word[kMaxWord] = {};
    TokenId ids[kMaxIds] = {};
  };

  static size_t slot(std::string_view word) {
    uint64_t hash = word.size(), part = 0;
    const char* at = word.data();
    size_t left = word.size();
    for (; left > 8; left -= 8, at += 8) {
      std::memcpy(&part, at, 8);
      hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 32;
    }
    part = 0;
    std::memcpy(&part, at, left);
    hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(hash >> 50);
  }

  std::vector<Entry> entries_;
};

static_assert((size_t{1} << (64 - 50)) == size_t{1} << 14);

struct Tokenizer::Impl {
  explicit Impl(TokenizerFiles read)
      : files(std::move(read)), bpe(files.byte_tokens, files.merges), special(files.bytes.size()) {
    files.merges = {};
    for (const AddedTokenRule& rule : files.added_tokens) {
      added.push_back(rule.token);
      ids.emplace(rule.token.text, rule.token.id);
      special[static_cast<size_t>(rule.token.id)] = rule.token.special;
      std::string storage;
      if (rule.normalized)
        normalized_matcher.add(std::string(to_nfc(rule.token.text, storage)), rule);
      else
        matcher.add(rule.token.text, rule);
    }
    matcher.finish();
    normalized_matcher.finish();
  }

  // Calls plain(piece) and appends the id of each added token, in order of the text.
  template <class Plain>
  void split(const AddedTokenMatcher& with, std::string_view text, std::vector<TokenId>& out,
             Plain plain) const {
    for (size_t at = 0, from = 0; from <= text.size();) {
      auto match = with.next(text, from);
      if (match.rule && match.rule->lstrip) match.begin = skip_spaces_back(text, at, match.begin);
      if (match.rule && match.rule->rstrip) match.end = skip_spaces(text, match.end);
      if (match.begin > at) plain(text.substr(at, match.begin - at));
      if (!match.rule) break;
      out.push_back(match.rule->token.id);
      at = from = match.end;
    }
  }

  void encode_normalized(std::string_view text, WordCache& cache, std::vector<TokenId>& out) const {
    for (size_t at = 0; at < text.size();) {
      const size_t end = pretoken_end(text, at);
      cache.encode(bpe, text.substr(at, end - at), out);
      at = end;
    }
  }

  void encode(std::string_view text, ControlTokens control, WordCache& cache,
              std::vector<TokenId>& out) const {
    std::string storage;
    const auto normalize = [&](std::string_view piece) { return to_nfc(piece, storage); };
    if (control == ControlTokens::as_text) return encode_normalized(normalize(text), cache, out);
    split(matcher, text, out, [&](std::string_view piece) {
      split(normalized_matcher, normalize(piece), out,
            [&](std::string_view plain) { encode_normalized(plain, cache, out); });
    });
  }

  std::unique_ptr<WordCache> take_cache() const {
    const std::lock_guard lock(mutex);
    if (caches.empty()) return std::make_unique<WordCache>();
    auto cache = std::move(caches.back());
    caches.pop_back();
    return cache;
  }

  void give_cache(std::unique_ptr<WordCache> cache) const {
    const std::lock_guard lock(mutex);
    caches.push_back(std::move(cache));
  }

  TokenizerFiles files;
  Bpe bpe;
  std::vector<bool> special;
  std::vector<AddedToken> added;
  std::unordered_map<std::string, TokenId> ids;  // of the added tokens
  AddedTokenMatcher matcher, normalized_matcher;
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<WordCache>> caches;  // idle ones
};

Tokenizer::Tokenizer(const std::filesystem::path& folder)
    : impl_(std::make_unique<Impl>(read_tokenizer_files(folder))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

void Tokenizer::encode(std::string_view text, ControlTokens control, std::vector<TokenId>& ids) const {
  constexpr size_t kMaxText = size_t{1} << 29;
  if (text.size() > kMaxText)
    fail("a text of {} bytes is too long to tokenize; the limit is {}", text.size(), kMaxText);
  std::string repaired;
  if (!is_ascii(text) && !is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  auto cache = impl_->take_cache();
  impl_->encode(text, control, *cache, ids);
  impl_->give_cache(std::move(cache));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, ControlTokens control) const {
  std::vector<TokenId> ids;
  encode(text, control, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string bytes;
  for (const TokenId id : ids)
    if (!(skip_special && is_special(id))) bytes += bytes_of(id);
  return is_valid_utf8(bytes) ? bytes : replace_invalid_utf8(bytes);
}

std::string_view Tokenizer::bytes_of(TokenId id) const {
  return id >= 0 && id < size() ? std::string_view(impl_->files.bytes[static_cast<size_t>(id)])
                                : std::string_view();
}

std::optional<TokenId> Tokenizer::find(std::string_view token_text) const {
  const auto found = impl_->ids.find(std::string(token_text));
  return found == impl_->ids.end() ? std::nullopt : std::optional(found->second);
}

std::span<const AddedToken> Tokenizer::added_tokens() const {
  return impl_->added;
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && id < size() && impl_->special[static_cast<size_t>(id)];
}

int Tokenizer::size() const {
  return static_cast<int>(impl_->files.bytes.size());
}

std::string StreamDecoder::push(std::span<const TokenId> ids) {
  for (const TokenId id : ids)
    if (id != dropped_ && !tokenizer_.is_special(id)) pending_ += tokenizer_.bytes_of(id);
  const size_t complete = complete_utf8_prefix(pending_);
  std::string out = replace_invalid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = replace_invalid_utf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace dvlm
