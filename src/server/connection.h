// What stands between sockets and the HTTP library: deadlines, bounds, and whether a client is still there.
#pragma once
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/chunked_body.h"
#include "server/request_head.h"
#include "server/request_log.h"

namespace dvlm {

struct ConnectionLimits {
  size_t connections = 256;                   // at once; then newcomers take the place of those that send no
                                              // request, or get a 503
  size_t head_bytes = size_t{64} << 10;       // request line and headers
  size_t body_bytes = size_t{72} << 20;       // as they are sent, chunks' sizes and trailers included
  size_t body_memory = size_t{256} << 20;     // of the bodies of all connections together
  std::chrono::milliseconds head{10'000};     // from the start of a connection to the end of the head
  std::chrono::milliseconds request{60'000};  // ... to the end of the body
  std::chrono::milliseconds pause{30'000};    // without a byte taken or given
};

// What all connections of a server share.
struct ConnectionTotals {
  std::atomic<size_t> open{0}, refused{0}, cut_off{0}, body_memory{0};
  std::atomic<bool> closing{false};  // slow requests are no longer waited for
};

// One connection, which carries one request. Used by one thread.
class Connection : public httplib::Stream {
 public:
  Connection(socket_t socket, const ConnectionLimits& limits, ConnectionTotals& totals);
  ~Connection() override;  // closes the socket
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // That of the request which this thread handles.
  static Connection& current();

  enum class Head { complete, none, late, too_large };
  Head read_head();
  const RequestHead& head() const { return parsed_; }  // of a complete one
  // All of the request is here: newcomers no longer take this connection's place.
  void has_request() {
    if (on_request_) std::exchange(on_request_, nullptr)();
  }
  // The client has not closed its end.
  bool alive() const;
  // A deadline ended the reading.
  bool late() const { return late_; }
  // Counts bytes of a body until the connection ends. False: all bodies together would be too many.
  bool take_body_memory(size_t bytes);
  size_t body_bytes() const { return body_bytes_; }
  // The answer must be written by then; without a call `pause` after its first byte.
  void answer_until(Clock::time_point deadline) { write_deadline_ = deadline; }

  RequestRecord record;

  bool is_readable() const override { return alive(); }
  bool is_writable() const override { return alive(); }
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* data, size_t size) override;  // all of it, or -1
  using httplib::Stream::write;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  friend class HttpServer;
  void parse(size_t end);
  ssize_t receive(char* to, size_t size, Clock::time_point deadline);
  ssize_t read_body(char* to, size_t size);
  bool wait(short events, Clock::time_point deadline, bool reading) const;
  void linger();

  const socket_t socket_;
  const ConnectionLimits& limits_;
  ConnectionTotals& totals_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point write_deadline_ = {};
  std::string head_;      // as it came, then as the library reads it
  size_t head_read_ = 0;  // by the library
  RequestHead parsed_;
  std::string early_;  // what of the body came with the head
  size_t early_read_ = 0;
  ChunkedBody chunks_;
  size_t body_read_ = 0;  // from the socket
  size_t body_bytes_ = 0;
  bool late_ = false;
  std::function<void()> on_request_;
};

// The library's server on Connections, a thread for each.
class HttpServer : public httplib::Server {
 public:
  // `ended`: called for every connection that carried a request, after its answer.
  HttpServer(const ConnectionLimits& limits, std::function<void(Connection&)> ended);

  const ConnectionTotals& totals() const { return totals_; }
  // Lets more connections wait to be accepted than the library does. Once bound.
  void widen_backlog();
  // Gives up connections whose request is slow to arrive.
  void stop_reading() { totals_.closing = true; }

 private:
  bool process_and_close_socket(socket_t socket) override;
  void serve(Connection& connection);
  Connection::Head read_head(Connection& connection);
  // Cuts off the connection that has been sending its request for longest; false: there is none.
  bool cut_off_oldest();

  const ConnectionLimits limits_;
  const std::function<void(Connection&)> ended_;
  ConnectionTotals totals_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Connection*> arriving_;  // whose requests are not complete, the oldest first
  socket_t listening_ = INVALID_SOCKET;
};

}  // namespace dvlm
