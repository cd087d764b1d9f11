#include "train/dataset.h"

#include <algorithm>

#include "checkpoint/json.h"
#include "core/ascii.h"
#include "core/data_url.h"
#include "core/error.h"
#include "core/files.h"
#include "core/random.h"
#include "image/video.h"
#include "model/preprocessing.h"
#include "text/chat.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kWindowBatches = 32;
constexpr size_t kStepsAhead = 3;

PreprocessOptions preprocess_options(const ModelConfig& config, const ContentPart& part) {
  PreprocessOptions options = checkpoint_preprocessing(config);
  limit_pixels(part.min_pixels, part.max_pixels, options.min_pixels, options.max_pixels);
  options.resized_height = part.resized_height;
  options.resized_width = part.resized_width;
  return options;
}

fs::path local_path(const std::string& source, const fs::path& folder) {
  if (source.starts_with("http://") || source.starts_with("https://"))
    fail("training reads no URLs: download {} and give its path", printable(source));
  return folder / (begins_with_word(source, "file://") ? source.substr(7) : source);
}

Image load_image(const std::string& source, const fs::path& folder) {
  return is_data_url(source) ? decode_data_url(source) : read_image(local_path(source, folder));
}

Patches load_video(const ContentPart& part, const fs::path& folder, const PreprocessOptions& options) {
  VideoOptions video;
  if (part.fps > 0) video.fps = part.fps;
  video.nframes = part.nframes;
  limit_pixels(part.min_pixels, part.max_pixels, video.min_pixels, video.max_pixels);
  if (part.frames.empty())
    return preprocess_video_file(InputFile(local_path(part.source, folder)), video, options);
  const auto frame = [&](size_t i) { return load_image(part.frames[i], folder); };
  return preprocess_frames(part.frames.size(), frame, video.fps, options);
}

Sample tokenise(const nlohmann::json& line, const fs::path& folder, const SampleContext& context) {
  const auto messages = line.is_object() ? line.find("messages") : line.end();
  if (!line.is_object() || messages == line.end()) fail("expected an object with \"messages\"");
  const Conversation conversation = parse_messages(*messages);
  for (const Message& message : conversation)
    if (message.role == "assistant" && !message.content.empty() && message.content[0].text.starts_with('\n'))
      fail("an answer begins with a line break, which tokenizers merge into the header before it; remove it");
  const ModelConfig& config = context.config;
  const int merge = config.vision.spatial_merge_size * config.vision.spatial_merge_size;

  Sample sample;
  std::vector<int> image_tokens, video_tokens;
  std::vector<Grid> grids;
  std::vector<double> seconds;
  std::vector<size_t> images;  // which of the visuals
  for (const Message& message : conversation) {
    for (const ContentPart& part : message.content) {
      if (part.type == ContentPart::Type::text) continue;
      const PreprocessOptions options = preprocess_options(config, part);
      const bool is_image = part.type == ContentPart::Type::image;
      if (is_image) images.push_back(sample.visuals.size());
      sample.visuals.push_back(is_image ? preprocess_image(load_image(part.source, folder), options)
                                        : load_video(part, folder, options));
      const Patches& visual = sample.visuals.back();
      (is_image ? image_tokens : video_tokens).push_back(static_cast<int>(visual.grid.patches() / merge));
      grids.push_back(visual.grid);
      seconds.push_back(visual.second_per_grid);
    }
  }
  TemplateOptions options;
  options.add_generation_prompt = false;
  sample.ids = encode_chat(context.tokenizer, conversation, image_tokens, video_tokens, options);
  sample.positions = rope_index(sample.ids, grids, seconds, config).positions;
  std::vector<const Patches*> pictures;
  pictures.reserve(images.size());
  for (const size_t image : images) pictures.push_back(&sample.visuals[image]);
  sample.regions =
      region_tokens(sample.ids, parse_regions(line, pictures.size()), pictures, context.tokenizer, config);
  return sample;
}

// Cuts to max_length; a sample that would lose part of a picture is emptied.
void cut(Sample& sample, const SampleContext& context) {
  const auto limit = static_cast<size_t>(context.max_length);
  if (sample.ids.size() <= limit) return;
  const bool loses_picture = std::any_of(
      sample.ids.begin() + context.max_length, sample.ids.end(),
      [&](TokenId id) { return id == context.config.image_token || id == context.config.video_token; });
  sample.ids.resize(limit);
  sample.positions.resize(limit);
  std::erase_if(sample.regions, [&](const RegionToken& token) { return token.at >= context.max_length; });
  if (loses_picture) sample = Sample{};
}

}  // namespace

Dataset::Dataset(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    paths_.emplace_back(path);
    files_.push_back(std::make_unique<MappedFile>(path));
    const std::span<const std::byte> bytes = files_.back()->bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    refuse_lfs_pointer(text, path);
    int64_t number = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string_view line = text.substr(at, end - at);
      ++number;
      if (line.find_first_not_of(" \t\r") != std::string_view::npos)
        lines_.push_back({line, files_.size() - 1, number});
      at = end + 1;
    }
  }
  if (lines_.empty()) fail("the training data holds no line: {}", paths.empty() ? "no file given" : paths[0]);
}

Sample Dataset::load(int64_t i, const SampleContext& context) const {
  const Line& line = lines_[static_cast<size_t>(i)];
  const fs::path& path = paths_[line.file];
  try {
    Sample sample = tokenise(parse_json(line.text, "the line"), path.parent_path(), context);
    if (find_answers(sample.ids, context.markers).empty())
      fail("the conversation has no assistant answer to learn");
    cut(sample, context);
    sample.answers = find_answers(sample.ids, context.markers);
    return sample;
  } catch (const Error& error) {
    fail("{} line {}: {}", path.string(), line.number, error.what());
  }
}

std::vector<std::vector<int64_t>> epoch_batches(const Dataset& dataset, int batch_size, uint64_t seed,
                                                int64_t epoch) {
  Random random(seed, static_cast<uint64_t>(epoch));
  std::vector<int64_t> order(static_cast<size_t>(dataset.size()));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  random.shuffle(order.begin(), order.end());

  std::vector<std::vector<int64_t>> batches;
  const int64_t window = kWindowBatches * batch_size;
  for (int64_t begin = 0; begin < dataset.size(); begin += window) {
    const int64_t end = std::min(begin + window, dataset.size());
    std::stable_sort(order.begin() + begin, order.begin() + end,
                     [&](int64_t a, int64_t b) { return dataset.length_hint(a) < dataset.length_hint(b); });
    const auto first_batch = static_cast<std::ptrdiff_t>(batches.size());
    for (int64_t at = begin; at < end; at += batch_size)
      batches.emplace_back(order.begin() + at, order.begin() + std::min<int64_t>(at + batch_size, end));
    // The incomplete last batch of the epoch keeps its place.
    const auto last_batch =
        batches.end() - (static_cast<int64_t>(batches.back().size()) < batch_size ? 1 : 0);
    random.shuffle(batches.begin() + first_batch, last_batch);
  }
  return batches;
}

StepLoader::StepLoader(const Dataset& dataset, SampleContext context, int batch_size, int accumulation,
                       uint64_t seed, int64_t first_step)
    : dataset_(dataset),
      context_(std::move(context)),
      batch_size_(batch_size),
      accumulation_(accumulation),
      seed_(seed),
      thread_([this, first_step](const std::stop_token& stop) { read_ahead(stop, first_step); }) {}

StepLoader::~StepLoader() {
  thread_.request_stop();
  changed_.notify_all();
}

StepLoader::Step StepLoader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty() || error_; });
  if (ready_.empty()) std::rethrow_exception(error_);
  Step step = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return step;
}

void StepLoader::read_ahead(const std::stop_token& stop, int64_t step) {
  try {
    for (; !stop.stop_requested(); ++step) {
      Step loaded = read_step(step);
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return ready_.size() < kStepsAhead; })) return;
      ready_.push_back(std::move(loaded));
      changed_.notify_all();
    }
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

StepLoader::Step StepLoader::read_step(int64_t step) {
  const int64_t per_epoch = (dataset_.size() + batch_size_ - 1) / batch_size_;
  Step out;
  out.epoch = step * accumulation_ / per_epoch;
  for (int64_t pass = step * accumulation_; pass < (step + 1) * accumulation_; ++pass) {
    const int64_t epoch = pass / per_epoch;
    if (epoch != epoch_) order_ = epoch_batches(dataset_, batch_size_, seed_, epoch), epoch_ = epoch;
    std::vector<Sample>& batch = out.batches.emplace_back();
    for (const int64_t i : order_[static_cast<size_t>(pass % per_epoch)]) {
      Sample sample = dataset_.load(i, context_);
      sample.draw = static_cast<uint64_t>(epoch * dataset_.size() + i);
      if (sample.ids.empty())
        ++out.dropped;
      else
        batch.push_back(std::move(sample));
    }
  }
  return out;
}

}  // namespace dvlm
