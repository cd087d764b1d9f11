#include "chat.h"

#include <editline/readline.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "output.h"
#include "read_ahead.h"
#include "work_bar.h"

namespace dvlm {

namespace {

constexpr const char* kHelp =
    "/image FILE   show the model a picture with your next message\n"
    "/clear        forget the conversation\n"
    "/stats        print speed and memory after every answer, or stop doing so\n"
    "/exit         leave (so does Ctrl-D)\n"
    "Ctrl-C stops the answer being written; at the prompt it leaves.\n";

std::optional<std::string> read_line(bool terminal) {
  if (!terminal) {
    std::string line;
    if (std::getline(std::cin, line)) return line;
    return {};
  }
  const std::unique_ptr<char, void (*)(void*)> line(readline("> "), std::free);
  if (!line) return {};
  if (*line) add_history(line.get());
  return std::string(line.get());
}

class Chat {
 public:
  Chat(Engine& engine, const Request& first, bool stats, bool terminal)
      : engine_(engine), request_(first), stats_(stats), terminal_(terminal), bar_(engine.config()) {
    pending_ = std::move(request_.conversation.back());  // the images of the first turn
    request_.conversation.pop_back();
    opening_ = request_.conversation;
    if (!pending_.content.empty()) look_ahead();
  }

  // False when the chat is over.
  bool take(const std::string& line) {
    if (line == "/exit" || line == "/quit") return false;
    if (line == "/help") {
      std::fputs(kHelp, stdout);
    } else if (line == "/clear") {
      reading_.stop();
      request_.conversation = opening_;
      pending_ = {"user", {}};
      std::puts("(forgotten)");
    } else if (line == "/stats") {
      stats_ = !stats_;
    } else if (line == "/image" || line.starts_with("/image ")) {
      add_image(line.substr(6));
    } else if (line.starts_with("/")) {
      complain(fmt::format("there is no command {}; /help lists them", printable(line)));
    } else if (!line.empty()) {
      answer(line);
    }
    return true;
  }

 private:
  // A person reads it and goes on; a script ends.
  void complain(const std::string& sentence) const {
    if (!terminal_) fail("{}", sentence);
    std::fprintf(stderr, "%s\n", sentence.c_str());
  }

  void add_image(std::string path) {
    path.erase(0, path.find_first_not_of(' '));
    path.erase(path.find_last_not_of(' ') + 1);
    // Paths come as terminals paste and as shells expand them.
    if (path.size() > 2 && path.front() == path.back() && (path.front() == '"' || path.front() == '\''))
      path = path.substr(1, path.size() - 2);
    if (const char* home = std::getenv("HOME"); home && path.starts_with("~/")) path = home + path.substr(1);
    if (path.empty()) return complain("usage: /image FILE");
    try {
      const Image image = read_image(path);
      std::printf("(%d x %d picture goes with your next message)\n", image.width, image.height);
      pending_.content.push_back(image_part(path));
      look_ahead();
    } catch (const Error& error) {
      complain(error.what());
    }
  }

  // A script's next line is there already.
  void look_ahead() {
    if (!terminal_) return;
    Request known = request_;
    known.conversation.push_back(pending_);
    reading_.begin(std::move(known));
  }

  void answer(const std::string& line) {
    reading_.finish([&](const WorkProgress& work) { bar_.hear(work); });
    const Message kept = pending_;
    pending_.content.push_back(text_part(line));
    request_.conversation.push_back(std::move(pending_));
    pending_ = {"user", {}};
    try {
      const Answer answer =
          engine_.generate(request_, print, interrupted, [&](const WorkProgress& work) { bar_.hear(work); });
      bar_.end();
      std::puts(answer.finish == FinishReason::cancelled ? " (stopped)" : "");
      if (stats_) std::fprintf(stderr, "%s\n", stats_text(answer, request_.decode).c_str());
      request_.conversation.push_back({"assistant", {text_part(answer.text)}});
    } catch (const Error& error) {  // e.g. the context is full: the conversation stays as it was
      bar_.end();
      if (!terminal_) throw;
      std::fprintf(stderr, "%s\n", error.what());
      request_.conversation.pop_back();
      pending_ = kept;
    }
    // Ctrl-C stops an answer for a person, and a script at all.
    if (terminal_ && !terminated()) clear_interrupt();
  }

  Engine& engine_;
  Request request_;
  Conversation opening_;
  Message pending_;
  bool stats_;
  const bool terminal_;  // a person can try again; a script is told by the exit status
  WorkBar bar_;
  ReadAhead reading_{engine_};  // the last member: it ends first
};

}  // namespace

void run_chat(Engine& engine, const Request& first, bool stats) {
  const bool terminal = ::isatty(0) != 0;
  if (terminal) std::setlocale(LC_CTYPE, "");  // or libedit drops what is not ASCII
  if (terminal) std::puts("Ask about the picture; /help lists the commands.");
  Chat chat(engine, first, stats, terminal);
  while (!interrupted()) {
    const auto line = read_line(terminal);
    if (!line || !chat.take(*line)) break;
  }
}

}  // namespace dvlm
