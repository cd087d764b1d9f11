// Answers as blocks, texts and calls of tools in turn: what OpenAI's responses and Anthropic's messages have
// in common. No HTTP here.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/answer_format.h"
#include "text/tool_calls.h"

namespace dvlm {

struct AnswerBlock {
  bool call = false;
  std::string id = {};       // of the block
  std::string call_id = {};  // of a call, by which its result names it
  std::string name = {};     // of the tool
  std::string text = {};     // or the arguments of the call: JSON
};

// Events carry their type as a name, as server-sent events have it, and no [DONE] stands behind them.
class BlockFormat : public AnswerFormat {
 public:
  explicit BlockFormat(FormatOptions options) : options_(std::move(options)) {}
  bool named() const final { return true; }
  nlohmann::json begin(int) final { return begun(); }
  nlohmann::json piece(int choice, const RequestHandle::Update& update) final;
  nlohmann::json end(int choice, const Answer& answer) final;
  nlohmann::json last(Answers) final { return nullptr; }
  nlohmann::json whole(Answers answers) final;

 protected:
  // Events, a list each: of the answer, and of the block with that number.
  virtual nlohmann::json begun() = 0;
  virtual nlohmann::json opened(size_t index, const AnswerBlock& block) = 0;
  virtual nlohmann::json added(size_t index, const AnswerBlock& block, const std::string& piece) = 0;
  virtual nlohmann::json closed(size_t index, const AnswerBlock& block, bool whole) = 0;
  virtual nlohmann::json ended(const Answer& answer) = 0;
  virtual nlohmann::json complete(const Answer& answer) = 0;  // the whole

  const std::vector<AnswerBlock>& blocks() const { return blocks_; }
  bool called() const { return reader_.called(); }  // the answer ends with a call that is whole

  const FormatOptions options_;

 private:
  void read(const ToolCallReader::Part& part, nlohmann::json& events);
  void open(AnswerBlock block, nlohmann::json& events);
  void add(const std::string& piece, nlohmann::json& events);
  void close(nlohmann::json& events, bool whole = true);
  void finish(nlohmann::json& events, const Answer& answer);

  ToolCallReader reader_;
  std::vector<AnswerBlock> blocks_;
  bool open_ = false;  // the last of them
};

}  // namespace dvlm
