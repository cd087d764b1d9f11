#include "data/record_file.h"

#include <algorithm>

#include "checkpoint/json.h"
#include "core/ascii.h"
#include "core/checksum.h"
#include "core/data_url.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/layouts.h"
#include "data/media.h"

namespace dvlm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view without_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  return text.starts_with(kMark) ? text.substr(kMark.size()) : text;
}

// The end of the JSON value at text[at]: behind its last bracket, or before what ends a plain one.
size_t end_of_value(std::string_view text, size_t at) {
  int depth = 0;
  bool in_string = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\')
        ++at;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      if (--depth < 0) return at;
      if (depth == 0) return at + 1;
    } else if (c == ',' && depth == 0) {
      return at;
    }
  }
  return text.npos;
}

// A webdataset's: the folder and the name up to its first dot.
std::string key_of(const std::string& member) {
  const size_t slash = member.rfind('/');
  return member.substr(0, member.find('.', slash == member.npos ? 0 : slash + 1));
}

}  // namespace

RecordFile::RecordFile(fs::path path) : path_(std::move(path)) {
  file_.emplace(path_);
  std::string_view text = text_of(file_->bytes());
  refuse_lfs_pointer(text, path_);
  fingerprint_ = dvlm::fingerprint(text);
  if (!is_archive(text.substr(0, 512))) {
    find_records(text, path_);
  } else {
    archive_.emplace(std::move(*file_), path_);
    file_.reset();
    const auto members = archive_->members();
    if (members.size() == 1 && members[0].name.empty())
      find_records(text_of(members[0].bytes), path_.stem());
    else
      find_samples();
  }
  if (records_.empty()) fail("{} holds no record", path_.string());
}

std::string RecordFile::name(int64_t i) const {
  const Entry& entry = at(i);
  if (kind_ == Kind::samples) return fmt::format("{} sample {}", path_.string(), key(i));
  return fmt::format("{} {} {}", path_.string(), kind_ == Kind::lines ? "line" : "record", entry.number);
}

json RecordFile::object(int64_t i) const {
  constexpr size_t kMaxBytes = size_t{64} << 20;
  if (at(i).text.size() > kMaxBytes) fail("the record is longer than the {} bytes allowed here", kMaxBytes);
  json value = parse_json(at(i).text, "the record");
  if (!value.is_object()) fail("expected an object with \"messages\" or \"conversations\"");
  return value;
}

void RecordFile::find_records(std::string_view text, const fs::path& name) {
  text = without_mark(text);
  const size_t first = text.find_first_not_of(kSpace);
  if (first != text.npos && text[first] == '[' && name.extension() != ".jsonl")
    find_elements(text.substr(first));
  else
    find_lines(text);
}

void RecordFile::find_lines(std::string_view text) {
  int64_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    ++number;
    if (line.find_first_not_of(kSpace) != line.npos) records_.push_back({line, number});
    at = end + 1;
  }
}

void RecordFile::find_elements(std::string_view text) {
  kind_ = Kind::elements;
  const auto broken = [&] {
    fail("{} is no whole JSON array: record {} does not end", path_.string(), records_.size() + 1);
  };
  for (size_t at = 1;;) {
    at = text.find_first_not_of(kSpace, at);
    if (at == text.npos) broken();
    if (text[at] == ']' && records_.empty()) return;
    const size_t end = end_of_value(text, at);
    if (end == text.npos) broken();
    records_.push_back({text.substr(at, end - at), static_cast<int64_t>(records_.size()) + 1});
    at = text.find_first_not_of(kSpace, end);
    if (at == text.npos) broken();
    if (text[at] == ']') {
      if (text.find_first_not_of(kSpace, at + 1) != text.npos)
        fail("{} has something behind its JSON array", path_.string());
      return;
    }
    if (text[at] != ',') fail("{}: there is no comma behind record {}", path_.string(), records_.size());
    ++at;
  }
}

void RecordFile::find_samples() {
  kind_ = Kind::samples;
  std::map<std::string, int> pictures;  // of samples without a record
  for (const Archive::Member& member : archive_->members()) {
    if (!members_.emplace(member.name, member.bytes).second)
      fail("{} holds {} twice", path_.string(), member.name);
    const std::string key = key_of(member.name);
    const bool record = lower(member.name) == lower(key) + ".json";
    if (record) records_.push_back({text_of(member.bytes), 0}), keys_.push_back(key);
    const Media media = media_of(member.name, text_of(member.bytes));
    pictures[key] += media == Media::picture;
    if (media == Media::picture) pictures_[key].push_back(member.name);
    if (media == Media::unread) unread_.emplace(key, member.name);
  }
  for (const std::string& key : keys_) pictures.erase(key);
  std::erase_if(pictures, [](const auto& sample) { return sample.second == 0; });
  if (!pictures.empty() && !records_.empty())
    log_warning("{}: {} samples have pictures and no .json, {} the first of them", path_.string(),
                pictures.size(), printable(pictures.begin()->first));
}

std::vector<std::string> RecordFile::pictures_of(const std::string& key) const {
  const auto found = pictures_.find(key);
  return found == pictures_.end() ? std::vector<std::string>() : found->second;
}

// A record whose sample has a member that is not read would be learnt without it.
void RecordFile::refuse_unread_member(int64_t i) const {
  if (kind_ != Kind::samples) return;
  if (const auto found = unread_.find(key(i)); found != unread_.end())
    fail(
        "{} belongs to the sample and is not read: convert a picture to PNG, a video to its frames, or take "
        "it out of the tar",
        printable(found->second));
}

void RecordFile::refuse_pictures(int64_t i, const json& object) const {
  refuse_pictures_beside_text(object);
  refuse_unread_member(i);
  if (kind_ != Kind::samples) return;
  if (const auto pictures = pictures_of(key(i)); !pictures.empty())
    fail("the picture {} belongs to the sample, and a \"text\" does not show it: {}", printable(pictures[0]),
         kInPlaceOfText);
}

Conversation RecordFile::conversation(int64_t i, const json& object, std::span<const std::string_view> own,
                                      const fs::path& image_root) const {
  refuse_unread_member(i);
  if (kind_ == Kind::samples) {
    Conversation out = conversation_of(object, own, pictures_of(key(i)));
    take_from_archive(out, key(i));
    return out;
  }
  Conversation out = conversation_of(object, own);
  resolve_paths(out, image_root.empty() ? path_.parent_path() : image_root);
  return out;
}

void RecordFile::take_from_archive(Conversation& conversation, const std::string& key) const {
  std::vector<std::string*> sources;
  for (Message& message : conversation)
    for (ContentPart& part : message.content) {
      if (part.type == ContentPart::Type::video && part.frames.empty())
        fail("videos inside a tar are not read: unpack it, or list their frames");
      for (std::string& frame : part.frames) sources.push_back(&frame);
      if (part.type == ContentPart::Type::image) sources.push_back(&part.source);
    }
  std::erase_if(sources, [](const std::string* source) { return is_data_url(*source); });
  // Records may keep the names of the files that they were made of: then places count.
  const std::vector<std::string> own = pictures_of(key);
  const auto is_there = [&](const std::string* source) { return !member_of(*source, key).empty(); };
  const bool by_place = own.size() == sources.size() && std::ranges::none_of(sources, is_there);
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string name = by_place ? own[i] : member_of(*sources[i], key);
    if (name.empty()) fail("the picture {} is not in the tar", printable(*sources[i]));
    *sources[i] = data_url_of(members_.at(name));
  }
}

// The member of this name, from the tar's root or beside the record; "" without one.
std::string RecordFile::member_of(const std::string& source, const std::string& key) const {
  const std::string beside = (fs::path(key).parent_path() / source).string();
  return members_.contains(source) ? source : members_.contains(beside) ? beside : "";
}

}  // namespace dvlm
