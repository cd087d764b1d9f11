// Answers that are kept: one file of JSON lines for each task, model, decoder and setting.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "evaluate/token_scores.h"

namespace dvlm {

// NOLINTNEXTLINE(bugprone-exception-escape): moves of the JSON library assert
struct Prediction {
  std::string id;           // of the question, in its task
  nlohmann::json question;  // what it is scored by: the columns of its row but pictures
  std::string answer, finish;
  std::string digest;                                // of the tokens: equal where two runs wrote the same
  int64_t prompt_tokens = 0, tokens = 0;             // the stop token included; 0: not known
  int64_t nfe = 0, rounds = 0, prefill_passes = 0;   // nfe: behind prefill; 0: not known
  double first_ms = 0, decode_ms = 0, total_ms = 0;  // to the first token, behind it, and all
  int64_t peak_memory = 0;                           // bytes of the process until then; 0: not known
  std::vector<TokenScore> scores = {};               // of its tokens, where they were asked for
  std::string verdict = {}, judge = {};  // what a judge read out of the answer; the model that judged
};

inline bool is_refused(const Prediction& prediction) {
  return prediction.finish.starts_with("refused");
}

// What a run was: another task, model or setting has a file of its own.
// NOLINTNEXTLINE(bugprone-exception-escape): moves of the JSON library assert
struct PredictionHeader {
  std::string task, model, decoder;
  nlohmann::json settings;  // all that may change an answer
  std::string file = {};    // where the questions were, for who shows their pictures; it may move
  std::string file_name() const;
};

// Of the same task and content; files may move.
bool same_questions(const PredictionHeader& a, const PredictionHeader& b);

// NOLINTNEXTLINE(bugprone-exception-escape): moves of the JSON library assert
struct PredictionSet {
  std::filesystem::path path;
  PredictionHeader header;
  std::vector<Prediction> predictions;  // in the order of the file, each id once
};

// Without their `scores`, which may be many, unless these are wanted. Throws Error naming the line. A last
// line without its end is left out: its writer was killed.
enum class TokenScores { skip, read };
PredictionSet read_predictions(const std::filesystem::path& path, TokenScores scores = TokenScores::skip);

// All prediction files below a folder, sorted by path. Throws Error where there are none.
std::vector<PredictionSet> read_all_predictions(const std::filesystem::path& folder,
                                                TokenScores scores = TokenScores::skip);

// Appends a judge's verdict to the file: the last one of an answer counts.
void append_verdict(const std::filesystem::path& path, const Prediction& prediction);

// Appends; what a file holds already stays, and what a killed writer left half is removed.
class PredictionWriter {
 public:
  // In folder/TASK, which is made. Throws Error for a file that belongs to another run.
  PredictionWriter(const std::filesystem::path& folder, const PredictionHeader& header);
  PredictionSet take_held() { return std::move(held_); }  // what the file held already, once
  void append(const Prediction& prediction);

 private:
  PredictionSet held_;
  std::filesystem::path path_;
};

}  // namespace dvlm
