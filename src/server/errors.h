// Errors as clients see them.
#pragma once
#include <httplib.h>

#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>

namespace dvlm {

inline constexpr const char* kTooLarge = "the request is larger than this server takes";
inline constexpr const char* kTooSlow = "the request took too long to arrive";

// A refusal whose status is not 400, which an Error stands for.
class Refused : public std::runtime_error {
 public:
  Refused(int status, const std::string& message) : std::runtime_error(message), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

// OpenAI's shape of an error; its type follows from the status.
nlohmann::json error_json(int status, const std::string& message);

// JSON in one line, with replacement characters instead of an exception: what a client sent may be quoted.
std::string dump(const nlohmann::json& value);

void send_json(httplib::Response& response, const nlohmann::json& value);
void send_error(httplib::Response& response, int status, const std::string& message);

// A whole HTTP answer, for requests that the library never sees.
std::string bare_response(int status, const std::string& message, const std::string& id);

}  // namespace dvlm
