// Errors as clients see them.
#pragma once
#include <httplib.h>

#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace dvlm {

inline constexpr const char* kTooLarge = "the request is larger than this server takes";
inline constexpr const char* kTooSlow = "the request took too long to arrive";

// What a client is told instead of an answer.
struct ApiError {
  int status = 400;
  std::string message;
  std::string param = {};      // the field that is wrong; empty: none
  const char* code = nullptr;  // by which programs tell errors apart; null: none
};

// A refusal whose status may be another than 400, which an Error stands for.
class Refused : public std::runtime_error {
 public:
  explicit Refused(ApiError error) : std::runtime_error(error.message), error_(std::move(error)) {}
  Refused(int status, const std::string& message) : Refused(ApiError{status, message}) {}
  const ApiError& error() const { return error_; }

 private:
  ApiError error_;
};

// For whoever asks for another model than the one served.
ApiError no_such_model(const std::string& name);

// OpenAI's shape of an error; its type follows from the status.
nlohmann::json error_json(const ApiError& error);

// Anthropic's.
nlohmann::json messages_error_json(const ApiError& error);

// JSON in one line, with replacement characters instead of an exception: what a client sent may be quoted.
std::string dump(const nlohmann::json& value);

void send_json(httplib::Response& response, const nlohmann::json& value);
// In the shape of the API that the connection's request asks.
void send_error(httplib::Response& response, const ApiError& error);

// A whole HTTP answer, for requests that the library never sees.
std::string bare_response(int status, const std::string& message, const std::string& id);

}  // namespace dvlm
