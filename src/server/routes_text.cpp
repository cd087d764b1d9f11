// The addresses that write text or count tokens.
#include "core/finally.h"
#include "server/completions.h"

#include <nlohmann/json.hpp>
#include "server/errors.h"
#include "server/exchange.h"
#include "server/generate.h"
#include "server/image_access.h"
#include "server/openai.h"
#include "server/routes.h"
#include "server/tokenize.h"

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

}  // namespace

void add_openai(Routes& routes, ServerState& state) {
  routes.post("/v1/chat/completions", [&state](const json& body, httplib::Response& response) {
    ApiRequest asked = parse_chat_request(body, state.config, state.options.chat);
    admit(state, asked.request, asked.fields.pictures);
    auto format = chat_format(options_for(state, asked, "chatcmpl-" + random_hex()));
    answer(state, response, std::move(asked), std::move(format));
  });
  routes.post("/v1/completions", [&state](const json& body, httplib::Response& response) {
    ApiRequest asked =
        parse_completion_request(body, state.config, state.tokens.tokenizer(), state.options.chat);
    auto format = completion_format(options_for(state, asked, "cmpl-" + random_hex()));
    answer(state, response, std::move(asked), std::move(format));
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
    const ImageAccess images{[&state](Request& request) { admit(state, request, "messages"); }, state.images};
    send_json(response, tokenize(body, state.config, state.tokens, state.options.chat, images));
  });
  routes.post("/detokenize", [&state](const json& body, httplib::Response& response) {
    send_json(response, detokenize(body, state.config, state.tokens));
  });
}

}  // namespace dvlm
