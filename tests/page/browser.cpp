#include "browser.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace dvlm {

namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kElement = "element-6066-11e4-a52e-4f735466cecf";  // WebDriver's name of a reference

void sleep_a_little() {
  std::this_thread::sleep_for(milliseconds(20));
}

std::string from_base64(const std::string& text) {
  static const std::string kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const size_t value = kLetters.find(c);
    if (value == std::string::npos) break;
    bits = bits << 6 | static_cast<uint32_t>(value);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out += static_cast<char>(bits >> held & 255);
  }
  return out;
}

[[noreturn]] void become(const std::vector<std::string>& command, int output) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, 0);
  dup2(output, 1);
  dup2(nothing, 2);
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

Child::Child(const std::vector<std::string>& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("there is no pipe to be had");
  pid_ = fork();
  if (pid_ == 0) become(command, ends[1]);
  close(ends[1]);
  output_ = ends[0];
  if (pid_ < 0) throw std::runtime_error("there is no process to be had");
}

Child::~Child() {
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    const auto end = Clock::now() + seconds(5);
    while (waitpid(pid_, nullptr, WNOHANG) == 0 && Clock::now() < end) sleep_a_little();
    // It and what it left behind.
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(output_);
}

std::string Child::wait_for(const std::string& text) {
  std::string printed;
  for (const auto end = Clock::now() + seconds(20); Clock::now() < end;) {
    pollfd ready{output_, POLLIN, 0};
    if (poll(&ready, 1, 100) <= 0) continue;
    char buffer[1000];
    const ssize_t got = read(output_, buffer, sizeof buffer);
    if (got <= 0) break;
    printed.append(buffer, static_cast<size_t>(got));
    const size_t at = printed.find(text);
    if (at == std::string::npos) continue;
    const size_t from = at + text.size(), line_end = printed.find('\n', from);
    if (line_end != std::string::npos) return printed.substr(from, line_end - from);
  }
  throw std::runtime_error("\"" + text + "\" did not come, but: " + printed);
}

bool Browser::installed() {
  const char* path = std::getenv("PATH");
  std::string folders = path ? path : "";
  for (size_t at = 0; at <= folders.size();) {
    const size_t end = std::min(folders.find(':', at), folders.size());
    if (access((folders.substr(at, end - at) + "/chromedriver").c_str(), X_OK) == 0) return true;
    at = end + 1;
  }
  return false;
}

Browser::Browser() : driver_({"chromedriver", "--port=0"}) {
  const int port = std::atoi(driver_.wait_for("started successfully on port ").c_str());
  client_ = std::make_unique<httplib::Client>("127.0.0.1", port);
  client_->set_read_timeout(60);
  const json arguments = {"--headless=new",
                          "--no-sandbox",  // the superuser's Chromium has none
                          "--disable-gpu",
                          "--disable-dev-shm-usage",
                          "--disable-background-networking",
                          "--disable-component-update",
                          "--no-first-run",
                          "--no-proxy-server",
                          "--force-device-scale-factor=1",
                          "--hide-scrollbars",
                          "--user-data-dir=" + profile_.path().string()};
  const json wanted = {{"goog:chromeOptions", {{"args", arguments}}},
                       {"goog:loggingPrefs", {{"browser", "ALL"}}},
                       {"timeouts", {{"script", 30000}, {"pageLoad", 30000}, {"implicit", 0}}}};
  const json session = call("POST", "/session", {{"capabilities", {{"alwaysMatch", wanted}}}});
  session_ = "/session/" + session["sessionId"].get<std::string>();
}

Browser::~Browser() {
  if (client_ && !session_.empty()) client_->Delete(session_);
}

json Browser::call(const char* method, const std::string& path, const json& body) {
  httplib::Request request;
  request.method = method;
  request.path = path;
  if (!body.is_null()) {
    request.body = body.dump();
    request.set_header("Content-Type", "application/json");
  }
  const auto result = client_->send(request);
  if (!result)
    throw std::runtime_error("the browser does not answer " + path + ": " + to_string(result.error()));
  json value = json::parse(result->body, nullptr, false);
  if (result->status != 200 || !value.is_object())
    throw std::runtime_error(path + ": " + result->body.substr(0, 1000));
  return value["value"];
}

json Browser::in_session(const std::string& path, const json& body) {
  return call("POST", session_ + path, body);
}

void Browser::chromium(const std::string& command, const json& parameters) {
  in_session("/goog/cdp/execute", {{"cmd", command}, {"params", parameters}});
}

void Browser::open(const std::string& url) {
  in_session("/url", {{"url", url}});
}

json Browser::run(const std::string& script, const json& arguments) {
  return in_session("/execute/sync", {{"script", script}, {"args", arguments}});
}

bool Browser::wait(const std::string& expression, int patience) {
  for (const auto end = Clock::now() + seconds(patience); Clock::now() < end; sleep_a_little())
    if (run("return Boolean(" + expression + ")") == true) return true;
  return false;
}

std::string Browser::find(const std::string& selector) {
  return in_session("/element", {{"using", "css selector"}, {"value", selector}})[kElement];
}

void Browser::type(const std::string& selector, const std::string& text) {
  in_session("/element/" + find(selector) + "/value", {{"text", text}});
}

void Browser::click(const std::string& selector) {
  in_session("/element/" + find(selector) + "/click", json::object());
}

void Browser::resize(int width, int height) {
  chromium("Emulation.setDeviceMetricsOverride",
           {{"width", width}, {"height", height}, {"deviceScaleFactor", 1}, {"mobile", false}});
}

void Browser::emulate(const std::string& feature, const std::string& value) {
  chromium("Emulation.setEmulatedMedia", {{"features", {{{"name", feature}, {"value", value}}}}});
}

void Browser::save_screenshot(const std::filesystem::path& png) {
  const std::string bytes = from_base64(call("GET", session_ + "/screenshot").get<std::string>());
  std::ofstream(png, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::string> Browser::errors() {
  std::vector<std::string> out;
  for (const json& entry : in_session("/se/log", {{"type", "browser"}}))
    if (entry["level"] == "SEVERE") out.push_back(entry["message"]);
  return out;
}

}  // namespace dvlm
