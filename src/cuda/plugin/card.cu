// A card as a Device: what `dvlm` loads for --device cuda.
#include <cstdio>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>

#include "cuda/cards.h"
#include "cuda/pass.h"
#include "cuda/probe.h"
#include "model/device_lost.h"

namespace dvlm::cuda {

namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess)
    throw std::runtime_error(std::string("the card failed to ") + what + ": " + cudaGetErrorString(status));
}

// Of an open card. An error that the next call meets again belongs to the process's context, which CUDA
// cannot use any more; any other one was this call's alone.
void check_work(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  if (cudaDeviceSynchronize() == cudaSuccess) check(status, what);
  throw DeviceLost(std::string("the card failed to ") + what + " (" + cudaGetErrorString(status) +
                   ") and does no more work: start dvlm again");
}

// Records launches once for each shape of a pass, and replays them: what a pass is asked stands in memory
// whose addresses do not change.
class Graphs {
 public:
  explicit Graphs(cudaStream_t stream) : stream_(stream) {}
  ~Graphs() { clear(); }

  template <class Record>
  void run(const std::string& key, const Record& record) {
    auto found = graphs_.find(key);
    if (found == graphs_.end()) {
      if (graphs_.size() >= kMost) clear();
      found = graphs_.emplace(key, capture(record)).first;
    }
    check_work(cudaGraphLaunch(found->second, stream_), "start a pass");
  }

 private:
  static constexpr size_t kMost = 256;

  template <class Record>
  cudaGraphExec_t capture(const Record& record) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t out = nullptr;
    check_work(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "record a pass");
    const cudaError_t recorded = record();
    const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
    const cudaError_t ready =
        recorded == cudaSuccess && ended == cudaSuccess ? cudaGraphInstantiate(&out, graph, 0) : ended;
    if (graph) cudaGraphDestroy(graph);
    check_work(recorded, "record a pass");
    check_work(ready, "prepare a pass");
    return out;
  }
  void clear() {
    for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
    graphs_.clear();
  }

  cudaStream_t stream_;
  std::map<std::string, cudaGraphExec_t> graphs_;
};

// Plain data without padding that differs.
template <class T>
void append(std::string& key, const T& value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}
template <class T>
void append(std::string& key, Global<T> memory) {
  append(key, memory.data);
}

void append(std::string& key, const AttentionPlan& plan) {
  append(key, plan.places), append(key, plan.key_copies), append(key, plan.tiles),
      append(key, plan.page_table);
  append(key, plan.tile_count), append(key, plan.max_chunks);
}
void append(std::string& key, const PassBuffers& b) {
  append(key, b.residual), append(key, b.inputs), append(key, b.activated), append(key, b.wide),
      append(key, b.parts);
  append(key, b.row_scale), append(key, b.queries), append(key, b.shares.values);
  append(key, b.shares.largest), append(key, b.shares.sums), append(key, b.pages);
}

// Blocks beyond a tile's keys end at once; tiles do not count chunks.
void round_chunks(AttentionPlan& plan, const Heads& heads, int processors) {
  constexpr int kMany = 1 << 30;
  plan.max_chunks = takes_chunks(heads, plan.tile_count, plan.max_chunks, processors)
                        ? rounded_chunks(plan.max_chunks)
                        : kMany;
}

struct Event {
  Event() { check(cudaEventCreate(&event), "be timed"); }
  ~Event() { cudaEventDestroy(event); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t event = nullptr;
};

class Card final : public Device {
 public:
  Card(int index, const cudaDeviceProp& properties) : index_(index), properties_(properties) {
    check(cudaSetDevice(index_), "be opened");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream");
    check(cudaStreamCreateWithFlags(&writes_, cudaStreamNonBlocking), "make a stream");
    graphs_ = std::make_unique<Graphs>(stream_);
  }
  ~Card() override {
    cudaSetDevice(index_);
    cudaStreamSynchronize(stream_);
    graphs_.reset();
    cudaStreamDestroy(writes_);
    cudaStreamDestroy(stream_);
  }

  std::string name() const override { return properties_.name; }
  int processors() const override { return properties_.multiProcessorCount; }
  size_t free_bytes() const override {
    size_t free = 0, all = 0;
    here();
    check_work(cudaMemGetInfo(&free, &all), "tell its memory");
    return free;
  }
  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    here();
    const cudaError_t status = cudaMalloc(&memory, bytes > 0 ? bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // it is told here, and not a second time
      throw std::runtime_error("the card has no " + std::to_string(bytes >> 20) + " MiB of memory left");
    }
    check_work(status, "give memory");
    return memory;
  }
  void free(void* memory) noexcept override {
    cudaSetDevice(index_);
    cudaStreamSynchronize(stream_);
    cudaFree(memory);
  }
  void write(void* to, const void* from, size_t bytes) override {  // beside layers that run
    here();
    check_work(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, writes_), "move memory");
    check_work(cudaStreamSynchronize(writes_), "move memory");
  }
  void read(const void* from, void* to, size_t bytes) override {
    move(to, from, bytes, cudaMemcpyDeviceToHost);
  }
  void copy(const void* from, void* to, size_t bytes) override {
    move(to, from, bytes, cudaMemcpyDeviceToDevice);
  }
  void clear(void* memory, size_t bytes) override {
    here();
    check_work(cudaMemsetAsync(memory, 0, bytes, stream_), "clear memory");
    wait();
  }

  void start(const TextTower& tower, const PassBuffers& buffers, const TextPass& given) override {
    here();
    TextPass pass = given;
    round_chunks(pass.attention, tower.shape.heads, processors());
    std::string key;
    append(key, &tower), append(key, buffers), append(key, pass.attention);
    append(key, pass.rows), append(key, pass.wanted), append(key, pass.page_copies);
    append(key, pass.tokens), append(key, pass.features), append(key, pass.rotation),
        append(key, pass.copied);
    append(key, pass.wanted_rows), append(key, pass.logits);
    graphs_->run(key, [&] {
      DeviceLauncher launcher = this->launcher();
      record_text(launcher, tower, buffers, pass);
      return launcher.status();
    });
  }
  void choose(const TextTower& tower, const ChoicePass& pass) override {
    if (pass.wanted == 0) return wait();
    here();
    std::string key = "choice ";
    append(key, &tower), append(key, pass.wanted), append(key, pass.draws);
    append(key, pass.wishes), append(key, pass.masks), append(key, pass.changes), append(key, pass.changed),
        append(key, pass.drawing);
    append(key, pass.logits), append(key, pass.best), append(key, pass.chosen),
        append(key, pass.alternatives);
    graphs_->run(key, [&] {
      DeviceLauncher launcher = this->launcher();
      record_choice(launcher, tower, pass);
      return launcher.status();
    });
    wait();
  }
  void wait() override {
    here();
    check_work(cudaStreamSynchronize(stream_), "finish its work");
  }
  void run(const VisionTower& tower, const PassBuffers& buffers, const VisionPass& pass) override {
    here();
    DeviceLauncher launcher = this->launcher();
    record_vision(launcher, tower, buffers, pass);
    check_work(launcher.status(), "start the vision tower");
    wait();
  }
  DeviceRates rates(const ProbeMemory& memory) override {
    here();
    constexpr int kRounds = 20'000;
    DeviceLauncher launcher = this->launcher();
    return probe_rates(launcher, memory, kRounds, [&](const auto& launches) {
      Event begin, end;
      check_work(cudaEventRecord(begin.event, stream_), "be timed");
      launches();
      check_work(launcher.status(), "be timed");
      check_work(cudaEventRecord(end.event, stream_), "be timed");
      wait();
      float ms = 0;
      check_work(cudaEventElapsedTime(&ms, begin.event, end.event), "be timed");
      return double{ms} / 1000;
    });
  }

 private:
  DeviceLauncher launcher() const {
    constexpr int kHopper = 9;  // older cards know no dependent launches
    DeviceLauncher out(stream_, properties_.major >= kHopper);
    out.set_limits({processors(), properties_.sharedMemPerBlockOptin});
    return out;
  }
  void here() const { check_work(cudaSetDevice(index_), "be selected"); }
  void move(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    here();
    check_work(cudaMemcpyAsync(to, from, bytes, kind, stream_), "move memory");
    wait();
  }

  const int index_;
  const cudaDeviceProp properties_;
  cudaStream_t stream_ = nullptr, writes_ = nullptr;
  std::unique_ptr<Graphs> graphs_;
};

// The kernels' instructions: bf16 tensor cores and asynchronous copies.
constexpr int kLeastMajor = 8;

int count_cards() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver)
    throw std::runtime_error("the NVIDIA driver is missing or older than CUDA " +
                             std::to_string(CUDART_VERSION / 1000) + "." +
                             std::to_string(CUDART_VERSION % 1000 / 10) + " needs: install a newer one");
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    throw std::runtime_error("there is no NVIDIA card here");
  check(status, "be counted");
  return count;
}

cudaDeviceProp properties_of(int index) {
  cudaDeviceProp out;
  check(cudaGetDeviceProperties(&out, index), "tell its properties");
  return out;
}

// As CardInfo::problem.
std::string problem_of(const cudaDeviceProp& card) {
  if (card.major < kLeastMajor)
    return "has the instruction set " + std::to_string(card.major) + "." + std::to_string(card.minor) +
           ", and dvlm needs " + std::to_string(kLeastMajor) + ".0";
  return {};
}

// Throws for a number that no card has.
void check_index(int index) {
  const int count = count_cards();
  if (index < 0 || index >= count)
    throw std::runtime_error("there is no card " + std::to_string(index) + ": this machine has 0 to " +
                             std::to_string(count - 1));
}

template <class Call>
auto guarded(char* problem, size_t size, decltype(std::declval<Call>()()) failed, const Call& call) {
  try {
    return call();
  } catch (const std::exception& error) {
    std::snprintf(problem, size, "%s", error.what());
    return failed;
  }
}

}  // namespace

}  // namespace dvlm::cuda

#define DVLM_EXPORT extern "C" __attribute__((visibility("default")))

DVLM_EXPORT const char* dvlm_plugin_version() {
  return DVLM_VERSION;
}

DVLM_EXPORT int dvlm_cuda_cards(dvlm::cuda::CardInfo* to, int most, char* problem, size_t size) {
  using namespace dvlm::cuda;
  return guarded(problem, size, -1, [&] {
    const int count = count_cards() < most ? count_cards() : most;
    for (int i = 0; i < count; ++i) {
      const cudaDeviceProp properties = properties_of(i);
      std::snprintf(to[i].name, sizeof to[i].name, "%s", properties.name);
      std::snprintf(to[i].problem, sizeof to[i].problem, "%s", problem_of(properties).c_str());
      to[i].memory = properties.totalGlobalMem;
      to[i].major = properties.major, to[i].minor = properties.minor,
      to[i].processors = properties.multiProcessorCount;
    }
    return count;
  });
}

DVLM_EXPORT int dvlm_cuda_free(int index, size_t* bytes, char* problem, size_t size) {
  using namespace dvlm::cuda;
  return guarded(problem, size, -1, [&] {
    size_t all = 0;
    check_index(index);
    check(cudaSetDevice(index), "be selected");
    check(cudaMemGetInfo(bytes, &all), "tell its memory");
    return 0;
  });
}

DVLM_EXPORT dvlm::cuda::Device* dvlm_cuda_open(int index, char* problem, size_t size) {
  using namespace dvlm::cuda;
  return guarded(problem, size, static_cast<Device*>(nullptr), [&]() -> Device* {
    check_index(index);
    const cudaDeviceProp properties = properties_of(index);
    if (const std::string why = problem_of(properties); !why.empty())
      throw std::runtime_error(std::string(properties.name) + " " + why);
    return new Card(index, properties);
  });
}
