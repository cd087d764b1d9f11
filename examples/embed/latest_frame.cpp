// A robot's loop: a camera writes frames all the time, the model always looks at the latest one, and a
// question that has become old is given up.  latest_frame MODEL [SECONDS [TOO_OLD]]
//   c++ -std=c++20 latest_frame.cpp -ldvlm -o latest_frame
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <dvlm/dvlm.hpp>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// 320 x 240 pixels of BGR with rows of 1024 bytes, as a driver may give them.
struct CameraFrame {
  static constexpr int kWidth = 320, kHeight = 240, kStride = 1024;
  int number = 0;
  std::vector<uint8_t> bgr = std::vector<uint8_t>(kStride * kHeight, 225);
};

// In ROS, a subscription with a queue of one; here a red square that moves.
class Camera {
 public:
  Camera() : thread_([this] { film(); }) {}
  ~Camera() {
    ending_ = true;
    thread_.join();
  }
  CameraFrame latest() {
    const std::lock_guard lock(mutex_);
    return latest_;
  }

 private:
  void film() {
    for (int number = 1; !ending_; ++number) {
      CameraFrame frame{.number = number};
      for (int y = 100; y < 150; ++y)
        for (int x = number % 250; x < number % 250 + 50; ++x) {
          uint8_t* bgr = &frame.bgr[y * CameraFrame::kStride + 3 * x];
          bgr[0] = bgr[1] = 38, bgr[2] = 214;
        }
      {
        const std::lock_guard lock(mutex_);
        latest_ = std::move(frame);
      }
      std::this_thread::sleep_for(33ms);
    }
  }

  std::mutex mutex_;
  CameraFrame latest_;
  std::atomic<bool> ending_ = false;
  std::thread thread_;  // last: it uses the others
};

int main(int argc, char** argv) try {
  if (argc < 2) throw std::runtime_error("usage: latest_frame MODEL [SECONDS [TOO_OLD]]");
  const auto too_old = std::chrono::seconds(argc > 3 ? std::atoi(argv[3]) : 5);
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(argc > 2 ? std::atoi(argv[2]) : 10);
  dvlm::client::Engine engine(argv[1]);
  Camera camera;
  while (std::chrono::steady_clock::now() < end) {
    const CameraFrame seen = camera.latest();
    const dvlm_frame frame = dvlm::client::frame(seen.bgr.data(), CameraFrame::kWidth, CameraFrame::kHeight,
                                                 DVLM_BGR, CameraFrame::kStride);
    dvlm::client::Answer answer = engine.submit(R"({"messages": [{"role": "user", "content": [
        {"type": "image", "image": "frame:0"}, {"type": "text", "text": "Where is the red square?"}]}],
        "max_tokens": 40})",
                                                {&frame, 1});
    const auto deadline = std::chrono::steady_clock::now() + too_old;
    std::string text;
    for (bool ended = false; !ended;) {
      if (std::chrono::steady_clock::now() > deadline) answer.cancel();
      if (const auto update = answer.wait(20)) text += update->text, ended = update->ended;
      // ... what a robot does meanwhile
    }
    std::cout << "frame " << seen.number << ": " << text << std::endl;
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
