#include "data/layouts.h"

#include <algorithm>
#include <array>
#include <deque>
#include <nlohmann/json.hpp>

#include "core/ascii.h"
#include "core/data_url.h"
#include "core/error.h"
#include "data/media.h"

namespace dvlm {

using nlohmann::json;

bool says_nothing(const json& value) {
  return value.is_null() || (value.is_array() && value.empty()) ||
         (value.is_string() && value.get_ref<const std::string&>().empty());
}

namespace {

constexpr std::string_view kImageTag = "<image>", kVideoTag = "<video>";

bool given(const json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && !found->is_null();
}

bool says(const json& record, const char* key) {
  return given(record, key) && !says_nothing(record.at(key));
}

bool lists_pictures(const json& record) {
  return std::ranges::any_of(std::array{"image", "images", "video", "videos"},
                             [&](const char* key) { return says(record, key); });
}

// Whether a text names a picture, a video or sounds, by how it ends, or holds one; or a text inside the
// value. Values come from parse_json, which bounds how deep they are.
bool names_media(const json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return is_data_url(text) || ends_like_media(text);
  }
  return value.is_structured() &&
         std::ranges::any_of(value, [](const json& item) { return names_media(item); });
}

bool is_media_key(const std::string& key) {
  constexpr std::array kWords = {"image", "img", "picture", "photo", "video", "frames", "audio"};
  const std::string low = lower(key);
  return std::ranges::any_of(kWords, [&](std::string_view word) { return low.find(word) != low.npos; });
}

// Shorter texts say something of a picture, as where it comes from.
bool may_hold_picture(const json& value) {
  constexpr size_t kShortest = 64;
  if (value.is_string()) return value.get_ref<const std::string&>().size() >= kShortest;
  return value.is_structured() &&
         std::ranges::any_of(value, [](const json& item) { return may_hold_picture(item); });
}

// The first key inside a value that looks like a picture in base64, "" without one.
std::string media_key_in(const json& value) {
  if (value.is_object())
    for (const auto& [key, item] : value.get_ref<const json::object_t&>())
      if (is_media_key(key) && may_hold_picture(item)) return key;
  if (value.is_structured())
    for (const json& item : value)
      if (std::string key = media_key_in(item); !key.empty()) return key;
  return "";
}

using Keys = std::span<const std::string_view>;

// `read` and `own`: keys that are read. `instead`: what to do about another that looks like pictures.
void refuse_unread(const json& record, Keys read, Keys own, std::string_view instead) {
  const auto in = [](Keys list, std::string_view key) { return std::ranges::find(list, key) != list.end(); };
  for (const auto& [key, value] : record.items()) {
    if (says_nothing(value) || in(read, key) || in(own, key)) continue;
    if (key == "objects" || key == "tools")
      fail("the key \"{}\" is not read: write what it says into the messages", key);
    if (names_media(value) || (is_media_key(key) && (value.is_string() || value.is_structured())))
      fail("the key \"{}\" looks like pictures, and nothing reads it: {}", printable(key), instead);
    if (const std::string inside = media_key_in(value); !inside.empty())
      fail("the key \"{}\" inside \"{}\" looks like pictures, and nothing reads it: {}", printable(inside),
           printable(key), instead);
  }
}

// What a part of the content says it shows: a path or a list of frames; null where it does not say.
json source_of(const json& part, const std::string& type) {
  if (!part.is_object()) return nullptr;
  if (given(part, type.c_str())) return part.at(type);
  const json url = part.value(type + "_url", json());
  return url.is_object() ? url.value("url", json()) : url;
}

// The parts of the content that say which picture (or video) they show.
std::vector<json> named_parts(const json& messages, const std::string& type) {
  std::vector<json> out;
  for (const json& message : messages)
    if (message.is_object() && given(message, "content") && message["content"].is_array())
      for (const json& part : message["content"])
        if (!source_of(part, type).is_null()) out.push_back(part);
  return out;
}

bool names_visuals(const json& messages) {
  return !named_parts(messages, "image").empty() || !named_parts(messages, "video").empty();
}

// Pictures or videos of a record that no tag has shown yet, as parts of a message.
class Pool {
 public:
  Pool(const json& record, const char* one, const char* many, const char* type) : type_(type) {
    if (says(record, one) && says(record, many))
      fail("both \"{}\" and \"{}\" are there; give one", one, many);
    const char* key = says(record, one) ? one : many;
    if (!says(record, key)) return;
    const json& value = record.at(key);
    if (value.is_array())
      for (const json& item : value) add(item, key);
    else
      add(value, key);
  }

  const std::string& type() const { return type_; }
  size_t all() const { return all_; }
  size_t left() const { return parts_.size(); }
  bool is_untouched() const { return all_ > 0 && left() == all_; }
  json take() {
    if (parts_.empty()) fail("more <{}> than the {} {}s that are listed", type_, all_, type_);
    json part = std::move(parts_.front());
    parts_.pop_front();
    return part;
  }
  void clear() { parts_.clear(); }

  // Whether these parts of the content are the listed ones, in their order. What a list says beyond the name
  // (max_pixels) must stand in the content, too.
  bool equals(const std::vector<json>& parts) const {
    return std::ranges::equal(parts_, parts, [&](const json& listed, const json& part) {
      return listed == part || (listed.size() == 2 && source_of(listed, type_) == source_of(part, type_));
    });
  }

  // A path, a list of frames, or an object with either under "path" or the part's own name.
  void add(const json& item, const char* key) {
    json part = {{"type", type_}};
    if (item.is_object() && given(item, type_.c_str())) {
      part.update(item);
    } else if (item.is_object() && given(item, "path") && !given(item, "bytes")) {
      part.update(item);
      part[type_] = item.at("path");
      part.erase("path"), part.erase("bytes");
    } else if (item.is_string() || (type_ == "video" && item.is_array())) {
      part[type_] = item;
    } else {
      fail("\"{}\" must list paths{}", key, type_ == "video" ? " or lists of frames" : "");
    }
    parts_.push_back(std::move(part));
    ++all_;
  }

 private:
  std::string type_;
  std::deque<json> parts_;
  size_t all_ = 0;
};

// Puts a record's pictures where its texts say <image>.
class Filler {
 public:
  // `strip`: as qwen-vl-finetune has it, the texts between pictures lose the white space around them, and
  // answers are text alone.
  Filler(Pool& images, Pool& videos, bool strip) : images_(images), videos_(videos), strip_(strip) {}

  bool filled() const { return filled_; }

  json content(const json& content, bool answer) {
    if (content.is_array()) return parts(content);
    if (!content.is_string() || (strip_ && answer)) return content;
    return split(content.get<std::string>());
  }

 private:
  // Parts that say "image" and not which.
  json parts(json list) {
    for (json& part : list)
      for (Pool* pool : {&images_, &videos_})
        if (part.is_object() && pool->all() > 0 && part.value("type", json()) == pool->type() &&
            !given(part, pool->type().c_str()) && !given(part, (pool->type() + "_url").c_str())) {
          part.update(pool->take());
          filled_ = true;
        }
    return list;
  }

  json split(std::string_view text) {
    json out = json::array();
    for (;;) {
      const size_t image = images_.all() > 0 ? text.find(kImageTag) : text.npos,
                   video = videos_.all() > 0 ? text.find(kVideoTag) : text.npos, at = std::min(image, video);
      add_text(out, text.substr(0, at));
      if (at == text.npos) break;
      out.push_back((image < video ? images_ : videos_).take());
      filled_ = true;
      text.remove_prefix(at + (image < video ? kImageTag : kVideoTag).size());
    }
    return out.empty() ? json("") : out;
  }

  void add_text(json& out, std::string_view text) const {
    if (strip_) text = trim(text);
    if (!text.empty()) out.push_back({{"type", "text"}, {"text", text}});
  }

  Pool &images_, &videos_;
  bool strip_, filled_ = false;
};

std::string role_of(const json& turn, size_t number) {
  const std::string from = turn.value("from", json()).is_string() ? turn["from"].get<std::string>() : "";
  if (from == "human" || from == "user") return "user";
  if (from == "gpt" || from == "assistant" || from == "model") return "assistant";
  if (from == "system") return "system";
  fail("turn {} is from \"{}\"; expected human, gpt or system", number, printable(from));
}

// {"from", "value"} as {"role", "content"}.
json messages_of_turns(const json& turns) {
  if (!turns.is_array()) fail("\"conversations\" must be a list");
  json out = json::array();
  for (const json& turn : turns) {
    if (!turn.is_object()) fail("turn {} is not an object", out.size() + 1);
    if (given(turn, "role")) {
      out.push_back(turn);
      continue;
    }
    for (const auto& [key, value] : turn.items())
      if (key != "from" && key != "value" && !value.is_null())
        fail("turn {} has the field \"{}\", which is not supported", out.size() + 1, printable(key));
    if (!given(turn, "value") || !turn["value"].is_string())
      fail("turn {} needs \"value\" to be a string", out.size() + 1);
    out.push_back({{"role", role_of(turn, out.size() + 1)}, {"content", turn["value"]}});
  }
  return out;
}

// The layout of the first Qwen-VL, whose pictures stand in the text.
void refuse_pictures_in_texts(const json& messages) {
  for (const json& message : messages)
    if (message.is_object() && message.value("content", json()).is_string()) {
      const std::string& text = message["content"].get_ref<const std::string&>();
      if (const size_t at = text.find(": <img>");
          text.find("Picture ") < at && text.find("</img>", at) != text.npos)
        fail(
            "pictures in texts (\"Picture 1: <img>...</img>\") are not read: list them in \"images\" and "
            "write <image>");
    }
}

// Of a record without pictures, as qwen-vl-finetune has them beside some.
void strip_questions(json& messages) {
  for (json& message : messages)
    if (message.value("role", json()) == "user" && message["content"].is_string())
      message["content"] = std::string(trim(message["content"].get_ref<const std::string&>()));
}

// In front of the first question, as ms-swift and TRL do it.
void show_first(json& messages, Pool& images, Pool& videos) {
  for (json& message : messages) {
    if (!message.is_object() || message.value("role", json()) != "user") continue;
    json content = json::array();
    for (Pool* pool : {&images, &videos})
      while (pool->left() > 0) content.push_back(pool->take());
    const json& before = message["content"];
    if (before.is_array())
      content.insert(content.end(), before.begin(), before.end());
    else if (!says_nothing(before))
      content.push_back({{"type", "text"}, {"text", before}});
    message["content"] = std::move(content);
    return;
  }
  fail("pictures are listed, and there is no question to show them in");
}

// Some data sets list what their content names itself; nothing is to be learnt twice.
void drop_shown(Pool& pool, const json& messages) {
  if (!pool.is_untouched()) return;
  const std::vector<json> named = named_parts(messages, pool.type());
  if (named.empty()) return;
  if (!pool.equals(named))
    fail(
        "the content names {0}s itself, and they are not the listed ones in the same order: take the list "
        "out, or write {{\"type\": \"{0}\"}} where one of it stands",
        pool.type());
  pool.clear();
}

}  // namespace

void refuse_pictures_beside_text(const json& record) {
  // The address of a page says where its text comes from, also where it ends in .jpg.
  constexpr std::array<std::string_view, 3> kRead = {"text", "id", "url"};
  refuse_unread(record, kRead, {}, kInPlaceOfText);
}

Conversation conversation_of(const json& record, std::span<const std::string_view> own,
                             std::span<const std::string> pictures) {
  constexpr std::array<std::string_view, 8> kRead = {"messages", "conversations", "system", "image",
                                                     "images",   "video",         "videos", "id"};
  if (!record.is_object()) fail("expected an object with \"messages\" or \"conversations\"");
  const bool turns = given(record, "conversations");
  if (turns == given(record, "messages"))
    fail("expected an object with \"messages\" or \"conversations\"{}", turns ? ", not both" : "");
  refuse_unread(record, kRead, own, "list them in \"images\" or take it out");
  json messages = turns ? messages_of_turns(record["conversations"]) : record["messages"];
  if (says(record, "system") && messages.is_array())
    messages.insert(messages.begin(), json{{"role", "system"}, {"content", record["system"]}});

  Pool images(record, "image", "images", "image"), videos(record, "video", "videos", "video");
  const bool of_sample = !pictures.empty() && !lists_pictures(record);
  if (of_sample)
    for (const std::string& picture : pictures) images.add(picture, "images");
  if (images.all() + videos.all() == 0) {
    if (messages.is_array()) refuse_pictures_in_texts(messages);
    if (turns) strip_questions(messages);
    return parse_messages(messages);
  }
  const bool strip = turns && (says(record, "image") || says(record, "video"));
  Filler filler(images, videos, strip);
  if (messages.is_array())
    for (json& message : messages)
      if (message.is_object() && message.contains("content"))
        message["content"] = filler.content(message["content"], message.value("role", json()) == "assistant");
  // Members that a record does not name are its pictures only where it names no others.
  if (of_sample && images.is_untouched() && names_visuals(messages)) images.clear();
  for (Pool* pool : {&images, &videos}) drop_shown(*pool, messages);
  if (!filler.filled() && images.left() + videos.left() > 0) show_first(messages, images, videos);
  for (const Pool* pool : {&images, &videos})
    if (pool->left() > 0)
      fail("{} {}s are listed, and <{}> stands there {} times", pool->all(), pool->type(), pool->type(),
           pool->all() - pool->left());
  return parse_messages(messages);
}

}  // namespace dvlm
