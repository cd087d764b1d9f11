// A model folder, pictures and conversations small enough to train in a test.
#pragma once
#include <nlohmann/json.hpp>

#include "checkpoint/config.h"
#include "toy.h"
#include "train/trainer.h"

namespace dvlm::toy {

class RunFixture {
 public:
  explicit RunFixture(int lines = 10) {
    namespace fs = std::filesystem;
    const fs::path tiny = fs::path(DVLM_FIXTURES) / "../../examples/tiny/model";
    fs::create_directories(folder / "model");
    ModelConfig config = read_config(tiny);
    const ModelConfig small = small_config();
    const int vocabulary = config.text.vocab_size;
    config.text = small.text;
    config.text.vocab_size = vocabulary;
    config.vision = small.vision;
    config.preprocessor.min_pixels = 28 * 28;
    write_config(folder / "model", config);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"})
      if (fs::exists(tiny / name)) fs::copy_file(tiny / name, folder / "model" / name);
    std::string jsonl;
    for (int i = 0; i < lines; ++i) {
      const std::string picture = "pictures/" + std::to_string(i % 3) + ".ppm";
      write_picture(folder / "data" / picture, 40 + 70 * (i % 3));
      const nlohmann::json line = {
          {"messages",
           {{{"role", "user"},
             {"content",
              {{{"type", "image"}, {"image", picture}},
               {{"type", "text"}, {"text", "How bright is number " + std::to_string(i) + "?"}}}}},
            {{"role", "assistant"},
             {"content", i % 3 == 0   ? "It is dark."
                         : i % 3 == 1 ? "It is grey."
                                      : "It is bright."}},
            {{"role", "user"}, {"content", "Sure?"}},
            {{"role", "assistant"},
             {"content", std::string(static_cast<size_t>(i % 4), 'y') + " yes, very sure."}}}}};
      jsonl += line.dump() + "\n";
    }
    write_text(folder / "data" / "data.jsonl", jsonl);
  }

  TrainConfig config(const std::string& stage, const std::string& output) const {
    TrainConfig c;
    c.stage = stage;
    c.model = (folder / "model").string();
    c.data = {DataSource{(folder / "data/data.jsonl").string()}};
    c.output = (folder / output).string();
    c.batch_size = 2;
    c.max_length = 256;
    c.steps = 6;
    c.learning_rate = 1e-3;
    c.ema_decay = 0.9;
    c.threads = 1;
    c.block_size = 8;
    c.log_interval = 1;
    c.save_dtype = "f32";
    return c;
  }

  Folder folder;
};

}  // namespace dvlm::toy
