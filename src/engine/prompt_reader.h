// From a request to the prompt that a decoder reads.
#pragma once
#include <atomic>
#include <filesystem>
#include <vector>

#include "engine/prompt.h"

namespace dvlm {

// check_template() and load() may be called from any thread; everything else from one thread at a time.
class PromptReader {
 public:
  // `folder` is the checkpoint's.
  PromptReader(const std::filesystem::path& folder, const Tokenizer& tokenizer, Model& model,
               const ImageMemory& memory);

  // Throws Error when the request needs the checkpoint's chat template and that is not the one we know.
  void check_template(const Request& request);
  // Reads images and encodes text. Throws Error for a prompt that cannot be answered.
  LoadedPrompt load(const Request& request);
  // Computes the features of the image or video, or finds them; `number`, from 1, is for sentences. Throws
  // Cancelled when the listener does.
  void encode(Visual& visual, size_t number, const WorkListener& listener);
  // The prompt for a sequence that holds its first `held` tokens: what stands behind those is encoded.
  Prompt finish(LoadedPrompt loaded, int held) const;
  // All of this at once.
  Prompt read(const Request& request, const WorkListener& listener = {});

  std::vector<TokenId> stop_tokens() const;  // that end every answer

  VisualCache& visuals() { return visuals_; }
  const VisualCache& visuals() const { return visuals_; }

 private:
  const ModelConfig& config() const { return model_.config(); }
  RopeIndex positions_of(const LoadedPrompt& loaded) const;

  const std::filesystem::path folder_;
  const Tokenizer& tokenizer_;
  Model& model_;
  VisualCache visuals_;
  std::atomic<bool> template_checked_{false};
};

}  // namespace dvlm
