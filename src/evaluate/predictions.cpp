#include "evaluate/predictions.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "checkpoint/json.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr double kMaxMs = 1e15;

json to_json(const PredictionHeader& header) {
  return {{"dvlm_eval", 1},
          {"task", header.task},
          {"model", header.model},
          {"decoder", header.decoder},
          {"settings", header.settings}};
}

json with_file(const PredictionHeader& header) {
  json out = to_json(header);
  out["file"] = header.file;
  return out;
}

PredictionHeader header_of(const json& line) {
  const JsonObject object(line, "the first line");
  if (object.integer("dvlm_eval", 0, 1, 0) != 1) fail("it is no file of dvlm eval's answers");
  const json settings = line.value("settings", json::object());
  if (!settings.is_object()) fail("its \"settings\" are no object");
  return {object.string("task", ""), object.string("model", ""), object.string("decoder", ""), settings,
          object.string("file", "")};
}

// What is not UTF-8, in a path say, is kept as U+FFFD.
std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string line_of(const Prediction& p) {
  json line = {{"id", p.id},
               {"question", p.question},
               {"answer", p.answer},
               {"finish", p.finish},
               {"digest", p.digest},
               {"prompt_tokens", p.prompt_tokens},
               {"tokens", p.tokens},
               {"nfe", p.nfe},
               {"rounds", p.rounds},
               {"prefill_passes", p.prefill_passes},
               {"first_ms", p.first_ms},
               {"decode_ms", p.decode_ms},
               {"total_ms", p.total_ms},
               {"peak_memory", p.peak_memory}};
  if (!p.scores.empty()) line["logprobs"] = to_json(p.scores);
  return text_of(line) + "\n";
}

// Texts, and whether an answer is long.
json question_of(const JsonObject& line) {
  const json* question = line.find("question");
  if (question == nullptr) return json::object();
  if (!question->is_object()) fail("its \"question\" is no object");
  for (const auto& [name, value] : question->items())
    if (!value.is_string() && !(name == "long" && value.is_boolean()))
      fail("its \"question\" has a \"{}\" that is no text", printable(name));
  return *question;
}

Prediction prediction_of(const JsonObject& object, TokenScores scores) {
  const auto count = [&](const char* key) { return object.integer(key, 0, int64_t{1} << 50, 0); };
  const auto ms = [&](const char* key) { return object.number(key, 0, kMaxMs, 0); };
  Prediction out;
  out.id = object.string("id", "");
  if (out.id.empty()) fail("it has no \"id\"");
  out.question = question_of(object);
  out.answer = object.string("answer", ""), out.finish = object.string("finish", "");
  out.digest = object.string("digest", "");
  out.prompt_tokens = count("prompt_tokens"), out.tokens = count("tokens");
  out.nfe = count("nfe"), out.rounds = count("rounds"), out.prefill_passes = count("prefill_passes");
  out.first_ms = ms("first_ms"), out.decode_ms = ms("decode_ms"), out.total_ms = ms("total_ms");
  out.peak_memory = count("peak_memory");
  if (const json* found = object.find("logprobs"); found != nullptr && scores == TokenScores::read)
    out.scores = token_scores_from_json(*found);
  return out;
}

// Calls `take` with number and text of each whole line.
template <class Take>
void each_line(const std::string& text, const Take& take) {
  int64_t number = 0;
  for (size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    take(++number, std::string_view(text).substr(at, end - at));
}

}  // namespace

bool same_questions(const PredictionHeader& a, const PredictionHeader& b) {
  const auto content = [](const PredictionHeader& header) {
    return header.settings.is_object() ? header.settings.value("questions", json()) : json();
  };
  return a.task == b.task && content(a) == content(b);
}

std::string PredictionHeader::file_name() const {
  return fmt::format("{}-{:08x}.jsonl", decoder, checksum(text_of(to_json(*this))) >> 32);
}

PredictionSet read_predictions(const fs::path& path, TokenScores scores) {
  constexpr size_t kLargest = size_t{8} << 30;
  PredictionSet out{path, {}, {}};
  std::map<std::string, size_t> places;
  each_line(read_file(path, kLargest), [&](int64_t number, std::string_view text) {
    try {
      const json line = parse_json(text, "the line");
      if (number == 1) {
        out.header = header_of(line);
        return;
      }
      const JsonObject object(line, "the line");
      if (const std::string id = object.string("judged", ""); !id.empty()) {
        const auto place = places.find(id);
        if (place == places.end()) fail("it is the verdict of an answer that is not before it");
        Prediction& judged = out.predictions[place->second];
        judged.verdict = object.string("verdict", ""), judged.judge = object.string("judge", "");
        return;
      }
      Prediction prediction = prediction_of(object, scores);
      const auto [place, is_new] = places.emplace(prediction.id, out.predictions.size());
      if (is_new)
        out.predictions.push_back(std::move(prediction));
      else if (is_refused(out.predictions[place->second]))  // it was asked again
        out.predictions[place->second] = std::move(prediction);
    } catch (const Error& error) {
      fail("{} line {}: {}", path.string(), number, error.what());
    }
  });
  if (out.header.task.empty()) fail("{} is no file of dvlm eval's answers", path.string());
  return out;
}

std::vector<PredictionSet> read_all_predictions(const fs::path& folder, TokenScores scores) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->is_regular_file() && it->path().extension() == ".jsonl") paths.push_back(it->path());
  if (error) fail("cannot list {}: {}", folder.string(), error.message());
  if (paths.empty()) fail("{} holds no answers of dvlm eval (TASK/DECODER-….jsonl)", folder.string());
  std::ranges::sort(paths);
  std::vector<PredictionSet> out;
  out.reserve(paths.size());
  for (const fs::path& path : paths) out.push_back(read_predictions(path, scores));
  return out;
}

PredictionWriter::PredictionWriter(const fs::path& folder, const PredictionHeader& header)
    : held_{{}, header, {}}, path_(folder / header.task / header.file_name()) {
  if (header.task.empty() || header.task == "." || header.task == "..")
    fail("a test file called \"{}.…\" has no name to keep answers under", header.task);
  held_.path = path_;
  make_folder(path_.parent_path());
  const std::string first = text_of(with_file(header)) + "\n";
  std::error_code error;
  if (!fs::exists(path_, error)) {
    write_file(path_, first);
    return;
  }
  held_ = read_predictions(path_);
  if (text_of(to_json(held_.header)) != text_of(to_json(header)))
    fail("{} holds answers of another run; name another --output", path_.string());
  drop_torn_line(path_);
}

void append_verdict(const fs::path& path, const Prediction& prediction) {
  append_line(
      path,
      text_of({{"judged", prediction.id}, {"verdict", prediction.verdict}, {"judge", prediction.judge}}) +
          "\n");
}

void PredictionWriter::append(const Prediction& prediction) {
  append_line(path_, line_of(prediction));
}

}  // namespace dvlm
