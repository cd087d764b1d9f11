// A two-turn toy dialogue and a toy network, for tests that a reader can check by hand.
#pragma once
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "train/batch.h"

namespace dvlm::toy {

// Token ids of the toy vocabulary.
constexpr TokenId kStart = 1, kEnd = 2, kNewline = 3, kAssistant = 4, kUser = 5;
constexpr TokenId kVisionStart = 6, kVisionEnd = 7, kImage = 8, kVideo = 9, kMask = 10, kPad = 11;
constexpr int kVocabulary = 64;

inline AnswerMarkers markers() {
  return {{kStart, kAssistant, kNewline}, kEnd, kNewline};
}
inline StreamTokens tokens() {
  return {kMask, kEnd, kPad, kImage, kVideo, kVisionStart};
}

// user asks about a picture of 4 tokens; the first answer has 3 words, the second 1.
inline Sample two_turns() {
  Sample sample;
  sample.ids = {kStart,     kUser,      kNewline, kVisionStart, kImage,   kImage,     kImage,   kImage,
                kVisionEnd, 20,         kEnd,     kNewline,     kStart,   kAssistant, kNewline,  // 12..14
                30,         31,         32,       kEnd,         kNewline,            // 15..19: first answer
                kStart,     kUser,      kNewline, 21,           kEnd,     kNewline,  // 20..25
                kStart,     kAssistant, kNewline,                                    // 26..28
                33,         kEnd,       kNewline};                                   // 29..31: second answer
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    const auto n = static_cast<int32_t>(i);
    sample.positions.push_back({n, n, n});
  }
  sample.answers = find_answers(sample.ids, markers());
  return sample;
}

inline ModelConfig small_config() {
  ModelConfig config;
  config.architecture = "Fast_dVLMForConditionalGeneration";
  config.text.vocab_size = kVocabulary;
  config.text.hidden_size = 32;
  config.text.intermediate_size = 48;
  config.text.layers = 2;
  config.text.heads = 2;
  config.text.kv_heads = 1;
  config.text.head_dim = 16;
  config.text.rope_theta = 10000;
  config.text.mrope_section = {2, 3, 3};
  config.text.max_positions = 512;
  config.vision.depth = 1;
  config.vision.hidden_size = 32;
  config.vision.intermediate_size = 32;
  config.vision.heads = 2;
  config.vision.out_hidden_size = 32;
  config.vision.full_attention_blocks = {0};
  config.image_token = kImage;
  config.video_token = kVideo;
  config.vision_start_token = kVisionStart;
  config.vision_end_token = kVisionEnd;
  config.stop_tokens = {kEnd};
  return config;
}

// A picture of 4 x 4 patches for two_turns(): merged 2 x 2.
inline void add_picture(Sample& sample, const VisionConfig& vision, uint64_t seed = 7) {
  Patches patches;
  patches.grid = {1, 4, 4};
  patches.values.resize(16 * static_cast<size_t>(vision.patch_elements()));
  Random random(seed);
  for (float& value : patches.values) value = static_cast<float>(random.normal());
  sample.visuals.push_back(std::move(patches));
}

// A folder that disappears with the object.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dvlm-train-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// A 28 x 28 picture of one colour as a PPM file: 1 token.
inline void write_picture(const std::filesystem::path& path, int shade) {
  write_text(path, "P6\n28 28\n255\n" + std::string(28 * 28 * 3, static_cast<char>(shade)));
}

inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace dvlm::toy
