// Requests of clients as JSON, of every API: what becomes of them keeps the limits that are documented, and
// no text of a message becomes a control token. The document's key says whose they are.
#include <algorithm>
#include <cmath>

#include "engine/request_json.h"
#include "json_files.h"
#include "json_mutator.h"
#include "server/apis.h"
#include "text/unicode.h"
#include "tiny_model.h"

namespace {

using namespace dvlm;
using fuzz::json;

using fuzz::config, fuzz::tokenizer;

void check_part(const ContentPart& part) {
  DVLM_ASSERT(part.min_pixels >= 0 && part.max_pixels >= 0 && part.nframes >= 0);
  DVLM_ASSERT(part.max_pixels == 0 || part.min_pixels <= part.max_pixels);
  DVLM_ASSERT((part.resized_height > 0) == (part.resized_width > 0));
  DVLM_ASSERT(std::isfinite(part.fps) && part.fps >= 0 && (part.fps == 0 || part.nframes == 0));
}

// Control tokens stand where the template has them, whatever the messages say.
void check_tokens(const Request& request) {
  std::vector<int> images, videos;
  for (const Message& message : request.conversation) {
    DVLM_ASSERT(message.role == "system" || message.role == "user" || message.role == "assistant" ||
                message.role == "tool");
    for (const ContentPart& part : message.content) {
      check_part(part);
      if (part.type == ContentPart::Type::image) images.push_back(1);
      if (part.type == ContentPart::Type::video) videos.push_back(1);
    }
  }
  const auto ids = encode_chat(tokenizer(), request.conversation, images, videos, request.chat_template);
  const auto count = [&](const char* text) {
    return std::count(ids.begin(), ids.end(), *tokenizer().find(text));
  };
  const bool system = !request.conversation.empty() && request.conversation.front().role != "system";
  // Results of tools that follow each other are one message.
  int64_t messages = system ? 1 : 0;
  for (size_t i = 0; i < request.conversation.size(); ++i)
    messages +=
        request.conversation[i].role != "tool" || i == 0 || request.conversation[i - 1].role != "tool";
  DVLM_ASSERT(count("<|im_end|>") == messages && count("<|im_start|>") == messages + 1 &&
              count(kMaskToken) == 0);
  DVLM_ASSERT(count("<|image_pad|>") == std::ssize(images) && count("<|video_pad|>") == std::ssize(videos));
  std::string storage;
  const std::string text = replace_invalid_utf8(render_chat(request.conversation, request.chat_template));
  DVLM_ASSERT(tokenizer().decode(ids, false) == to_nfc(text, storage));
}

void check_options(const Request& request, double hottest) {
  const DecodeOptions& decode = request.decode;
  const SamplingOptions& sampling = decode.sampling;
  DVLM_ASSERT(decode.max_tokens >= 1 && decode.block_size >= 2 && decode.block_size <= 256);
  DVLM_ASSERT(decode.branches >= 1 && decode.sub_block >= 1 && decode.threshold >= 0 &&
              decode.threshold <= 1);
  DVLM_ASSERT(sampling.temperature >= 0 && sampling.temperature <= hottest && sampling.top_k >= 0);
  DVLM_ASSERT(sampling.top_p >= 0 && sampling.top_p <= 1);
  for (const auto& [token, bias] : sampling.logit_bias)
    DVLM_ASSERT(token >= 0 && token < config().text.vocab_size && std::abs(bias) <= kMaxLogitBias);
  DVLM_ASSERT(request.stop.size() <= 16 && request.min_pixels >= 0 && request.max_pixels >= 0);
  for (const std::string& stop : request.stop) DVLM_ASSERT(!stop.empty() && stop.size() <= 1000);
  for (const TokenId id : request.input_ids) DVLM_ASSERT(id >= 0 && id < config().text.vocab_size);
}

void check_seed(const json& body, const SamplingOptions& sampling) {
  if (!body.contains("seed") || !body["seed"].is_number_integer()) return;
  const json& seed = body["seed"];
  DVLM_ASSERT(sampling.seed == (seed.is_number_unsigned() ? seed.get<uint64_t>()
                                                          : static_cast<uint64_t>(seed.get<int64_t>())));
}

template <class Parse>
void check_api(const json& body, const Parse& parse) {
  ApiRequest asked;
  try {
    asked = parse(body);
  } catch (const FieldError& error) {
    fuzz::check_sentence(error.what());
    if (!error.field().empty()) fuzz::check_sentence(error.field());
    return;
  }
  DVLM_ASSERT(asked.choices >= 1 && asked.choices <= kMaxChoices &&
              asked.request.decode.logprobs <= kMaxLogprobs);
  check_options(asked.request, 2);
  check_seed(body.contains("sampling_params") && body["sampling_params"].is_object() ? body["sampling_params"]
                                                                                     : body,
             asked.request.decode.sampling);
  if (asked.request.input_ids.empty()) check_tokens(asked.request);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const json document = fuzz::document_of(input);
  if (!document.is_object()) return 0;
  const ChatLimits limits{.max_tokens = 1000, .messages = 8};
  fuzz::accepts([&] {
    for (const auto& member : document.items()) {
      const json& body = member.value();
      if (member.key() == "chat")
        check_api(body, [&](const json& b) { return parse_chat_request(b, config(), tokenizer(), limits); });
      if (member.key() == "completion")
        check_api(body,
                  [&](const json& b) { return parse_completion_request(b, config(), tokenizer(), limits); });
      if (member.key() == "responses")
        check_api(body,
                  [&](const json& b) { return parse_response_request(b, config(), tokenizer(), limits); });
      if (member.key() == "messages")
        check_api(body,
                  [&](const json& b) { return parse_messages_request(b, config(), tokenizer(), limits); });
      if (member.key() == "generate")
        check_api(body,
                  [&](const json& b) { return parse_generate_request(b, config(), tokenizer(), limits); });
      if (member.key() != "libdvlm") continue;
      const Request request = parse_request(body, config());
      check_options(request, 100);
      check_seed(body, request.decode.sampling);
      check_tokens(request);
    }
  });
  return 0;
}
