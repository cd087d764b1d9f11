// Requests in, text out: preprocessing, vision features, prefix reuse and the decode loop around one model.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "decode/decoder.h"
#include "engine/work_progress.h"
#include "grammar/source.h"
#include "image/video.h"
#include "model/model.h"
#include "text/chat.h"

namespace dvlm {

// The prompt leaves no room for an answer in the model's context.
class PromptTooLong : public Error {
 public:
  using Error::Error;
};

// In bytes.
struct ImageMemory {
  size_t features = size_t{256} << 20;  // of earlier images, which are kept
  size_t waiting = 0;  // for images and videos of all requests until they are encoded; 0: any
};

struct EngineOptions {
  std::filesystem::path model;  // a Hugging Face folder
  // Folders of LoRA adapters (docs/lora.md): one to merge into the model, and one for drafts alone. The
  // tokenizer is that of the last one that brings its own.
  std::filesystem::path lora = {}, draft_lora = {};
  ModelOptions load = {};
  size_t max_cached_prefixes = 1;  // earlier answers whose keys and values are kept
  ImageMemory images = {};
};

struct Request {
  Conversation conversation;                      // or `input_ids`, which skips template and tokenizer
  std::map<std::string, Image> images_in_memory;  // images without a file, by the `source` that names them
  // Videos that are open already, by the `source` that names them: no path leads elsewhere in between.
  std::map<std::string, std::shared_ptr<const InputFile>> open_videos;
  std::vector<TokenId> input_ids;  // pads already expanded; images taken from `conversation` in order
  TemplateOptions chat_template;
  int64_t min_pixels = 0, max_pixels = 0;  // 0 = the checkpoint's
  // Pixels of the largest image before resizing; all images of a request together may have four times as
  // many. 0 = what src/image allows of each.
  int64_t max_source_pixels = 0;
  bool exif_rotate = false;  // pictures are turned as their cameras noted; the models were trained without
  std::vector<std::string> stop;         // texts that end the answer and do not belong to it; none empty
  std::optional<GrammarSource> grammar;  // that the answer follows
  DecodeOptions decode;
};

// What an answer has gained.
struct AnswerPart {
  std::string text;                    // complete UTF-8
  std::vector<TokenLogprob> logprobs;  // with DecodeOptions.logprobs: of the tokens but the stop token
  std::vector<PassRecord> passes;      // with DecodeOptions.record
};

struct Answer {
  std::string text;                                // special tokens removed
  std::vector<TokenId> tokens;                     // stop token included
  std::vector<TokenLogprob> logprobs;              // see AnswerPart
  std::vector<TokenLogprob> all_logprobs() const;  // of all `tokens`
  std::optional<TokenLogprob> stop_logprob;        // of the stop token, when that ended the answer
  FinishReason finish = FinishReason::none;
  int prompt_tokens = 0, image_tokens = 0, reused_tokens = 0;
  std::vector<ImageInfo> images;
  DecodeStats stats;
  double encode_ms = 0, prefill_ms = 0, decode_ms = 0;
  WeightMemory memory;          // of the model that wrote it
  double tokens_per_s() const;  // tokens after the first over decode_ms
};

// What a request feeds the model.
struct PreparedPrompt {
  std::vector<TokenId> tokens;
  std::vector<ImageInfo> images;  // images and videos, in order
  int image_tokens = 0;
};

// Without a model: for `dvlm tokenize` and tests. Throws Error for what generate would refuse, except for
// length.
PreparedPrompt prepare_prompt(const ModelConfig& config, const Tokenizer& tokenizer, const Request& request);

class Generator;
class PromptReader;

// One checkpoint, ready to answer. It keeps the K/V of the last conversation and the features of recent
// images, so that a further turn computes only what is new. One call at a time.
class Engine {
 public:
  explicit Engine(const EngineOptions& options);
  ~Engine();

  // `on_text` receives text as it is committed (complete UTF-8); it may be empty. `on_progress` hears how far
  // pictures and prompt are read. Stops early, with FinishReason::cancelled, when `cancelled` returns true;
  // it is asked before every pass, and between the layers of those that read pictures and prompt. Throws
  // Error for options, images and prompts that cannot be answered; the engine stays usable.
  Answer generate(const Request& request, const std::function<void(std::string_view)>& on_text = {},
                  const std::function<bool()>& cancelled = {},
                  const std::function<void(const WorkProgress&)>& on_progress = {});

  // Reads the prompt alone and calls `on_row` for each of its tokens in order, with the logits [vocab] of
  // what follows it. Throws Error as generate does, and what `on_progress` throws.
  void score(const Request& request, const std::function<void(size_t, std::span<const float>)>& on_row,
             const std::function<void(const WorkProgress&)>& on_progress = {});

  PreparedPrompt prepare(const Request& request) const;
  // Forgets conversations and images: the next answer is computed from nothing.
  void clear();

  const ModelConfig& config() const { return model_->config(); }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  Model& model() { return *model_; }
  PromptReader& reader() { return *reader_; }
  Generator& generator() { return *generator_; }  // for Scheduler

 private:
  struct Weights;
  Engine(const EngineOptions& options, const Weights& weights);

  const Tokenizer tokenizer_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<PromptReader> reader_;
  std::unique_ptr<Generator> generator_;
};

std::string_view name_of(FinishReason reason);  // "stop", "length", "cancelled"

}  // namespace dvlm
