// dvlm serve: the model over HTTP.
#include <cstdio>
#include <thread>

#include "checkpoint/hub_cache.h"
#include "command.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "options.h"
#include "server/api_keys.h"
#include "server/server.h"

namespace dvlm {

namespace {

constexpr size_t kPrefixes = 256;  // earlier answers to continue, as far as --kv-memory holds them

struct ServeOptions {
  ModelFlags model;
  ServerOptions server;
  std::string api_key_file, kv_memory = "4GiB", picture_memory = "2GiB", log = "off";
};

void set_log(ServeOptions& options) {
  if (options.log == "off") {
    if (options.server.log_prompts) fail("--log-prompts needs --log requests");
    return;
  }
  options.server.log = [](const std::string& line) { standard_error().write(line); };
}

// The hub's name of a model, whose folder there is called by its commit; else the folder's.
std::string served_name(const std::string& given, const std::filesystem::path& folder) {
  std::error_code error;
  if (const auto hub = hub_name(given); hub && !std::filesystem::exists(given, error)) return hub->repository;
  // "models/x/." is x; a link is called as it is.
  const std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

void serve(ServeOptions& options) {
  set_log(options);
  install_interrupt_handler();
  if (!options.api_key_file.empty()) options.server.api_keys = read_api_keys(options.api_key_file);
  EngineOptions engine_given = engine_options(options.model, decoder_names());
  engine_given.max_cached_prefixes = kPrefixes;
  engine_given.load.kv_limit = parse_bytes(options.kv_memory, "--kv-memory");
  engine_given.images.waiting = parse_bytes(options.picture_memory, "--picture-memory");
  if (options.server.model_name.empty())
    options.server.model_name = served_name(options.model.model, engine_given.model);
  Engine engine(engine_given);
  Server server(engine, options.server);
  const int port = server.bind();
  const std::string host = options.server.host.find(':') == std::string::npos
                               ? options.server.host
                               : "[" + options.server.host + "]";
  std::fprintf(stderr, "%s is served at http://%s:%d/v1; a page to look at: http://%s:%d/ (Ctrl-C ends it)\n",
               printable(options.server.model_name).c_str(), host.c_str(), port, host.c_str(), port);
  std::jthread watch([&](const std::stop_token& token) {
    while (!token.stop_requested() && !interrupted())
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    server.stop();
  });
  server.run();
  clear_interrupt();  // being told to end is how it ends
}

void add_limits(Command command, ServeOptions& options) {
  ServerOptions& server = options.server;
  command.number("--max-batch", server.scheduler.max_batch, 1, 256,
                 "Requests that share passes over the model");
  command.number("--max-waiting", server.scheduler.max_waiting, 1, 1024,
                 "Requests that may wait; further ones are refused (429)");
  command.text("--kv-memory", options.kv_memory,
               "Most memory for keys and values, of requests and of what is kept for later ones");
  command.text(
      "--picture-memory", options.picture_memory,
      "Most memory for pictures and videos of all requests until they are encoded; what finds none is "
      "refused (429)");
  command.number("--prefill-rows", server.scheduler.prefill_rows, 1, 65536,
                 "Tokens of prompts in a pass that also writes for others: more answers new requests "
                 "sooner, fewer keeps the others going");
  command.text("--image-root", server.images.root,
               "Folder of pictures and videos that clients may name by relative path");
  command.texts("--allow-image-host", server.images.hosts,
                "Host whose http(s) pictures clients may name: example.org, *.example.org, "
                "example.org:8443, 127.0.0.1:9000; may be repeated");
  command.number("--image-timeout", server.images.timeout, 1, 3600,
                 "Seconds that fetching one picture may take");
  command.number("--max-answer", server.chat.max_tokens, 1, 1 << 20, "Most tokens of an answer");
  command.number("--timeout", server.timeout, 1, 86400, "Seconds that a request may take, waiting included");
  command.number("--max-connections", server.max_connections, 1, 4096,
                 "Connections at once; further ones are turned away (503)");
  command.number("--read-timeout", server.read_timeout, 1, 3600,
                 "Seconds in which a request must arrive, its headers in a sixth of them");
}

}  // namespace

void add_serve(Command app) {
  auto options = std::make_shared<ServeOptions>();
  options->server.model_name.clear();
  Command command =
      app.add("serve", "Serve the model over HTTP: the APIs of OpenAI and Anthropic, vLLM's and SGLang's");
  command.group("Server");
  ServerOptions& server = options->server;
  command.text("--host", server.host, "Address to listen on; 0.0.0.0 for every one of this machine");
  command.number("--port", server.port, 0, 65535, "Port, 0 for any that is free");
  command.text("--model-name", server.model_name, "What clients call the model (default: its folder)");
  command.text("--api-key-file", options->api_key_file, "Keys of which clients must show one, one per line");
  command.texts(
      "--allow-host", server.hosts,
      "Name by which the server may be asked (Host), beside those of its own address; may be repeated");
  command.texts("--allow-origin", server.origins,
                "Origin of web pages that may use the server: http://localhost:5173, or * for all; may be "
                "repeated");
  add_limits(command, *options);
  command.choice("--log", options->log, {"off", "requests"},
                 "requests: one line of JSON for each on standard error");
  command.flag("--log-prompts", server.log_prompts, "Those lines hold the prompts' texts, too");
  add_model_options(command, options->model);
  command.runs([options] { serve(*options); },
               "Examples:\n"
               "  dvlm serve --port 8080\n"
               "  dvlm serve -m ~/models/Fast_dVLM_3B --draft-precision int4 --packed weights.bin "
               "--api-key-file keys");
}

}  // namespace dvlm
