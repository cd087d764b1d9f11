#include "text/chat.h"

#include <algorithm>
#include <numeric>

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

// What the system message says of tools (docs/reference.md, Tool calls).
void declare(const std::vector<Tool>& tools, const auto& plain, const auto& tag) {
  plain(
      "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided "
      "with "
      "function signatures within <tools></tools> XML tags:\n<tools>");
  for (const Tool& tool : tools) plain("\n" + tool.text);
  plain(
      "\n</tools>\n\nFor each function call, return a json object with function name and arguments within ");
  tag(kToolCall);
  tag(kToolCallEnd);
  plain(" XML tags:\n");
  tag(kToolCall);
  plain("\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n");
  tag(kToolCallEnd);
}

// The template (docs/reference.md, Chat template): the one description that the text and the tokens both
// come from.
std::vector<Piece> render(const Conversation& conversation, const TemplateOptions& options) {
  std::vector<Piece> out;
  int images = 0, videos = 0;
  const auto plain = [&](std::string text) { out.push_back({std::move(text)}); };
  const auto control = [&](const char* token) { out.push_back({token, true}); };
  const auto begin_message = [&](const std::string& role) {
    control("<|im_start|>");
    plain(role + "\n");
  };
  const auto end_message = [&] {
    control("<|im_end|>");
    plain("\n");
  };
  const auto media = [&](ContentPart::Type type, std::string_view name, int number) {
    if (options.add_vision_id) plain(fmt::format("{} {}: ", name, number));
    control("<|vision_start|>");
    out.push_back({pad_text(type), true, false, type});
    control("<|vision_end|>");
  };
  const auto tag = [&](const char* token) { out.push_back({token, true, true}); };
  if (!conversation.empty() && conversation.front().role != "system") {
    begin_message("system");
    plain("You are a helpful assistant.");
    if (!options.tools.empty()) declare(options.tools, plain, tag);
    end_message();
  }
  for (size_t i = 0; i < conversation.size(); ++i) {
    const Message& message = conversation[i];
    const bool result = message.role == "tool";
    const auto is_result = [&](size_t at) {
      return at < conversation.size() && conversation[at].role == "tool";
    };
    if (!result) {
      begin_message(message.role);
    } else if (i == 0 || !is_result(i - 1)) {  // several results are one message
      control("<|im_start|>");
      plain("user");
    }
    if (result) plain("\n<tool_response>\n");
    for (const ContentPart& part : message.content) {
      if (part.type == ContentPart::Type::image)
        media(part.type, "Picture", ++images);
      else if (part.type == ContentPart::Type::video)
        media(part.type, "Video", ++videos);
      else
        plain(part.text);
    }
    if (result) plain("\n</tool_response>");
    if (i == 0 && message.role == "system" && !options.tools.empty()) declare(options.tools, plain, tag);
    for (const ToolCall& call : message.calls) {
      if (&call != message.calls.data() || has_text(message)) plain("\n");
      tag(kToolCall);
      plain("\n{\"name\": \"" + call.name + "\", \"arguments\": " + call.arguments + "}\n");
      tag(kToolCallEnd);
    }
    if (!result || !is_result(i + 1)) end_message();
  }
  if (options.add_generation_prompt) begin_message("assistant");
  return out;
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
  std::string out;
  for (const Piece& piece : render(conversation, options)) out += piece.text;
  return out;
}

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const Conversation& conversation,
                                 const std::vector<int>& image_tokens, const std::vector<int>& video_tokens,
                                 const TemplateOptions& options, bool trusted_text) {
  std::vector<Piece> pieces = render(conversation, options);
  set_counts(pieces, image_tokens, video_tokens);
  std::string text;
  if (trusted_text) {
    // What Hugging Face's processor does: everything is text, pads repeated, and the tokenizer parses it all.
    for (const Piece& piece : pieces)
      for (size_t i = 0; i < piece.count; ++i) text += piece.text;
    auto ids = tokenizer.encode(text, ControlTokens::parse);
    check_pads(tokenizer, ids, image_tokens, ContentPart::Type::image);
    check_pads(tokenizer, ids, video_tokens, ContentPart::Type::video);
    return ids;
  }
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
