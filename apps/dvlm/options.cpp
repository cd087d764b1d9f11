#include "options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "checkpoint/hub_cache.h"
#include "checkpoint/json.h"
#include "core/ascii.h"
#include "core/error.h"
#include "data/layouts.h"
#include "engine/request_json.h"
#include "measure/random_checkpoint.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

std::vector<TokenId> parse_ids(const std::string& text) {
  std::vector<TokenId> ids;
  const char* at = text.data();
  const char* end = at + text.size();
  const auto skip_spaces = [&] { at = std::find_if(at, end, [](char byte) { return byte != ' '; }); };
  while (!text.empty()) {
    skip_spaces();
    TokenId id = 0;
    const auto result = std::from_chars(at, end, id);
    if (result.ec != std::errc() || id < 0)
      fail("--input-ids must be token ids separated by commas, found \"{}\"", printable(text));
    ids.push_back(id);
    at = result.ptr;
    skip_spaces();
    if (at == end) break;
    if (*at == ',') ++at;
  }
  return ids;
}

std::string read_standard_input() {
  constexpr size_t kLimit = size_t{64} << 20;  // as for files
  std::string text;
  char chunk[1 << 16];
  while (std::cin.read(chunk, sizeof chunk), std::cin.gcount() > 0) {
    text.append(chunk, static_cast<size_t>(std::cin.gcount()));
    if (text.size() > kLimit) fail("standard input holds more than {} bytes of messages", kLimit);
  }
  return text;
}

std::vector<std::string> images_in(const fs::path& folder) {
  if (!fs::is_directory(folder)) fail("--frames: there is no folder {}", folder.string());
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  std::ranges::sort(files);
  if (files.empty()) fail("--frames: the folder {} is empty", folder.string());
  return files;
}

void add_device_option(Command command, std::string& device, const char* help) {
  command.text("--device", device, help);
}

void add_threads_option(Command command, int& threads) {
  command.number("--threads", threads, 1, 1024,
                 "Threads (default: all cores, or as many as the container may use)");
}

}  // namespace

fs::path model_folder(const std::string& given) {
  if (!given.empty()) return find_model(given);
  std::error_code error;
  fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (int up = 0; up < 6 && !folder.empty(); ++up, folder = folder.parent_path())
    for (const char* place : {"share/dvlm/models/dvlm-tiny", "models/dvlm-tiny"})
      if (fs::exists(folder / place / "config.json")) return folder / place;
  fail("dvlm-tiny was not found beside the program; name a Hugging Face folder with --model");
}

void add_model_option(Command command, std::string& model) {
  command.text(
      "-m,--model", model,
      "Hugging Face folder, or org/name that was pulled (default: the dvlm-tiny that comes with dvlm)");
}

void add_memory_options(Command command, ModelFlags& options) {
  add_threads_option(command, options.threads);
  command.text("--memory-limit", options.memory_limit, "Most memory for weights and KV cache, e.g. 6GiB");
}

void add_model_options(Command command, ModelFlags& options) {
  command.group("Model");
  add_model_option(command, options.model);
  command.text("--lora", options.lora, "Folder of a LoRA adapter as PEFT writes it, merged into the model");
  command.text(
      "--draft-lora", options.draft_lora,
      "Folder of an adapter that drafts and denoising alone use: the text of the other decoders stays "
      "the model's");
  add_device_option(
      command, options.device,
      "auto: the first NVIDIA card that the model fits, else the CPU; cpu; cuda or cuda:1: that "
      "card, see dvlm devices");
  command.choice(
      "--precision", options.precision, {"auto", "f32", "bf16", "int8", "int4"},
      "Arithmetic of the model; auto follows the checkpoint. int8 and int4 round the weights of its "
      "linear layers while it loads, head and embedding to int8, and what they multiply to eight bits");
  add_draft_option(command, options.draft_precision);
  command.text("--packed", options.packed,
               "A file that keeps the weights as the kernels want them: made when it is not there or the "
               "model has changed, read by later starts");
  add_memory_options(command, options);
}

void add_shape_options(Command command, std::string& shape, std::vector<std::string>& precisions,
                       const char* which) {
  command.choice("--shape", shape, {"3b", "tiny"}, "Shape of the model");
  command.choices("--precision", precisions, precision_names(), which);
}

void add_acceptance_option(Command command, std::string& file) {
  command.text("--acceptance", file, "What dvlm bench record wrote").required().existing();
}

void add_machine_options(Command command, MachineFlags& options) {
  add_device_option(command, options.device, "cpu, or cuda or cuda:1: an NVIDIA card, see dvlm devices");
  add_threads_option(command, options.threads);
  command.flag("--json", options.json, "Print JSON");
}

void add_draft_option(Command command, std::string& precision) {
  command.choice(
      "--draft-precision", precision, {"auto", "same", "int8", "int4", "fp8"},
      "Weights that drafts are made with, which decide nothing. On the CPU int8 (int4), with as much (half "
      "as much) memory again as an FP8 model; on a card fp8, for models in BF16. auto: int4 for large models "
      "on a CPU whose memory has room, else same");
}

void add_p_min_option(Command command, double& p_min) {
  command.number(
      "--draft-p-min", p_min, 0, kMaxDraftPMin,
      "Verify no draft less probable than this to be right together with those before it (0: all)");
}

size_t parse_bytes(const std::string& text, const char* option) {
  if (text.empty()) return 0;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit = lower(std::string_view(end, text.data() + text.size()));
  const std::pair<const char*, double> units[] = {
      {"", 1},     {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}, {"kb", 1e3},
      {"mb", 1e6}, {"gb", 1e9},     {"k", 0x1p10},   {"m", 0x1p20},   {"g", 0x1p30}};
  for (const auto& [name, factor] : units)
    if (error == std::errc() && number * factor >= 1 && number * factor < 1e18 && unit == name)
      return static_cast<size_t>(number * factor);
  fail("{} \"{}\" is not a size; write for example 6GiB or 500MB", option, printable(text));
}

EngineOptions engine_options(const ModelFlags& options, const std::vector<std::string>& decoders) {
  EngineOptions out;
  out.model = model_folder(options.model);
  out.lora = options.lora, out.draft_lora = options.draft_lora;
  out.load.device = options.device;
  out.load.on_device = [](const std::string& device, const std::string& reason) {
    std::fprintf(stderr, "the model runs on %s (%s)\n", device.c_str(), printable(reason, 4096).c_str());
  };
  out.load.precision = parse_precision(options.precision);
  out.load.draft = parse_draft_precision(options.draft_precision);
  const auto drafts = [](const std::string& name) { return info_of(decoder_kind(name)).drafts_apart; };
  if (out.load.draft == DraftPrecision::automatic && std::ranges::none_of(decoders, drafts))
    out.load.draft = DraftPrecision::same;
  out.load.threads = options.threads;
  out.load.packed_file = options.packed;
  out.load.memory_limit = parse_bytes(options.memory_limit, "--memory-limit");
  return out;
}

void add_decoder_option(Command command, DecodingOptions& options) {
  std::string help;
  for (const DecoderInfo& info : decoders())
    help += fmt::format("{}{}: {}", help.empty() ? "" : "; ", info.name, info.help);
  command.choice("-d,--decoder", options.decoder, decoder_names(), help);
}

void add_decoding_options(Command command, DecodingOptions& options) {
  DecodeOptions& decode = options.decode;
  command.number("-B,--block-size", options.block_size, 2, kMaxBlockSize,
                 "Tokens per draft (default: the checkpoint's)");
  command.number("--branches", decode.branches, 1, kMaxBlockSize,
                 "fused: how many outcomes of verification a pass drafts for");
  add_p_min_option(command, decode.draft_p_min);
  command.number("--threshold", decode.threshold, 0, 1, "mdm: confidence tau above which a token is written");
  command.number("--sub-block", decode.sub_block, 1, kAny<int>, "mdm: tokens denoised together");
  command.number("-n,--max-tokens", decode.max_tokens, 0, 1 << 20, "Most tokens to write");
  command.number("-t,--temperature", decode.sampling.temperature, 0, kAny<double>, "0 is greedy");
  command.number("--top-k", decode.sampling.top_k, 0, kAny<int>,
                 "Sample among the k likeliest tokens (0: all)");
  command.number("--top-p", decode.sampling.top_p, 0, 1,
                 "Sample among the likeliest tokens that hold this probability");
  command.number("--seed", decode.sampling.seed, 0, kMaxSeed, "One seed, one text, with ar and spec alike");
}

void add_penalty_options(Command command, DecodingOptions& options) {
  SamplingOptions& sampling = options.decode.sampling;
  command.number(
      "--repetition-penalty", sampling.repetition_penalty, kMinRepetitionPenalty, kMaxRepetitionPenalty,
      "Divides logits above 0 of tokens of prompt and answer, and multiplies those below (1: off)");
  command.number("--presence-penalty", sampling.presence_penalty, -kMaxPenalty, kMaxPenalty,
                 "What logits of tokens of the answer lose");
  command.number("--frequency-penalty", sampling.frequency_penalty, -kMaxPenalty, kMaxPenalty,
                 "What they lose for every time that they stand there");
  command.repeated("--logit-bias", options.logit_bias,
                   "ID=BIAS: is added to the logit of a token, see `dvlm tokenize`; may be repeated");
}

namespace {

std::vector<std::pair<TokenId, float>> parse_biases(const std::vector<std::string>& given, int vocab) {
  nlohmann::json biases = nlohmann::json::object();
  for (const std::string& one : given) {
    const size_t split = std::min(one.find('='), one.size());
    const std::string token = one.substr(0, split);
    const char *begin = one.data() + std::min(split + 1, one.size()), *end = one.data() + one.size();
    double bias = 0;
    const auto read = std::from_chars(begin, end, bias);
    if (read.ec != std::errc() || read.ptr != end)
      fail("--logit-bias \"{}\" is no ID=BIAS, as in 220=-5", printable(one));
    if (biases.contains(token)) fail("--logit-bias names the token {} twice", printable(token));
    biases[token] = bias;
  }
  return read_logit_bias(biases, vocab);
}

}  // namespace

DecodeOptions decode_options(const DecodingOptions& options, const ModelConfig& config) {
  DecodeOptions out = options.decode;
  out.sampling.logit_bias = parse_biases(options.logit_bias, config.text.vocab_size);
  out.kind = decoder_kind(options.decoder);
  out.block_size = options.block_size ? options.block_size : config.block_size;
  return out;
}

void add_grammar_options(Command command, GrammarFlags& options) {
  command.text("--json-schema", options.json_schema, "The answer is JSON of this schema: a file, or {...}");
  command.text("--regex", options.regex, "The answer matches this regular expression");
  command.text("--grammar", options.grammar,
               "The answer is a text of this grammar: a file as llama.cpp's (GBNF)");
  command.choice("--json-spaces", options.json_spaces, json_spaces_names(),
                 "With --json-schema: usual, one behind : and ,; none; any, as the model likes (slower)");
  command.excludes("--json-schema", {"--regex", "--grammar"});
  command.excludes("--regex", {"--grammar"});
  command.needs("--json-spaces", "--json-schema");
}

std::optional<GrammarSource> grammar_source(const GrammarFlags& options) {
  constexpr size_t kMaxBytes = size_t{1} << 20;
  if (!options.regex.empty()) return GrammarSource{GrammarKind::regex, options.regex};
  if (!options.grammar.empty())
    return GrammarSource{GrammarKind::gbnf, read_file(options.grammar, kMaxBytes)};
  if (options.json_schema.empty()) return std::nullopt;
  const bool inside = trim(options.json_schema).starts_with('{');
  return GrammarSource{GrammarKind::json_schema,
                       inside ? options.json_schema : read_file(options.json_schema, kMaxBytes),
                       json_spaces(options.json_spaces)};
}

void add_prompt_options(Command command, PromptOptions& options) {
  command.repeated("-i,--image", options.images,
                   "A picture (JPEG, PNG, WebP, GIF, BMP, PNM); may be repeated");
  command.repeated("--video", options.videos, "A video file; may be repeated");
  command.text("--frames", options.frames, "A folder of pictures, in the order of their names, as one video");
  command.number("--fps", options.fps, 0.001, kAny<double>,
                 "Frames per second: sampled of a video, or of the pictures in --frames (default: 2)");
  command.text("-p,--prompt", options.prompt, "The question");
  command.text("--system", options.system, "System message (default: You are a helpful assistant.)");
  command.text("--messages", options.messages, "A conversation as OpenAI-style JSON, instead of --prompt");
  command.text("--input-ids", options.input_ids,
               "Token ids instead of a prompt, pads expanded, e.g. 1,2,3 (for tests)");
  command.excludes("--messages", {"--image", "--video", "--frames", "--fps", "--prompt", "--system"});
  command.excludes("--input-ids", {"--prompt", "--system", "--messages"});
  command.number("--min-pixels", options.min_pixels, 1, int64_t{1} << 40,
                 "Enlarge pictures to at least this area (default: the checkpoint's)");
  command.number("--max-pixels", options.max_pixels, 1, int64_t{1} << 40,
                 "Shrink pictures to at most this area (default: the checkpoint's)");
  command.flag("--exif-rotate", options.exif_rotate,
               "Turn pictures as their cameras noted (the models were trained without)");
  command.flag("--add-vision-id", options.add_vision_id,
               "Number the pictures in the prompt (\"Picture 1: \")");
}

namespace {

// Beside messages nothing is read: what `dvlm synth` writes there tells a model nothing, and anything else
// would be ignored.
void refuse_beside_messages(const nlohmann::json& object, const std::string& where) {
  constexpr std::array<std::string_view, 10> kKnown = {"messages", "id",   "type",  "types", "answer",
                                                       "metric",   "long", "scene", "paper", "regions"};
  for (const auto& [key, value] : object.items())
    if (!says_nothing(value) && std::ranges::find(kKnown, key) == kKnown.end())
      fail("{}: \"{}\" is not read beside \"messages\": take it out, and give it as a flag if there is one",
           printable(where), printable(key));
}

}  // namespace

Request make_request(const PromptOptions& options) {
  Request request;
  request.min_pixels = options.min_pixels;
  request.max_pixels = options.max_pixels;
  request.exif_rotate = options.exif_rotate;
  request.chat_template.add_vision_id = options.add_vision_id;
  request.input_ids = parse_ids(options.input_ids);
  if (!options.messages.empty()) {
    const fs::path path = options.messages;
    const auto json =
        options.messages == "-" ? parse_json(read_standard_input(), "standard input") : read_json(path);
    const bool named = json.is_object() && json.contains("messages");
    if (named) refuse_beside_messages(json, options.messages);
    request.conversation = parse_messages(named ? json["messages"] : json);
    resolve_paths(request.conversation, path.parent_path());
    return request;
  }
  if (!options.system.empty()) request.conversation.push_back({"system", {text_part(options.system)}});
  if (options.fps > 0 && options.videos.empty() && options.frames.empty())
    fail("--fps needs --video or --frames: a picture has no frames");
  Message user{"user", {}};
  for (const std::string& image : options.images) user.content.push_back(image_part(image));
  for (const std::string& video : options.videos) user.content.push_back(video_part(video));
  if (!options.frames.empty()) user.content.push_back(video_part("", images_in(options.frames)));
  for (ContentPart& item : user.content)
    if (item.type == ContentPart::Type::video) item.fps = options.fps;
  if (!options.prompt.empty()) user.content.push_back(text_part(options.prompt));
  request.conversation.push_back(std::move(user));
  return request;
}

}  // namespace dvlm
