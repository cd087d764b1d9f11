#include "text/chat.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace dvlm {
namespace {

constexpr std::string_view kDefaultSystem = "You are a helpful assistant.";

// Receives the rendered conversation in order.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void plain(std::string_view text) = 0;     // the template's own words and the messages' text
  virtual void control(std::string_view token) = 0;  // a control token of the template
  virtual void pad(ContentPart::Type type) = 0;      // the place of one image or video
};

// The template (docs/reference.md, Chat template): the one description that the text and the tokens both
// come from.
void render(const Conversation& conversation, const TemplateOptions& options, Sink& sink) {
  int images = 0, videos = 0;
  const auto begin_message = [&](std::string_view role) {
    sink.control("<|im_start|>");
    sink.plain(role);
    sink.plain("\n");
  };
  const auto end_message = [&] {
    sink.control("<|im_end|>");
    sink.plain("\n");
  };
  const auto media = [&](ContentPart::Type type, std::string_view name, int number) {
    if (options.add_vision_id) sink.plain(fmt::format("{} {}: ", name, number));
    sink.control("<|vision_start|>");
    sink.pad(type);
    sink.control("<|vision_end|>");
  };
  if (!conversation.empty() && conversation.front().role != "system") {
    begin_message("system");
    sink.plain(kDefaultSystem);
    end_message();
  }
  for (const Message& message : conversation) {
    begin_message(message.role);
    for (const ContentPart& part : message.content) {
      if (part.type == ContentPart::Type::image)
        media(part.type, "Picture", ++images);
      else if (part.type == ContentPart::Type::video)
        media(part.type, "Video", ++videos);
      else
        sink.plain(part.text);
    }
    end_message();
  }
  if (options.add_generation_prompt) begin_message("assistant");
}

std::string_view pad_text(ContentPart::Type type) {
  return type == ContentPart::Type::image ? "<|image_pad|>" : "<|video_pad|>";
}

class TextSink : public Sink {
 public:
  void plain(std::string_view text) override { out += text; }
  void control(std::string_view token) override { out += token; }
  void pad(ContentPart::Type type) override { out += pad_text(type); }
  std::string out;
};

// Hands out the token counts of images and videos in order.
class PadCounts {
 public:
  PadCounts(const std::vector<int>& images, const std::vector<int>& videos)
      : images_(images), videos_(videos) {}

  size_t next(ContentPart::Type type) {
    const bool image = type == ContentPart::Type::image;
    const std::vector<int>& counts = image ? images_ : videos_;
    const size_t index = image ? next_image_++ : next_video_++;
    const char* name = image ? "image" : "video";
    if (index >= counts.size())
      fail("the conversation has more {0}s than the {1} whose token counts were given", name, counts.size());
    if (counts[index] <= 0)
      fail("{} {} has a token count of {}, expected at least 1", name, index + 1, counts[index]);
    return static_cast<size_t>(counts[index]);
  }

  void check_all_used() const {
    if (next_image_ != images_.size() || next_video_ != videos_.size())
      fail("the conversation has {} images and {} videos, but token counts of {} and {} were given",
           next_image_, next_video_, images_.size(), videos_.size());
  }

 private:
  const std::vector<int>&images_, &videos_;
  size_t next_image_ = 0, next_video_ = 0;
};

TokenId control_id(const Tokenizer& tokenizer, std::string_view text) {
  const auto id = tokenizer.find(text);
  if (!id) fail("the tokenizer has no token {}, which the chat template needs", text);
  return *id;
}

// Control tokens by id, all text between two of them encoded in one piece as text: nothing that a message
// holds can form a control token, not even together with the template's text around it.
class TokenSink : public Sink {
 public:
  TokenSink(const Tokenizer& tokenizer, PadCounts& counts) : tokenizer_(tokenizer), counts_(counts) {}

  void plain(std::string_view text) override { pending_ += text; }
  void control(std::string_view token) override {
    flush();
    ids.push_back(control_id(tokenizer_, token));
  }
  void pad(ContentPart::Type type) override {
    flush();
    ids.insert(ids.end(), counts_.next(type), control_id(tokenizer_, pad_text(type)));
  }
  void flush() {
    tokenizer_.encode(pending_, ControlTokens::as_text, ids);
    pending_.clear();
  }
  std::vector<TokenId> ids;

 private:
  const Tokenizer& tokenizer_;
  PadCounts& counts_;
  std::string pending_;
};

// What Hugging Face's processor does: everything is text, pads repeated, and the tokenizer parses it all.
class ExpandedTextSink : public TextSink {
 public:
  explicit ExpandedTextSink(PadCounts& counts) : counts_(counts) {}
  void pad(ContentPart::Type type) override {
    for (size_t i = counts_.next(type); i > 0; --i) TextSink::pad(type);
  }

 private:
  PadCounts& counts_;
};

// Text with pads of its own would shift every image that follows.
void check_pads(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, const std::vector<int>& counts,
                ContentPart::Type type) {
  const auto id = tokenizer.find(pad_text(type));
  if (!id) return;
  const int64_t expected = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (std::count(ids.begin(), ids.end(), *id) != expected)
    fail("the text of a message contains {}; attach the picture or video as a content item instead",
         pad_text(type));
}

}  // namespace

ContentPart text_part(std::string text) {
  ContentPart part;
  part.text = std::move(text);
  return part;
}

ContentPart image_part(std::string source) {
  ContentPart part;
  part.type = ContentPart::Type::image;
  part.source = std::move(source);
  return part;
}

ContentPart video_part(std::string source, std::vector<std::string> frames) {
  ContentPart part = image_part(std::move(source));
  part.type = ContentPart::Type::video;
  part.frames = std::move(frames);
  return part;
}

std::string render_chat(const Conversation& conversation, const TemplateOptions& options) {
  TextSink sink;
  render(conversation, options, sink);
  return std::move(sink.out);
}

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const Conversation& conversation,
                                 const std::vector<int>& image_tokens, const std::vector<int>& video_tokens,
                                 const TemplateOptions& options, bool trusted_text) {
  PadCounts counts(image_tokens, video_tokens);
  if (!trusted_text) {
    TokenSink sink(tokenizer, counts);
    render(conversation, options, sink);
    sink.flush();
    counts.check_all_used();
    return std::move(sink.ids);
  }
  ExpandedTextSink sink(counts);
  render(conversation, options, sink);
  counts.check_all_used();
  auto ids = tokenizer.encode(sink.out, ControlTokens::parse);
  check_pads(tokenizer, ids, image_tokens, ContentPart::Type::image);
  check_pads(tokenizer, ids, video_tokens, ContentPart::Type::video);
  return ids;
}

}  // namespace dvlm
