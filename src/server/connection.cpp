#include "server/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "server/errors.h"

namespace dvlm {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollInterval{200};  // how long a server that ends may go unnoticed
constexpr milliseconds kLinger{1000};  // for a client that has its answer, or that an ending server waits for
constexpr milliseconds kBeginning{10};
constexpr size_t kLingerBytes = size_t{80} << 20;
constexpr const char* kFull =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

thread_local Connection* serving = nullptr;
thread_local bool refusing = false;  // the accepting thread runs a job itself: there is no other for it

// Threads are made as they are needed. When there are too many, a connection that has sent no request yet
// makes way (`make_room`); without one the accepting thread turns the newcomer away.
class Workers : public httplib::TaskQueue {
 public:
  Workers(size_t most, std::function<bool()> make_room) : most_(most), make_room_(std::move(make_room)) {}

  void enqueue(std::function<void()> job) override {
    if (place() || make_room_()) {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(job));
      changed_.notify_one();
      return;
    }
    refusing = true;
    job();
    refusing = false;
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  bool place() {
    const std::lock_guard lock(mutex_);
    const size_t taken = busy_ + jobs_.size();
    return taken < most_ && (taken < threads_.size() || grow());
  }

  bool grow() {
    try {
      threads_.emplace_back([this] { work(); });
      return true;
    } catch (const std::system_error&) {
      return !threads_.empty();
    }
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return closing_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      ++busy_;
      lock.unlock();
      job();
      lock.lock();
      --busy_;
    }
  }

  const size_t most_;
  const std::function<bool()> make_room_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::vector<std::thread> threads_;
  size_t busy_ = 0;
  bool closing_ = false;
};

void set_options(socket_t socket) {
  const auto set = [&](int level, int option, int value) {
    setsockopt(socket, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A machine that vanished without a word is noticed within a minute.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 20);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

// `of`: getpeername or getsockname.
void read_address(socket_t socket, decltype(&getpeername) of, std::string& ip, int& port) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  char host[NI_MAXHOST] = {}, service[NI_MAXSERV] = {};
  if (of(socket, address, &size) != 0 || getnameinfo(address, size, host, sizeof host, service,
                                                     sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return;
  ip = host;
  port = static_cast<int>(std::strtol(service, nullptr, 10));
}

}  // namespace

Connection::Connection(socket_t socket, const ConnectionLimits& limits, ConnectionTotals& totals)
    : socket_(socket), limits_(limits), totals_(totals) {
  ++totals_.open;
  record.start = start_;
}

Connection::~Connection() {
  ::close(socket_);
  totals_.body_memory -= body_bytes_;
  --totals_.open;
}

Connection& Connection::current() {
  DVLM_ASSERT(serving);
  return *serving;
}

// False: the deadline. Of a server that ends, who pauses or is slow has less time.
bool Connection::wait(short events, Clock::time_point deadline, bool reading) const {
  const auto begun = Clock::now();
  for (;;) {
    if (reading && totals_.closing) deadline = std::min({deadline, begun + kLinger, start_ + limits_.head});
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd watched{socket_, events, 0};
    const int ready = poll(&watched, 1, static_cast<int>(std::min(left, kPollInterval).count()));
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;  // an error shows with the next call
  }
}

ssize_t Connection::receive(char* to, size_t size, Clock::time_point deadline) {
  for (;;) {
    // Asked before every piece: who sends one byte at a time is never waited for.
    if (Clock::now() > deadline) {
      late_ = true;
      return -1;
    }
    const ssize_t got = recv(socket_, to, size, MSG_DONTWAIT);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -1;
    if (!wait(POLLIN, std::min(deadline, Clock::now() + limits_.pause), true)) {
      late_ = true;
      return -1;
    }
  }
}

Connection::Head Connection::read_head() {
  char piece[4096];
  for (size_t from = 0;;) {
    if (const size_t end = head_.find("\r\n\r\n", from); end != std::string::npos) {
      parse(end + 4);
      return Head::complete;
    }
    if (head_.size() >= limits_.head_bytes) return Head::too_large;
    from = head_.size() < 3 ? 0 : head_.size() - 3;
    const ssize_t got = receive(piece, sizeof piece, start_ + limits_.head);
    if (got <= 0) return late_ && !head_.empty() ? Head::late : Head::none;
    head_.append(piece, static_cast<size_t>(got));
  }
}

void Connection::parse(size_t end) {
  early_ = head_.substr(end);
  parsed_ = parse_head(std::string_view(head_).substr(0, end), limits_.body_bytes);
  head_ = parsed_.text;
}

ssize_t Connection::read_body(char* to, size_t size) {
  if (early_read_ < early_.size()) {
    const size_t count = early_.copy(to, size, early_read_);
    early_read_ += count;
    return static_cast<ssize_t>(count);
  }
  const ssize_t got = body_read_ > limits_.body_bytes ? -1 : receive(to, size, start_ + limits_.request);
  body_read_ += static_cast<size_t>(std::max<ssize_t>(got, 0));
  return got;
}

// The library takes a body without a length to its end, which of chunks is known here alone.
ssize_t Connection::read(char* to, size_t size) {
  if (head_read_ < head_.size()) {
    const size_t count = head_.copy(to, size, head_read_);
    head_read_ += count;
    return static_cast<ssize_t>(count);
  }
  if (parsed_.body == RequestHead::Body::none) return 0;
  if (parsed_.body == RequestHead::Body::length) return read_body(to, size);
  return chunks_.read(to, size, [this](char* piece, size_t most) { return read_body(piece, most); });
}

ssize_t Connection::write(const char* data, size_t size) {
  if (write_deadline_ == Clock::time_point{}) write_deadline_ = Clock::now() + limits_.pause;
  for (size_t done = 0; done < size;) {
    const ssize_t sent = send(socket_, data + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) done += static_cast<size_t>(sent);
    if (sent >= 0 || errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -1;
    if (!wait(POLLOUT, std::min(write_deadline_, Clock::now() + limits_.pause), false)) return -1;
  }
  return static_cast<ssize_t>(size);
}

bool Connection::alive() const {
  // Bytes that nobody reads may stand before the end.
  pollfd watched{socket_, POLLRDHUP, 0};
  return poll(&watched, 1, 0) <= 0 || (watched.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) == 0;
}

bool Connection::take_body_memory(size_t bytes) {
  if (totals_.body_memory.fetch_add(bytes) + bytes > limits_.body_memory) {
    totals_.body_memory -= bytes;
    return false;
  }
  body_bytes_ += bytes;
  return true;
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  read_address(socket_, getpeername, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  read_address(socket_, getsockname, ip, port);
}

// A socket closed with unread bytes destroys an answer that is still on its way, so what the client goes on
// sending is read for a moment.
void Connection::linger() {
  ::shutdown(socket_, SHUT_WR);
  const auto deadline = Clock::now() + kLinger;
  char piece[1 << 14];
  ssize_t got = 1;
  for (size_t read = 0; got > 0 && read < kLingerBytes;
       read += static_cast<size_t>(std::max<ssize_t>(got, 0)))
    got = receive(piece, sizeof piece, deadline);
}

HttpServer::HttpServer(const ConnectionLimits& limits, std::function<void(Connection&)> ended)
    : limits_(limits), ended_(std::move(ended)) {
  new_task_queue = [this] { return new Workers(limits_.connections, [this] { return cut_off_oldest(); }); };
  // The library's default lets two servers share a port.
  set_socket_options([this](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    listening_ = socket;
  });
}

void HttpServer::widen_backlog() {
  if (listening_ != INVALID_SOCKET) ::listen(listening_, SOMAXCONN);
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  Connection connection(socket, limits_, totals_);
  if (refusing) {
    ++totals_.refused;
    char unread[4096];
    static_cast<void>(recv(socket, unread, sizeof unread, MSG_DONTWAIT));
    static_cast<void>(send(socket, kFull, std::strlen(kFull), MSG_DONTWAIT | MSG_NOSIGNAL));
    return false;
  }
  set_options(socket);
  serving = &connection;
  serve(connection);
  connection.has_request();  // whether it came or not
  if (connection.record.status != 0) ended_(connection);
  serving = nullptr;
  connection.linger();
  return true;
}

Connection::Head HttpServer::read_head(Connection& connection) {
  {
    const std::lock_guard lock(mutex_);
    arriving_.push_back(&connection);
    arrived_.notify_one();
  }
  connection.on_request_ = [this, &connection] {
    const std::lock_guard lock(mutex_);
    std::erase(arriving_, &connection);
  };
  const Connection::Head head = connection.read_head();
  if (head != Connection::Head::complete || connection.head().body == RequestHead::Body::none)
    connection.has_request();
  return head;
}

bool HttpServer::cut_off_oldest() {
  std::unique_lock lock(mutex_);
  // Some may have been accepted so lately that their threads have not begun.
  if (!arrived_.wait_for(lock, kBeginning, [&] { return !arriving_.empty(); })) return false;
  ::shutdown(arriving_.front()->socket(), SHUT_RDWR);
  arriving_.erase(arriving_.begin());
  ++totals_.cut_off;
  return true;
}

void HttpServer::serve(Connection& connection) {
  RequestRecord& record = connection.record;
  int port = 0;
  connection.get_remote_ip_and_port(record.address, port);
  const Connection::Head head = read_head(connection);
  if (head == Connection::Head::none) return;
  if (head != Connection::Head::complete) {
    const bool late = head == Connection::Head::late;
    record.id = request_id("");
    record.status = late ? 408 : 431;
    connection.write(bare_response(record.status, late ? kTooSlow : "the headers are too large", record.id));
    return;
  }
  try {
    bool closed = false;
    // Parts of answers make no sense, and the library would cut errors too.
    process_request(connection, true, closed, [](httplib::Request& request) { request.ranges.clear(); });
  } catch (const std::exception& error) {
    log(LogLevel::error, fmt::format("request {}: {}", record.id, printable(error.what(), 4096)));
  }
}

}  // namespace dvlm
