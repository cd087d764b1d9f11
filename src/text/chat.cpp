#include "text/chat.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"

namespace dvlm {
namespace {

// What a conversation is rendered to, in order.
struct Piece {
  std::string text;
  bool control = false;                              // a token of its own, else text of template or message
  bool if_known = false;                             // text where the tokenizer has no such token
  ContentPart::Type type = ContentPart::Type::text;  // or this is the pad of an image or video
  size_t count = 1;                                  // of pads
};

std::string pad_text(ContentPart::Type type) {
  return type == ContentPart::Type::image ? "<|image_pad|>" : "<|video_pad|>";
}

bool has_text(const Message& message) {
  return std::ranges::any_of(message.content, [](const ContentPart& part) { return !part.text.empty(); });
}

// The template (docs/reference.md, Chat template): the one description that the text and the
// tokens both come from.
class Renderer {
 public:
  explicit Renderer(const TemplateOptions& options) : options_(options) {}

  std::vector<Piece> render(const Conversation& conversation) {
    if (!conversation.empty() && conversation.front().role != "system")
      add({"system", {text_part("You are a helpful assistant.")}}, {}, {});
    for (size_t i = 0; i < conversation.size(); ++i)
      add(conversation[i], i > 0 ? conversation[i - 1].role : "",
          i + 1 < conversation.size() ? conversation[i + 1].role : "");
    if (options_.add_generation_prompt) begin("assistant");
    return std::move(out_);
  }

 private:
  void plain(std::string text) { out_.push_back({std::move(text)}); }
  void control(const char* token) { out_.push_back({token, true}); }
  void tag(const char* token) { out_.push_back({token, true, true}); }
  void begin(const std::string& role) {
    control("<|im_start|>");
    plain(role + "\n");
  }
  void end() {
    control("<|im_end|>");
    plain("\n");
  }

  void add(const Message& message, std::string_view before, std::string_view behind) {
    if (message.role == "tool") return add_result(message, before, behind);
    begin(message.role);
    add_content(message);
    if (message.role == "system" && !options_.tools.empty() && !std::exchange(declared_, true)) declare();
    for (const ToolCall& call : message.calls) {
      if (&call != message.calls.data() || has_text(message)) plain("\n");
      tag(kToolCall);
      plain("\n{\"name\": " + nlohmann::json(call.name).dump() + ", \"arguments\": " + call.arguments +
            "}\n");
      tag(kToolCallEnd);
    }
    end();
  }

  // Several results are one message of the user.
  void add_result(const Message& message, std::string_view before, std::string_view behind) {
    if (before != "tool") {
      control("<|im_start|>");
      plain("user");
    }
    plain("\n<tool_response>\n");
    add_content(message);
    plain("\n</tool_response>");
    if (behind != "tool") end();
  }

  void add_content(const Message& message) {
    for (const ContentPart& part : message.content) {
      if (part.type == ContentPart::Type::image)
        add_media(part.type, "Picture", ++images_);
      else if (part.type == ContentPart::Type::video)
        add_media(part.type, "Video", ++videos_);
      else
        plain(part.text);
    }
  }

  void add_media(ContentPart::Type type, std::string_view name, int number) {
    if (options_.add_vision_id) plain(fmt::format("{} {}: ", name, number));
    control("<|vision_start|>");
    out_.push_back({pad_text(type), true, false, type});
    control("<|vision_end|>");
  }

  void declare() {
    plain(
        "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
        "provided with function signatures within <tools></tools> XML tags:\n<tools>");
    for (const Tool& tool : options_.tools) plain("\n" + tool.text);
    plain(
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
        "within ");
    tag(kToolCall);
    tag(kToolCallEnd);
    plain(" XML tags:\n");
    tag(kToolCall);
    plain("\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n");
    tag(kToolCallEnd);
  }

  const TemplateOptions& options_;
  std::vector<Piece> out_;
  int images_ = 0, videos_ = 0;
  bool declared_ = false;
};

std::vector<Piece> render(const Conversation& conversation, const TemplateOptions& options) {
  return Renderer(options).render(conversation);
}

// Hands out the token counts of images and videos in order.
void set_counts(std::vector<Piece>& pieces, const std::vector<int>& images, const std::vector<int>& videos) {
  size_t next_image = 0, next_video = 0;
  for (Piece& piece : pieces) {
    if (piece.type == ContentPart::Type::text) continue;
    const bool image = piece.type == ContentPart::Type::image;
    const std::vector<int>& counts = image ? images : videos;
    const size_t index = image ? next_image++ : next_video++;
    const char* name = image ? "image" : "video";
    if (index >= counts.size())
      fail("the conversation has more {0}s than the {1} whose token counts were given", name, counts.size());
    if (counts[index] <= 0)
      fail("{} {} has a token count of {}, expected at least 1", name, index + 1, counts[index]);
    piece.count = static_cast<size_t>(counts[index]);
  }
  if (next_image != images.size() || next_video != videos.size())
    fail("the conversation has {} images and {} videos, but token counts of {} and {} were given", next_image,
         next_video, images.size(), videos.size());
}

TokenId control_id(const Tokenizer& tokenizer, std::string_view text) {
  const auto id = tokenizer.find(text);
  if (!id) fail("the tokenizer has no token {}, which the chat template needs", text);
  return *id;
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

std::vector<const ContentPart*> visuals_of(const Conversation& conversation) {
  std::vector<const ContentPart*> parts;
  for (const Message& message : conversation)
    for (const ContentPart& part : message.content)
      if (part.type != ContentPart::Type::text) parts.push_back(&part);
  return parts;
}

std::string render_chat(const Conversation& conversation, const TemplateOptions& options) {
  std::string out;
  for (const Piece& piece : render(conversation, options)) out += piece.text;
  return out;
}

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const Conversation& conversation,
                                 const std::vector<int>& image_tokens, const std::vector<int>& video_tokens,
                                 const TemplateOptions& options) {
  std::vector<Piece> pieces = render(conversation, options);
  set_counts(pieces, image_tokens, video_tokens);
  std::string text;
  // Control tokens by id, all text between two of them encoded in one piece as text: nothing that a message
  // holds can form a control token, not even together with the template's text around it.
  std::vector<TokenId> ids;
  for (const Piece& piece : pieces) {
    if (!piece.control || (piece.if_known && !tokenizer.find(piece.text))) {
      text += piece.text;
      continue;
    }
    tokenizer.encode(text, ControlTokens::as_text, ids);
    text.clear();
    ids.insert(ids.end(), piece.count, control_id(tokenizer, piece.text));
  }
  tokenizer.encode(text, ControlTokens::as_text, ids);
  return ids;
}

}  // namespace dvlm
