#include "evaluate/tasks.h"

#include <fmt/format.h>

#include <unordered_map>

#include "core/error.h"
#include "core/log.h"
#include "core/utf8.h"
#include "evaluate/benchmarks.h"
#include "evaluate/python_text.h"
#include "evaluate/tsv.h"
#include "text/benchmark_prompts.h"

namespace dvlm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// How VLMEvalKit asks (build_prompt of its data sets).

constexpr const char* kThink =
    "The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) "
    "where LETTER is one of the options. Think step by step before answering. ";
constexpr const char* kLetter = "Answer directly with the option letter from the given choices. ";

std::string pro_prompt(const json& row, bool think) {
  std::string out = fmt::format("Question: {}\n", column_of(row, "question"));
  const std::string options = options_prompt(options_of(row));
  if (options.empty()) return out;
  return out + options +
         (think ? std::string("Answer the following multiple-choice question. ") + kThink
                : std::string(kLetter));
}

std::string prompt_of(Rule rule, const json& row, bool think) {
  switch (rule) {
    case Rule::choice:
    case Rule::circular:
    case Rule::mmmu:
      return choice_prompt(row.contains("hint") ? column_of(row, "hint") : "", column_of(row, "question"),
                           options_of(row));
    case Rule::mmmu_pro:
      return pro_prompt(row, think);
    case Rule::vision_alone:
      return std::string("Answer the following multiple-choice question in the image. ") +
             (think ? kThink : kLetter);
    case Rule::yes_no:
      return column_of(row, "question");
    case Rule::vqa:
    case Rule::relaxed:
    case Rule::anls:
    case Rule::equal:
      break;
  }
  return word_prompt(column_of(row, "question"));
}

// "<image 2>" in a text of MMMU is where its second picture stands.
std::vector<ContentPart> placed(const std::string& text, const std::vector<ContentPart>& pictures) {
  constexpr std::string_view kMark = "<image ";
  std::vector<ContentPart> out;
  size_t at = 0;
  for (size_t mark = 0; (mark = text.find(kMark, at)) != std::string::npos;) {
    const size_t digit = mark + kMark.size();
    const bool whole =
        digit + 1 < text.size() && text[digit] >= '1' && text[digit] <= '9' && text[digit + 1] == '>';
    if (!whole)
      fail("what stands behind \"<image \" is no number of a picture: {}", printable(text.substr(mark, 20)));
    const auto number = static_cast<size_t>(text[digit] - '0');
    if (number > pictures.size()) fail("its text names picture {}, and it has {}", number, pictures.size());
    out.push_back(text_part(text.substr(at, mark - at)));
    out.push_back(pictures[number - 1]);
    at = digit + 2;
  }
  if (out.empty()) out = pictures;
  out.push_back(text_part(text.substr(at)));
  return out;
}

class BenchmarkFile : public TestSet {
 public:
  BenchmarkFile(const fs::path& path, bool think)
      : name_(path.stem().string() + (think ? "_COT" : "")),
        rule_(rule_of(name_)),
        think_(thinks(name_)),
        folder_(path.parent_path()),
        file_(path, [this](const TsvRow& row) { look(row); }) {
    if (think && rule_ != Rule::mmmu_pro && rule_ != Rule::vision_alone)
      fail("{} has no question that asks for thoughts: MMMU_Pro files have", path.string());
    if (asked_.empty()) fail("{}: no row has a picture", path.string());
    if (!has_answers_)
      log_warning("{}: no row has an answer; only its authors can score what is answered", path.string());
  }

  std::string name() const override { return name_; }
  fs::path file() const override { return file_.path(); }
  int64_t size() const override { return static_cast<int64_t>(asked_.size()); }
  std::string id(int64_t i) const override { return asked_[static_cast<size_t>(i)].id; }

  TestQuestion question(int64_t i) const override {
    const auto& [number, id] = asked_[static_cast<size_t>(i)];
    const TsvRow row = file_.row(number);
    try {
      TestQuestion out{id, {}, json::object()};
      for (const std::string& column : file_.columns())
        if (const auto value = row.find(column); value && column != "image" && column != "image_path") {
          if (!is_valid_utf8(*value)) fail("the column \"{}\" is no UTF-8", printable(column));
          out.row[column] = *value;
        }
      const std::vector<ContentPart> pictures = pictures_of(row);
      const std::string text = prompt_of(rule_, out.row, think_);
      const bool marked = rule_ == Rule::mmmu || rule_ == Rule::mmmu_pro;
      std::vector<ContentPart> parts = pictures;
      parts.push_back(text_part(text));
      out.conversation = {{"user", marked ? placed(text, pictures) : std::move(parts)}};
      return out;
    } catch (const Error& error) {
      fail("{} row {}: {}", file_.path().string(), number + 1, error.what());
    }
  }

 private:
  // A row without a picture is not asked; a short text in its place is the index of the row that has it.
  void look(const TsvRow& row) {
    const auto index = row.find("index");
    if (!index) fail("it has no value in the column \"index\"");
    const int64_t number = rows_++;
    has_answers_ |= row.find("answer").has_value();
    row_of_[*index] = number;
    if (row.find("image") || row.find("image_path")) asked_.push_back({number, *index});
  }

  std::vector<ContentPart> pictures_of(const TsvRow& row) const {
    constexpr size_t kIndex = 64;  // longest text that is one
    std::optional<std::string> image = row.find("image");
    if (image && image->size() <= kIndex) {
      const auto other = row_of_.find(*image);
      if (other == row_of_.end())
        fail("its picture is that of row \"{}\", which is not there", printable(*image));
      image = file_.row(other->second).find("image");
      if (!image || image->size() <= kIndex) fail("its picture is that of a row without one");
    }
    std::vector<ContentPart> out;
    if (image) {
      for (const std::string& bytes : python::list_of(*image).value_or(std::vector{*image}))
        out.push_back(image_part("data:;base64," + bytes));
    } else {
      const std::string path = row.get("image_path");
      for (const std::string& one : python::list_of(path).value_or(std::vector{path}))
        out.push_back(image_part(found(one)));
    }
    return out;
  }

  // As it is, beside the file, or where VLMEvalKit unpacks pictures.
  std::string found(const fs::path& path) const {
    for (const fs::path& folder : {fs::path(), folder_, folder_ / "images" / name_})
      if (fs::exists(folder / path)) return (folder / path).string();
    fail("its picture {} is not there, nor beside the file or in {}", path.string(),
         (folder_ / "images" / name_).string());
  }

  const std::string name_;
  const Rule rule_;
  const bool think_;
  const fs::path folder_;
  struct Asked {
    int64_t row = 0;
    std::string id;
  };
  int64_t rows_ = 0;
  bool has_answers_ = false;
  std::vector<Asked> asked_;
  std::unordered_map<std::string, int64_t> row_of_;
  const TsvFile file_;  // the last: it fills the lists above
};

}  // namespace

std::unique_ptr<TestSet> open_benchmark(const fs::path& file, bool chain_of_thought) {
  return std::make_unique<BenchmarkFile>(file, chain_of_thought);
}

}  // namespace dvlm
