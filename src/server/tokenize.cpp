#include "server/tokenize.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr FieldRule kTokenizeFields[] = {
    {"model"},
    {"prompt"},
    {"messages"},
    {"add_generation_prompt"},
    {"return_token_strs"},
    {"add_special_tokens", "true or false", "it must be true or false"},  // these tokenizers have none to add
};
constexpr FieldRule kDetokenizeFields[] = {{"model"}, {"tokens"}};

std::vector<TokenId> tokens_of(const ApiObject& body, const ModelConfig& config, const Tokenizer& tokenizer,
                               const ChatLimits& limits, const ImageAccess& images) {
  const json* prompt = body.find("prompt");
  if ((prompt != nullptr) == body.has("messages"))
    body.refuse("prompt", "give either \"prompt\" or \"messages\"");
  if (!prompt) {
    Request request;
    request.conversation = read_conversation(body, limits);
    request.chat_template.add_generation_prompt = body.boolean("add_generation_prompt", true);
    images.admit(request);
    const std::lock_guard lock(images.decoding);
    return prepare_prompt(config, tokenizer, request).tokens;
  }
  if (!prompt->is_string()) body.refuse("prompt", "\"prompt\" must be a string");
  if (!body.boolean("add_generation_prompt", true))
    body.refuse("add_generation_prompt", "\"add_generation_prompt\" is for \"messages\"");
  return tokenizer.encode(prompt->get_ref<const std::string&>(), ControlTokens::parse);
}

}  // namespace

json tokenize(const json& given, const ModelConfig& config, const TokenWriter& tokens,
              const ChatLimits& limits, const ImageAccess& images) {
  const ApiObject body(given);
  check_fields(body, kTokenizeFields);
  const bool texts = body.boolean("return_token_strs", false);
  const std::vector<TokenId> ids = tokens_of(body, config, tokens.tokenizer(), limits, images);
  json out = {{"count", ids.size()},
              {"max_model_len", config.text.max_positions},
              {"tokens", ids},
              {"token_strs", nullptr}};
  if (texts) {
    json& strings = out["token_strs"] = json::array();
    for (const TokenId id : ids) strings.push_back(tokens.text(id));
  }
  return out;
}

json detokenize(const json& given, const ModelConfig& config, const TokenWriter& tokens) {
  const ApiObject body(given);
  check_fields(body, kDetokenizeFields);
  const json* list = body.find("tokens");
  if (!list) body.refuse("tokens", "the field \"tokens\" is missing");
  return {{"prompt", tokens.tokenizer().decode(read_token_ids(*list, "tokens", config), false)}};
}

}  // namespace dvlm
