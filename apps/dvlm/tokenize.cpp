// dvlm tokenize: what a prompt costs, images included, without running the model.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "command.h"
#include "core/utf8.h"
#include "engine/request_json.h"
#include "options.h"
#include "output.h"

namespace dvlm {

namespace {

struct TokenizeOptions {
  std::string model, text;
  PromptOptions prompt;
  bool json = false;
};

void tokenize(const TokenizeOptions& options) {
  const std::filesystem::path folder = model_folder(options.model);
  std::vector<TokenId> ids;
  nlohmann::json images = nlohmann::json::array();
  const Tokenizer tokenizer(folder);
  int image_tokens = 0;
  if (!options.text.empty()) {
    ids = tokenizer.encode(options.text, ControlTokens::parse);
  } else {
    if (options.prompt.input_ids.empty()) check_chat_template(folder);
    const PreparedPrompt prompt =
        prepare_prompt(read_config(folder), tokenizer, make_request(options.prompt));
    ids = prompt.tokens;
    image_tokens = prompt.image_tokens;
    images = images_json(prompt.images);
  }
  if (options.json) {
    const nlohmann::json out = {
        {"tokens", ids}, {"count", ids.size()}, {"image_tokens", image_tokens}, {"images", images}};
    print_json(out);
    return;
  }
  for (size_t i = 0; i < ids.size(); ++i) {  // a run of image pads is one line
    size_t run = i;
    while (run + 1 < ids.size() && ids[run + 1] == ids[i]) ++run;
    const std::string text = nlohmann::json(replace_invalid_utf8(tokenizer.bytes_of(ids[i]))).dump();
    std::printf(run > i ? "%8d  %s x %zu\n" : "%8d  %s\n", ids[i], text.c_str(), run - i + 1);
    i = run;
  }
  std::printf("%zu token%s, %d of them pictures\n", ids.size(), ids.size() == 1 ? "" : "s", image_tokens);
}

}  // namespace

void add_tokenize(Command app) {
  auto options = std::make_shared<TokenizeOptions>();
  Command command = app.add("tokenize", "Show the tokens of a text or of a whole prompt with pictures");
  command.text(
      "-m,--model", options->model,
      "Hugging Face folder, or org/name that was pulled (default: the dvlm-tiny that comes with dvlm)");
  command.text("--text", options->text, "Plain text, without the chat template");
  add_prompt_options(command, options->prompt);
  command.excludes("--text",
                   {"--image", "--video", "--frames", "--prompt", "--system", "--messages", "--input-ids",
                    "--min-pixels", "--max-pixels", "--fps", "--exif-rotate", "--add-vision-id"});
  command.flag("--json", options->json, "Print one JSON object");
  command.runs([options] { tokenize(*options); },
               "Examples:\n"
               "  dvlm tokenize --text \"Where is the hammer?\"\n"
               "  dvlm tokenize --image photo.jpg --prompt \"Describe this image.\" --json");
}

}  // namespace dvlm
