#include "quantize/calibration.h"

#include <algorithm>
#include <array>
#include <memory>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/random.h"
#include "data/record_file.h"
#include "image/image.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

// A place where one sample can be read.
struct Source {
  std::shared_ptr<const RecordFile> records;  // none: a picture
  int64_t number = 0;
  fs::path picture = {};
};

void list_records(const fs::path& file, std::vector<Source>& out) {
  const auto records = std::make_shared<const RecordFile>(file);
  for (int64_t i = 0; i < records->size(); ++i) out.push_back({records, i});
}

void list_pictures(const fs::path& folder, std::vector<Source>& out) {
  constexpr size_t kFirst = 64;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::array<std::byte, kFirst> bytes{};
    InputFile(entry.path()).read(bytes.data(), kFirst, 0);
    if (is_picture(bytes))
      files.push_back(entry.path());
    else
      log_warning("{} is no picture and is left out of the calibration", entry.path().string());
  }
  std::ranges::sort(files);
  for (fs::path& file : files) out.push_back({{}, 0, std::move(file)});
}

CalibrationSample read_sample(const Source& source) {
  CalibrationSample sample;
  if (!source.records) {
    sample.conversation = {
        {"user", {image_part(source.picture.string()), text_part("Describe this image.")}}};
    return sample;
  }
  try {
    const nlohmann::json record = source.records->object(source.number);
    const JsonObject object(record, "the record");
    sample.text = object.string("text", "");
    if (object.has("messages") || object.has("conversations"))
      sample.conversation = source.records->conversation(source.number, record), sample.text.clear();
    else if (sample.text.empty())
      fail("neither \"text\" nor \"messages\" nor \"conversations\" is there");
    else
      source.records->refuse_pictures(source.number, record);
    return sample;
  } catch (const Error& error) {
    fail("{}: {}", source.records->name(source.number), error.what());
  }
}

// Adds the rows that a LinearObserver sees.
void observe(CalibrationInputs& inputs, const std::string& name, const LinearInputs& x) {
  LayerInputs& layer = inputs[name];
  const auto width = static_cast<size_t>(x.inputs);
  layer.highest.resize(width);
  layer.squares.resize(width);
  for (int r = 0; r < x.rows; ++r) {
    const float* row = x.row(r).data();
    for (size_t k = 0; k < width; ++k) {
      layer.highest[k] = std::max(layer.highest[k], std::abs(row[k]));
      layer.squares[k] += double{row[k]} * row[k];
    }
    // Reservoir sampling; every layer of a tower keeps the same tokens.
    const int64_t seen = layer.tokens++;
    if (seen < kKeptRows) {
      layer.rows.insert(layer.rows.end(), row, row + width);
      continue;
    }
    const auto at =
        static_cast<size_t>(uniform(0, 0, static_cast<uint64_t>(seen)) * static_cast<double>(seen + 1));
    if (at < kKeptRows) std::copy_n(row, width, layer.rows.begin() + static_cast<ptrdiff_t>(at * width));
  }
}

}  // namespace

std::vector<float> LayerInputs::mean_squares() const {
  std::vector<float> out;
  for (const double sum : squares)
    out.push_back(static_cast<float>(sum / static_cast<double>(std::max<int64_t>(1, tokens))));
  return out;
}

std::vector<CalibrationSample> read_samples(const CalibrationOptions& options) {
  std::vector<Source> sources;
  for (const fs::path& path : options.sources) {
    if (fs::is_directory(path))
      list_pictures(path, sources);
    else
      list_records(path, sources);
  }
  Random random(options.seed);
  std::vector<CalibrationSample> samples;
  const size_t wanted = std::min(sources.size(), static_cast<size_t>(options.samples));
  for (size_t i = 0; i < wanted; ++i) {
    const auto other = i + static_cast<size_t>(random.below(static_cast<int64_t>(sources.size() - i)));
    std::swap(sources[i], sources[other]);
    samples.push_back(read_sample(sources[i]));
  }
  if (samples.empty()) fail("the calibration data holds no samples");
  const auto has_pictures = [](const CalibrationSample& sample) {
    return !visuals_of(sample.conversation).empty();
  };
  if (options.needs_pictures && std::ranges::none_of(samples, has_pictures))
    fail(
        "the vision tower needs samples with pictures, and none of {} calibration samples has one: add some, "
        "or leave the tower as it is (--keep-vision)",
        samples.size());
  return samples;
}

Request request_of(const CalibrationSample& sample, const Tokenizer& tokenizer, int length) {
  Request request;
  request.decode.kind = DecoderKind::autoregressive;
  request.decode.max_tokens = 1;
  if (sample.conversation.empty()) {
    request.input_ids = tokenizer.encode(sample.text, ControlTokens::as_text);
    request.input_ids.resize(std::min(request.input_ids.size(), static_cast<size_t>(length)));
  } else {
    request.conversation = sample.conversation;
    request.chat_template.add_generation_prompt = sample.conversation.back().role != "assistant";
  }
  return request;
}

CalibrationInputs calibrate(const EngineOptions& model, const CalibrationOptions& options) {
  const std::vector<CalibrationSample> samples = read_samples(options);
  CalibrationInputs inputs;
  EngineOptions observed = model;
  observed.load.observer = [&](const std::string& layer, const LinearInputs& x) {
    observe(inputs, layer, x);
  };
  Engine engine(observed);
  Progress progress("calibrating", std::ssize(samples));
  int used = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (interrupted()) fail("calibration was interrupted after {} of {} samples", i, samples.size());
    const Request request = request_of(samples[i], engine.tokenizer(), options.length);
    const bool fits = !request.input_ids.empty() ||
                      engine.prepare(request).tokens.size() <= static_cast<size_t>(options.length);
    if (fits) {
      engine.clear();  // every token of every sample is to be seen
      engine.generate(request, {}, interrupted, [&](const WorkProgress& work) {
        progress.update(static_cast<int64_t>(i), note_of(work));
      });
      ++used;
    }
    progress.update(static_cast<int64_t>(i) + 1);
  }
  if (used == 0) fail("every calibration sample is longer than {} tokens: raise --length", options.length);
  if (const size_t left = samples.size() - static_cast<size_t>(used); left > 0)
    log_info("{} of {} samples were longer than {} tokens and left out", left, samples.size(),
             options.length);
  return inputs;
}

}  // namespace dvlm
