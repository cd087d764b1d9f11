// Files of records: lines of JSON, one JSON array, samples of a webdataset.
#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/memory.h"
#include "data/archive.h"
#include "text/chat.h"

namespace dvlm {

// The file is mapped, and a record read when it is asked for.
class RecordFile {
 public:
  // Finds lines of JSON (blank ones are skipped); elements where the file begins with '[' and is not called
  // .jsonl; in a tar, members that share a name up to its first dot, one of them ending in .json. gzip and
  // zstd are unpacked (data/archive.h). Throws Error naming the file when it holds no record.
  explicit RecordFile(std::filesystem::path path);

  int64_t size() const { return static_cast<int64_t>(records_.size()); }
  std::string name(int64_t i) const;                             // "train.jsonl line 3"
  std::string_view text(int64_t i) const { return at(i).text; }  // JSON, unread
  // Throws Error, also for what is no object or longer than 64 MiB.
  nlohmann::json object(int64_t i) const;

  // Of an object of the i-th record, see conversation_of(). Pictures are looked for in `image_root` (empty:
  // beside the file), those of a tar inside it, where a record that names none has those of its own sample.
  // Throws Error where its sample has a video or anything else that shows or sounds and is not read.
  Conversation conversation(int64_t i, const nlohmann::json& object,
                            std::span<const std::string_view> own = {},
                            const std::filesystem::path& image_root = {}) const;

  // For an object of the i-th record of which a text alone is read: throws Error when it or its sample has
  // pictures, too.
  void refuse_pictures(int64_t i, const nlohmann::json& object) const;

  // The same for the same content, wherever the file is and whatever it is called.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  struct Entry {
    std::string_view text;
    int64_t number = 0;  // of its line or element
  };
  enum class Kind { lines, elements, samples };

  const Entry& at(int64_t i) const { return records_[static_cast<size_t>(i)]; }
  const std::string& key(int64_t i) const { return keys_[static_cast<size_t>(i)]; }
  void find_records(std::string_view text, const std::filesystem::path& name);
  void find_lines(std::string_view text);
  void find_elements(std::string_view text);
  void find_samples();
  std::vector<std::string> pictures_of(const std::string& key) const;
  void refuse_unread_member(int64_t i) const;
  void take_from_archive(Conversation& conversation, const std::string& key) const;
  std::string member_of(const std::string& source, const std::string& key) const;

  std::filesystem::path path_;
  std::optional<MappedFile> file_;
  std::optional<Archive> archive_;
  std::map<std::string, std::span<const std::byte>> members_;
  std::map<std::string, std::vector<std::string>> pictures_;  // of each sample, in the order of the tar
  std::map<std::string, std::string> unread_;  // of each sample, the first member that is Media::unread
  Kind kind_ = Kind::lines;
  std::vector<Entry> records_;
  std::vector<std::string> keys_;  // of the records' samples, in a tar
  uint64_t fingerprint_ = 0;
};

}  // namespace dvlm
