// Messages as callers write them in JSON, into a Conversation.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/ascii.h"
#include "core/data_url.h"
#include "core/error.h"
#include "text/chat.h"
#include "text/python_json.h"

namespace dvlm {
namespace {

using nlohmann::json;

// One JSON object and where it is, for messages. A null field counts as absent: data sets are full of them.
class Fields {
 public:
  Fields(const json& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value.is_object()) refuse("is not an object");
  }

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{} {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }

  const std::string& where() const { return where_; }

  const json* find(const char* key) const {
    const auto found = value_.find(key);
    return found == value_.end() || found->is_null() ? nullptr : &*found;
  }

  std::string text(const char* key) const {
    const json* found = find(key);
    if (!found || !found->is_string()) refuse("needs \"{}\" to be a string", key);
    return found->get<std::string>();
  }

  int64_t whole_number(const char* key, int64_t limit) const {
    const json* found = find(key);
    if (!found) return 0;
    if (!found->is_number_integer() || *found < 1 || *found > limit)
      refuse("needs \"{}\" to be an integer from 1 to {}", key, limit);
    return found->get<int64_t>();
  }

  double positive(const char* key) const {
    const json* found = find(key);
    if (!found) return 0;
    if (!found->is_number() || !(found->get<double>() > 0) || !std::isfinite(found->get<double>()))
      refuse("needs \"{}\" to be a positive number", key);
    return found->get<double>();
  }

  // A field that would be ignored is refused: it was meant to do something. `empty`: lists that clients send
  // back with an answer, although nothing is in them.
  void check_known(std::initializer_list<std::string_view> known,
                   std::initializer_list<std::string_view> empty = {}) const {
    const auto in = [](std::initializer_list<std::string_view> list, const std::string& key) {
      return std::find(list.begin(), list.end(), key) != list.end();
    };
    for (const auto& [key, value] : value_.items())
      if (!value.is_null() && !in(known, key) && !(in(empty, key) && value == json::array()))
        refuse("has the field \"{}\", which is not supported", printable(key));
  }

 private:
  const json& value_;
  std::string where_;
};

void read_overrides(const Fields& fields, ContentPart& part) {
  constexpr int64_t kMaxPixels = int64_t{1} << 40;
  constexpr int64_t kMaxSide = int64_t{1} << 20;
  part.min_pixels = fields.whole_number("min_pixels", kMaxPixels);
  part.max_pixels = fields.whole_number("max_pixels", kMaxPixels);
  if (part.min_pixels > 0 && part.max_pixels > 0 && part.min_pixels > part.max_pixels)
    fields.refuse("has min_pixels {} above max_pixels {}", part.min_pixels, part.max_pixels);
  part.resized_height = static_cast<int>(fields.whole_number("resized_height", kMaxSide));
  part.resized_width = static_cast<int>(fields.whole_number("resized_width", kMaxSide));
  if ((part.resized_height > 0) != (part.resized_width > 0))
    fields.refuse("has only one of \"resized_height\" and \"resized_width\"; give both");
}

// OpenAI's "low" is a picture of 512 x 512 at most; the other words leave the resolution to the model.
int64_t read_detail(const Fields& url) {
  const std::string detail = url.find("detail") ? lower(url.text("detail")) : "auto";
  if (detail != "low" && detail != "high" && detail != "auto")
    url.refuse("has the detail \"{}\"; expected low, high or auto", printable(detail));
  return detail == "low" ? 512 * 512 : 0;
}

ContentPart read_image(const Fields& fields) {
  fields.check_known(
      {"type", "image", "image_url", "min_pixels", "max_pixels", "resized_height", "resized_width"});
  ContentPart part = image_part("");
  const json* url = fields.find("image_url");
  if (fields.find("image") && url) fields.refuse("has both \"image\" and \"image_url\"; give one");
  if (url && url->is_object()) {
    const Fields inner(*url, "image_url");
    inner.check_known({"url", "detail"});
    part.pixel_bound = read_detail(inner);
    part.source = inner.text("url");
  } else {
    part.source = fields.text(url ? "image_url" : "image");
  }
  read_overrides(fields, part);
  return part;
}

ContentPart read_video(const Fields& fields) {
  fields.check_known({"type", "video", "video_url", "min_pixels", "max_pixels", "resized_height",
                      "resized_width", "fps", "nframes"});
  ContentPart part = video_part("");
  const json *plain = fields.find("video"), *url = fields.find("video_url"), *video = url ? url : plain;
  if (plain && url) fields.refuse("has both \"video\" and \"video_url\"; give one");
  if (url && url->is_object()) {
    const Fields inner(*url, "video_url");
    inner.check_known({"url"});
    part.source = inner.text("url");
  } else if (video && video->is_array()) {
    for (const json& frame : *video) {
      if (!frame.is_string()) fields.refuse("lists a video frame that is not a string");
      part.frames.push_back(frame.get<std::string>());
    }
    if (part.frames.empty()) fields.refuse("lists no video frames");
  } else {
    part.source = fields.text(url ? "video_url" : "video");
  }
  read_overrides(fields, part);
  part.fps = fields.positive("fps");
  part.nframes = static_cast<int>(fields.whole_number("nframes", 1 << 20));
  if (!part.frames.empty() && part.nframes > 0)
    fields.refuse("has \"nframes\" beside a list of frames, all of which are used; leave it out");
  if (part.fps > 0 && part.nframes > 0) fields.refuse("has both \"fps\" and \"nframes\"; give one");
  return part;
}

ContentPart read_part(const json& value, const std::string& where) {
  const Fields fields(value, where);
  const std::string type = fields.find("type") ? fields.text("type") : "";
  if (type == "image" || fields.find("image") || fields.find("image_url")) return read_image(fields);
  if (type == "video" || fields.find("video") || fields.find("video_url")) return read_video(fields);
  if (type != "text" && !(type.empty() && fields.find("text")))
    fields.refuse("has the type \"{}\"; expected text, image, image_url, video or video_url",
                  printable(type));
  fields.check_known({"type", "text"});
  return text_part(fields.text("text"));
}

// OpenAI's: {"id", "type": "function", "function": {"name", "arguments": a string that holds JSON}}.
std::vector<ToolCall> read_calls(const Fields& message, const json& calls, const std::string& role) {
  std::vector<ToolCall> out;
  if (!calls.is_array()) message.refuse("needs \"tool_calls\" to be a list");
  if (!calls.empty() && role != "assistant") message.refuse("has \"tool_calls\" but is no assistant");
  for (const json& given : calls) {
    const std::string where = fmt::format("{}, \"tool_calls\" item {},", message.where(), out.size() + 1);
    const Fields call(given, where);
    call.check_known({"id", "type", "function", "index"});
    const json* function = call.find("function");
    if (!function) call.refuse("needs a \"function\"");
    const Fields inside(*function, where + " \"function\"");
    inside.check_known({"name", "arguments"});
    const json* arguments = inside.find("arguments");
    if (!arguments) inside.refuse("needs \"arguments\"");
    nlohmann::ordered_json parsed = *arguments;  // an object has lost its order: see keep_argument_order()
    if (arguments->is_string()) {
      const auto& text = arguments->get_ref<const std::string&>();
      parsed = parse_ordered(text.empty() ? "{}" : text, "the arguments of a tool call");
    }
    if (!parsed.is_object()) inside.refuse("needs \"arguments\" to be a JSON object");
    if (!is_tool_name(inside.text("name")))
      inside.refuse("needs \"name\" to be 1 to 64 letters, digits, _, - and .");
    out.push_back({inside.text("name"), python_json(parsed), call.find("id") ? call.text("id") : ""});
  }
  return out;
}

Message read_message(const json& value, const std::string& where) {
  const Fields fields(value, where);
  fields.check_known({"role", "content", "name", "tool_calls", "tool_call_id"}, {"annotations"});
  if (fields.find("name")) static_cast<void>(fields.text("name"));  // the template has no place for it
  Message message;
  message.role = fields.text("role");
  if (message.role == "developer") message.role = "system";  // OpenAI's newer word
  if (message.role != "system" && message.role != "user" && message.role != "assistant" &&
      message.role != "tool")
    fields.refuse("has the role \"{}\"; expected system, developer, user, assistant or tool",
                  printable(message.role));
  if (fields.find("tool_call_id")) message.call_id = fields.text("tool_call_id");
  if (fields.find("tool_call_id") && message.role != "tool")
    fields.refuse("has a \"tool_call_id\" but is no tool");
  if (const json* calls = fields.find("tool_calls")) message.calls = read_calls(fields, *calls, message.role);
  const json* content = fields.find("content");
  if (content && content->is_string()) {
    message.content.push_back(text_part(content->get<std::string>()));
  } else if (content && content->is_array()) {
    for (size_t i = 0; i < content->size(); ++i)
      message.content.push_back(read_part((*content)[i], fmt::format("{}, content item {},", where, i + 1)));
  } else if (message.calls.empty()) {
    fields.refuse("needs \"content\" to be a string or a list");
  }
  for (const ContentPart& part : message.content)
    if (message.role == "tool" && part.type != ContentPart::Type::text)
      fields.refuse("is the result of a tool, which must be text");
  return message;
}

// The template has no place for names of calls: results stand behind their calls, in the calls' order. Those
// that name none stay where they are.
void order_results(Conversation& conversation) {
  const auto refuse = [&](size_t i) {
    fail("message {} is the result of \"{}\", but no call of the message before the results has that id",
         i + 1, printable(conversation[i].call_id));
  };
  if (!conversation[0].call_id.empty()) refuse(0);
  for (size_t i = 0; i < conversation.size(); ++i) {
    size_t end = i + 1;
    while (end < conversation.size() && conversation[end].role == "tool") ++end;
    const std::vector<ToolCall>& calls = conversation[i].calls;
    const auto place = [&](const Message& result) {
      const auto call = std::ranges::find(calls, result.call_id, &ToolCall::id);
      return call - calls.begin();
    };
    const bool named = std::ranges::none_of(calls, [](const ToolCall& call) { return call.id.empty(); });
    for (size_t k = i + 1; k < end; ++k)
      if (named && !conversation[k].call_id.empty() && place(conversation[k]) == std::ssize(calls)) refuse(k);
    const auto first = conversation.begin() + static_cast<ptrdiff_t>(i) + 1,
               last = conversation.begin() + static_cast<ptrdiff_t>(end);
    if (named && std::none_of(first, last, [](const Message& m) { return m.call_id.empty(); }))
      std::stable_sort(first, last, [&](const Message& x, const Message& y) { return place(x) < place(y); });
    i = end - 1;
  }
}

}  // namespace

Conversation parse_messages(const json& messages) {
  if (!messages.is_array() || messages.empty()) fail("messages must be a list with at least one message");
  Conversation conversation;
  for (size_t i = 0; i < messages.size(); ++i)
    conversation.push_back(read_message(messages[i], fmt::format("message {}", i + 1)));
  order_results(conversation);
  return conversation;
}

void resolve_paths(Conversation& conversation, const std::filesystem::path& folder) {
  const auto resolve = [&](std::string& source) {
    const bool has_scheme = is_data_url(source) || source.find("://") != std::string::npos;
    if (!source.empty() && !has_scheme) source = (folder / source).string();
  };
  for (Message& message : conversation) {
    for (ContentPart& part : message.content) {
      resolve(part.source);
      for (std::string& frame : part.frames) resolve(frame);
    }
  }
}

}  // namespace dvlm
