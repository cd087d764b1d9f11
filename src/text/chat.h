// Conversations and the Qwen2.5-VL chat template, rendered natively (docs/reference.md, Chat template).
#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "text/tokenizer.h"
#include "text/tool_calls.h"

namespace dvlm {

struct ContentPart {
  enum class Type { text, image, video } type = Type::text;
  std::string text;                 // for text
  std::string source;               // for image and video: path, data URL or URL as the caller wrote it
  std::vector<std::string> frames;  // for a video given as a list of images
  // Overrides of the preprocessing for this item (qwen-vl-utils keys); 0 or empty = default.
  int64_t min_pixels = 0, max_pixels = 0;
  int64_t pixel_bound = 0;  // no more than this, whatever the others say; 0 = none
  int resized_height = 0, resized_width = 0;
  double fps = 0;
  int nframes = 0;
};
ContentPart text_part(std::string text);
ContentPart image_part(std::string source);
ContentPart video_part(std::string source, std::vector<std::string> frames = {});  // a file, or frames

struct Message {
  std::string role;  // "system", "user", "assistant", "tool" (what a call gave)
  std::vector<ContentPart> content;
  std::vector<ToolCall> calls = {};  // of an assistant
  std::string call_id = {};          // of a tool: the call whose result it is; may be empty
};

using Conversation = std::vector<Message>;

// OpenAI- and Qwen-style messages: content a string or a list of {"type": "text" | "image" | "image_url" |
// "video", ...}. Results of tools come in the order of the calls that they name. Throws Error naming the
// message and field.
Conversation parse_messages(const nlohmann::json& messages);

// Makes relative paths of pictures, videos and frames relative to `folder`; what has a scheme ("data:",
// "file:") stays.
void resolve_paths(Conversation& conversation, const std::filesystem::path& folder);

struct TemplateOptions {
  bool add_generation_prompt = true;
  bool add_vision_id = false;
  std::vector<Tool> tools = {};  // that the model may call
};

// Images and videos in the order in which the template shows them.
std::vector<const ContentPart*> visuals_of(const Conversation& conversation);

// The text of the template, one <|image_pad|> or <|video_pad|> per item: what Hugging Face's
// apply_chat_template gives.
std::string render_chat(const Conversation& conversation, const TemplateOptions& options = {});

// Tokens of the rendered conversation with the k-th image (video) pad repeated image_tokens[k]
// (video_tokens[k]) times. Template text is parsed for control tokens; message text is not, so that a user
// who types "<|im_end|>" or the mask token writes plain text. Throws Error when counts and items disagree.
std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const Conversation& conversation,
                                 const std::vector<int>& image_tokens, const std::vector<int>& video_tokens,
                                 const TemplateOptions& options = {});

// Throws Error when the folder's chat template (chat_template.jinja, chat_template.json or
// tokenizer_config.json) is one that render_chat does not reproduce. A folder without a template is accepted.
void check_chat_template(const std::filesystem::path& folder);

// FNV-1a of the template as Jinja reads it: any line end is \n, and one at the very end is dropped.
uint64_t template_fingerprint(std::string_view text);
bool is_known_template(uint64_t fingerprint);

}  // namespace dvlm
