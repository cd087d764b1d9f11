// Answers to requests for text.
#pragma once
#include <httplib.h>

#include <memory>

#include "server/answer_format.h"
#include "server/server_state.h"

namespace dvlm {

// Answers a request: whole, or as a stream once its first update has come. Throws Refused when the server
// ends or the queue is full, for an error, and when the client has gone.
void answer(ServerState& state, httplib::Response& response, ApiRequest asked,
            std::unique_ptr<AnswerFormat> format);

}  // namespace dvlm
