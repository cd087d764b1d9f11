// Bytes over loopback, without an HTTP library.
#pragma once
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

namespace dvlm {

// A connection whose bytes a test says itself.
class Raw {
 public:
  explicit Raw(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    const timeval patience{30, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Raw() { close(); }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  bool send(const std::string& text) {
    return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  std::string read_all() {
    std::string out;
    char piece[4096];
    for (ssize_t got = 0; (got = ::recv(socket_, piece, sizeof piece, 0)) > 0;)
      out.append(piece, static_cast<size_t>(got));
    return out;
  }
  // One byte at a time until the server has had enough, at most 20 seconds. What it said.
  std::string drip() {
    for (int i = 0; i < 400 && send("a"); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      char byte = 0;
      if (::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) break;
    }
    return read_all();
  }

 private:
  int socket_;
};

}  // namespace dvlm
