// The addresses that write text or count tokens.
#include <nlohmann/json.hpp>

#include "core/finally.h"
#include "server/apis.h"
#include "server/errors.h"
#include "server/exchange.h"
#include "server/image_access.h"
#include "server/routes.h"

namespace dvlm {

namespace {

using nlohmann::json;

FormatOptions options_for(const ServerState& state, const ApiRequest& asked, const std::string& id) {
  return format_options({id, state.options.model_name, std::time(nullptr)}, asked, state.tokens);
}

// A few at a time fetch or read images, which then stay decoded until the request is answered.
void admit_now(ServerState& state, Request& request) {
  request.max_source_pixels = state.options.images.max_pixels;
  const Connection& connection = Connection::current();
  const auto gone = [&] { return state.stopping || !connection.alive(); };
  if (!names_images(request)) return admit_images(request, state.options.images, gone);
  const int timeout = 3 * state.options.images.timeout;
  if (!state.fetching.try_acquire_for(std::chrono::seconds(timeout)))
    throw Refused(503, "other requests are fetching pictures: try again");
  const Finally release([&] { state.fetching.release(); });
  admit_images(request, state.options.images, gone);
}

// `field`: that names the images.
void admit(ServerState& state, Request& request, const char* field) {
  at_field(field, [&] { admit_now(state, request); });
}

// vLLM's /tokenize: {"prompt"} or {"messages"} -> {"count", "max_model_len", "tokens", "token_strs"}.
constexpr FieldRule kTokenizeFields[] = {
    {"model"},
    {"prompt"},
    {"messages"},
    {"add_generation_prompt"},
    {"return_token_strs"},
    {"add_special_tokens", "true or false", "it must be true or false"},  // these tokenizers have none to add
};

// Images are decoded to count their tokens.
std::vector<TokenId> tokens_of(const ApiObject& body, ServerState& state) {
  const Tokenizer& tokenizer = state.tokens.tokenizer();
  const json* prompt = body.find("prompt");
  if ((prompt != nullptr) == body.has("messages"))
    body.refuse("prompt", "give either \"prompt\" or \"messages\"");
  if (!prompt) {
    Request request;
    request.conversation = read_conversation(body, state.options.chat);
    request.chat_template.add_generation_prompt = body.boolean("add_generation_prompt", true);
    admit(state, request, "messages");
    const std::lock_guard lock(state.images);
    return prepare_prompt(state.config, tokenizer, request).tokens;
  }
  if (!prompt->is_string()) body.refuse("prompt", "\"prompt\" must be a string");
  if (!body.boolean("add_generation_prompt", true))
    body.refuse("add_generation_prompt", "\"add_generation_prompt\" is for \"messages\"");
  return tokenizer.encode(prompt->get_ref<const std::string&>(), ControlTokens::parse);
}

json tokenize(const json& given, ServerState& state) {
  const ApiObject body(given);
  check_fields(body, kTokenizeFields);
  const bool texts = body.boolean("return_token_strs", false);
  const std::vector<TokenId> ids = tokens_of(body, state);
  json out = {{"count", ids.size()},
              {"max_model_len", state.config.text.max_positions},
              {"tokens", ids},
              {"token_strs", nullptr}};
  if (texts) {
    json& strings = out["token_strs"] = json::array();
    for (const TokenId id : ids) strings.push_back(state.tokens.text(id));
  }
  return out;
}

// vLLM's /detokenize: {"tokens"} -> {"prompt"}, special tokens included.
constexpr FieldRule kDetokenizeFields[] = {{"model"}, {"tokens"}};

json detokenize(const json& given, const ServerState& state) {
  const ApiObject body(given);
  check_fields(body, kDetokenizeFields);
  const json* list = body.find("tokens");
  if (!list) body.refuse("tokens", "the field \"tokens\" is missing");
  const std::vector<TokenId> ids = read_token_ids(*list, "tokens", state.config);
  return {{"prompt", state.tokens.tokenizer().decode(ids, false)}};
}

// An address whose requests are read, then admitted, then answered. `id`: what the answers' ids begin with.
void add_api(Routes& routes, ServerState& state, const char* path, decltype(parse_chat_request)* parse,
             const char* id, decltype(chat_format)* format) {
  routes.post(path, [=, &state](const json& body, httplib::Response& response) {
    ApiRequest asked = parse(body, state.config, state.tokens.tokenizer(), state.options.chat);
    admit(state, asked.request, asked.fields.pictures);
    auto answer_format = format(options_for(state, asked, id + random_hex()));
    answer(state, response, std::move(asked), std::move(answer_format));
  });
}

}  // namespace

void add_openai(Routes& routes, ServerState& state) {
  add_api(routes, state, "/v1/chat/completions", parse_chat_request, "chatcmpl-", chat_format);
  add_api(routes, state, "/v1/completions", parse_completion_request, "cmpl-", completion_format);
}

void add_blocks(Routes& routes, ServerState& state) {
  add_api(routes, state, "/v1/responses", parse_response_request, "resp_", response_format);
  add_api(routes, state, "/v1/messages", parse_messages_request, "msg_", messages_format);
  routes.post("/v1/messages/count_tokens", [&state](const json& body, httplib::Response& response) {
    const Tokenizer& tokenizer = state.tokens.tokenizer();
    ApiRequest asked = parse_count_request(body, state.config, tokenizer, state.options.chat);
    admit(state, asked.request, asked.fields.pictures);
    const std::lock_guard lock(state.images);
    send_json(response,
              {{"input_tokens", prepare_prompt(state.config, tokenizer, asked.request).tokens.size()}});
  });
}

void add_others(Routes& routes, ServerState& state) {
  routes.post("/generate", [&state](const json& body, httplib::Response& response) {
    const Tokenizer& tokenizer = state.tokens.tokenizer();
    ApiRequest asked = parse_generate_request(body, state.config, tokenizer, state.options.chat);
    admit(state, asked.request, asked.fields.pictures);
    at_field(asked.fields.pictures, [&] {
      const std::lock_guard lock(state.images);
      place_images(asked.request, state.config, tokenizer);
    });
    auto format = generate_format(options_for(state, asked, Connection::current().record.id));
    answer(state, response, std::move(asked), std::move(format));
  });
  routes.post("/tokenize", [&state](const json& body, httplib::Response& response) {
    send_json(response, tokenize(body, state));
  });
  routes.post("/detokenize", [&state](const json& body, httplib::Response& response) {
    send_json(response, detokenize(body, state));
  });
}

}  // namespace dvlm
