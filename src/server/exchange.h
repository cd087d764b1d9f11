// A request for text from its acceptance to the end of its answer.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "server/answer_format.h"
#include "server/connection.h"
#include "server/errors.h"
#include "server/server_state.h"

namespace dvlm {

// Gives its handles up when it goes. Used by the connection's thread.
class Exchange {
 public:
  Exchange(ServerState& state, Connection& connection);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Throws Refused when the server ends or the queue is full.
  void submit(ApiRequest asked, std::unique_ptr<AnswerFormat> format);
  // Waits for the first update: the status of a stream depends on it. Throws Refused for an error, and when
  // the client has gone.
  void wait_for_update();
  // Waits for the ends of all choices. Throws as wait_for_update.
  nlohmann::json whole();
  // Writes server-sent events to the end. False: the client is gone.
  bool stream(httplib::DataSink& sink);

 private:
  struct Choice {
    std::shared_ptr<RequestHandle> handle;
    RequestHandle::Update update;  // read, not yet sent
    bool ended = false;
  };

  bool gather();
  bool gather(Choice& choice, std::chrono::milliseconds timeout);
  bool ended() const;
  void cancel();
  void check_errors();
  ApiError error_of(const Failure& failure) const;
  std::vector<const Answer*> answers() const;
  void count_answers();
  bool send_updates(httplib::DataSink& sink);
  bool send_end(httplib::DataSink& sink);

  ServerState& state_;
  Connection& connection_;
  std::vector<Choice> choices_;
  std::unique_ptr<AnswerFormat> format_;
  PromptFields fields_;
  DecoderKind decoder_ = DecoderKind::automatic;
  Clock::time_point deadline_ = {};
  bool progress_ = false;  // is asked for
  bool timed_out_ = false;
};

// Answers a request: whole, or as a stream once its first update has come. Throws as Exchange does.
void answer(ServerState& state, httplib::Response& response, ApiRequest asked,
            std::unique_ptr<AnswerFormat> format);

}  // namespace dvlm
