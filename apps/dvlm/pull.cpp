// dvlm pull: a model from Hugging Face's hub into the cache that all its programs share.
#include "hub/pull.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "command.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "output.h"

namespace dvlm {

namespace {

struct PullFlags {
  std::string name;
  bool json = false;
};

void run_pull(const PullFlags& flags) {
  const auto name = hub_name(flags.name);
  if (!name) fail("\"{}\" is no name of a model: write org/name or org/name@revision", printable(flags.name));
  install_interrupt_handler();
  std::optional<Progress> bar;
  int64_t expected = 0;  // is known once the list of files is
  PullOptions options{.cache = hub_cache(), .endpoint = hub_endpoint(), .token = hub_token()};
  options.cancelled = interrupted;
  options.progress = [&](int64_t done, int64_t total, const std::string& note) {
    constexpr int64_t kMega = 1'000'000;
    if (!bar || total != expected) bar.emplace("downloading, MB", std::max<int64_t>(total / kMega, 1));
    expected = total;
    bar->update(done / kMega, note);
  };
  Pulled pulled;
  try {
    pulled = pull(*name, options);
  } catch (const PullCancelled&) {
    bar.reset();
    std::fprintf(stderr, "stopped; run it again to go on where it ended\n");
    return;
  }
  bar.reset();
  for (const std::string& file : pulled.left_out)
    std::fprintf(stderr, "left out: %s, which dvlm does not read\n", printable(file).c_str());
  if (flags.json)
    print_json({{"folder", pulled.folder.string()},
                {"commit", pulled.commit},
                {"files", pulled.files},
                {"bytes", pulled.bytes},
                {"downloaded", pulled.downloaded},
                {"left_out", pulled.left_out}});
  else
    print(pulled.folder.string() + "\n");
}

}  // namespace

void add_pull(Command app) {
  auto flags = std::make_shared<PullFlags>();
  Command command = app.add("pull", "Download a model from Hugging Face's hub");
  command.text("name", flags->name, "org/name or org/name@revision").required();
  command.flag("--json", flags->json, "Print one JSON object");
  command.runs([flags] { run_pull(*flags); },
               "Afterwards the name stands for the model: dvlm run -m org/name ...\n"
               "HF_HOME or HF_HUB_CACHE say where to, HF_TOKEN who asks, HF_ENDPOINT whom.\n"
               "Examples:\n"
               "  dvlm pull Efficient-Large-Model/Fast_dVLM_3B\n"
               "  HF_TOKEN=... dvlm pull org/name@v1.0 --json");
}

}  // namespace dvlm
